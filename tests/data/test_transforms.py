import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from catdog_pl.data.transforms import AffineRanges, sample_parameters, warp

WORKSHOP = AffineRanges()
IDENTITY = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]


def reference(image: np.ndarray, parameters: list[float]) -> np.ndarray:
    """KERAS_SPEC's formula, position by position, with scipy's bilinear interpolation."""
    theta, tx, ty, zx, zy, flip = parameters
    n = image.shape[-1]
    o = (n - 1) / 2
    r, c = np.mgrid[:n, :n].astype(float)
    a = zy * (r - o) + ty * n
    b = zx * (c - o) + tx * n
    cos, sin = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    r_in = np.clip(o + cos * a + sin * b, 0, n - 1)
    c_in = np.clip(o - sin * a + cos * b, 0, n - 1)
    warped = np.stack([ndimage.map_coordinates(channel, [r_in, c_in], order=1) for channel in image])
    return warped[:, :, ::-1] if flip else warped


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 3, 31, 31), dtype=np.uint8))


def test_warp_is_the_formula_in_float64(images: torch.Tensor) -> None:
    parameters = sample_parameters(WORKSHOP, seed=1, epoch=2, count=len(images))
    warped = warp(images, parameters, torch.float64).numpy()
    for image, row, ours in zip(images.double().numpy(), parameters.tolist(), warped, strict=True):
        np.testing.assert_allclose(ours, reference(image, row), rtol=0, atol=1e-9)


def test_warp_in_float32_is_within_its_stated_tolerance(images: torch.Tensor) -> None:
    parameters = sample_parameters(WORKSHOP, seed=1, epoch=2, count=len(images))
    difference = warp(images, parameters).double() - warp(images, parameters, torch.float64)
    assert warp(images, parameters).dtype == torch.float32
    assert difference.abs().max() < 5e-3


def test_identity_changes_nothing_and_flip_mirrors(images: torch.Tensor) -> None:
    flipped = [*IDENTITY[:5], 1.0]
    parameters = torch.tensor([IDENTITY, flipped], dtype=torch.float64)
    same, mirrored = warp(images[:2], parameters, torch.float64)
    torch.testing.assert_close(same, images[0].double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(mirrored, images[1].double().flip(2), rtol=0, atol=1e-10)


def test_channels_last_gives_the_same(images: torch.Tensor) -> None:
    parameters = sample_parameters(WORKSHOP, seed=3, epoch=0, count=len(images))
    last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    torch.testing.assert_close(warp(last, parameters), warp(images, parameters), rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_parameters_lie_within_their_bounds_and_reach_them(seed: int) -> None:
    sampled = sample_parameters(WORKSHOP, seed=seed, epoch=0, count=20_000).numpy()
    low, high = sampled.min(axis=0), sampled.max(axis=0)
    bounds = np.array([[-30, 30], [-0.2, 0.2], [-0.2, 0.2], [0.8, 1.2], [0.8, 1.2], [0, 1]])
    assert (low >= bounds[:, 0]).all()
    assert (high <= bounds[:, 1]).all()
    np.testing.assert_allclose(low, bounds[:, 0], atol=0.02)
    np.testing.assert_allclose(high, bounds[:, 1], atol=0.02)
    assert abs(sampled[:, 5].mean() - 0.5) < 0.02


def test_parameters_depend_on_seed_epoch_and_sample_alone() -> None:
    many, few = sample_parameters(WORKSHOP, 7, 3, 1000), sample_parameters(WORKSHOP, 7, 3, 10)
    assert torch.equal(many[:10], few)
    assert torch.equal(few, sample_parameters(WORKSHOP, 7, 3, 10))
    assert not torch.equal(few, sample_parameters(WORKSHOP, 7, 4, 10))
    assert not torch.equal(few, sample_parameters(WORKSHOP, 8, 3, 10))


def test_known_parameters_stay_what_they_are() -> None:
    # A changed stream would silently change every run that is resumed.
    assert sample_parameters(WORKSHOP, seed=2018, epoch=0, count=1)[0].tolist() == pytest.approx(
        [
            -19.002739215247985,
            0.15141367208762535,
            0.1607327104404846,
            0.9701528376555676,
            1.1084428024204829,
            1,
        ]
    )


def test_ranges_of_zero_leave_the_images_alone(images: torch.Tensor) -> None:
    still = AffineRanges(rotation=0, width_shift=0, height_shift=0, zoom=0, horizontal_flip=False)
    assert sample_parameters(still, 0, 0, 2).tolist() == [IDENTITY, IDENTITY]


def test_height_shift_moves_columns_as_in_keras_3() -> None:
    parameters = sample_parameters(AffineRanges(rotation=0, width_shift=0, height_shift=0.2, zoom=0), 0, 0, 4)
    assert (parameters[:, 1] != 0).all()
    assert (parameters[:, 2] == 0).all()
    image = torch.arange(9.0).view(1, 1, 1, 9).expand(1, 1, 9, 9)
    shift = torch.tensor([[0.0, 1 / 9, 0, 1, 1, 0]], dtype=torch.float64)
    assert warp(image, shift, torch.float64)[0, 0, 0].tolist() == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8, 8])
