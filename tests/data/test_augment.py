"""Random crops, colour and mixing, beside torchvision's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.transforms.v2 import functional

from catdog_pl.data.augment import Mixing, RandomCrop, jitter
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.dataset import Batch
from catdog_pl.errors import UsageError
from catdog_pl.models import Basic

STRONG = RandomCrop(scale=0.35, rotation=15, color=0.3)
KNOWN = [0.76373628019, 0.614265688305, 0.189876540319, -0.057565373115, 8.133210181536, 1.0]
KNOWN += [1.124805374081, 1.062835411229, 0.720237005879]
WHOLE = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


@pytest.fixture
def images() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8))


def test_parameters_depend_on_seed_epoch_and_sample_alone() -> None:
    many, few = STRONG.sample(7, 3, 1000), STRONG.sample(7, 3, 10)
    assert torch.equal(many[:10], few)
    assert not torch.equal(few, STRONG.sample(7, 4, 10))
    assert not torch.equal(few, STRONG.sample(8, 3, 10))


def test_known_parameters_stay_what_they_are() -> None:
    # A changed stream would silently change every run that is resumed.
    assert STRONG.sample(2018, 0, 1)[0].tolist() == pytest.approx(KNOWN)


def test_crops_lie_within_the_photograph_and_reach_their_bounds() -> None:
    width, height, x, y, angle, flip, *factors = STRONG.sample(1, 0, 20_000).numpy().T
    assert (width * height).min() == pytest.approx(0.35, abs=0.01)
    assert max(width.max(), height.max()) == 1
    assert (np.abs(x) + width).max() <= 1 + 1e-9
    assert (np.abs(y) + height).max() <= 1 + 1e-9
    inner = (width < 1) & (height < 1)
    assert (width / height)[inner].min() == pytest.approx(3 / 4, abs=0.01)
    assert (width / height)[inner].max() == pytest.approx(4 / 3, abs=0.01)
    assert (angle.min(), angle.max()) == pytest.approx((-15, 15), abs=0.1)
    assert flip.mean() == pytest.approx(0.5, abs=0.02)
    for factor in factors:
        assert (factor.min(), factor.max()) == pytest.approx((0.7, 1.3), abs=0.01)


def test_the_whole_is_unchanged_and_a_flip_mirrors(images: Tensor) -> None:
    flipped = [*WHOLE[:5], 1.0, *WHOLE[6:]]
    same, mirrored = STRONG.apply(images[:2], torch.tensor([WHOLE, flipped], dtype=torch.float64))
    torch.testing.assert_close(same, images[0].float(), rtol=0, atol=1e-3)
    torch.testing.assert_close(mirrored, images[1].float().flip(2), rtol=0, atol=1e-3)


def test_a_crop_is_torchvisions(images: Tensor) -> None:
    top, left, height, width = 4, 10, 20, 16
    centre = [(2 * left + width) / 32 - 1, (2 * top + height) / 32 - 1]
    row = torch.tensor([[width / 32, height / 32, *centre, *WHOLE[4:]]], dtype=torch.float64)
    ours = RandomCrop(0.1).apply(images[:1], row)
    theirs = functional.resized_crop(images[:1].float(), top, left, height, width, [32, 32], antialias=True)
    # At the crop's edge ours sees the photograph's next pixel, theirs the last one again.
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], rtol=0, atol=1e-3)


def test_a_rotation_is_torchvisions(images: Tensor) -> None:
    row = torch.tensor([[*WHOLE[:4], 10.0, *WHOLE[5:]]], dtype=torch.float64)
    ours = STRONG.apply(images[:1], row)
    bilinear = functional.InterpolationMode.BILINEAR
    theirs = functional.rotate(images[:1].float(), 10.0, interpolation=bilinear)
    torch.testing.assert_close(ours[..., 8:-8, 8:-8], theirs[..., 8:-8, 8:-8], rtol=0, atol=0.1)


def test_colours_are_torchvisions() -> None:
    image = torch.rand(1, 3, 8, 8) * 40 + 100  # so that nothing is cut off
    expected = functional.adjust_brightness(image / 255, 1.2)
    expected = functional.adjust_saturation(functional.adjust_contrast(expected, 0.75), 1.3)
    torch.testing.assert_close(jitter(image, torch.tensor([[1.2, 0.75, 1.3]])) / 255, expected)


def test_colours_stay_within_0_to_255(images: Tensor) -> None:
    pixels = jitter(images.float(), torch.tensor([[1.3, 1.3, 1.3]]).expand(12, 3))
    assert (float(pixels.min()), float(pixels.max())) == (0, 255)


@pytest.mark.parametrize("augmentation", [RandomCrop(0.35), STRONG], ids=["crop", "strong"])
def test_a_sample_is_the_same_in_any_batch(augmentation: RandomCrop, images: Tensor) -> None:
    rows = augmentation.sample(1, 2, len(images))
    whole = augmentation.apply(images, rows)
    order = torch.tensor([7, 0, 3])
    torch.testing.assert_close(
        augmentation.apply(images[order], rows[order]), whole[order], rtol=0, atol=1e-4
    )
    channels_last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(augmentation.apply(channels_last, rows), whole, rtol=0, atol=1e-4)


LABELS = torch.tensor([0, 1] * 6)


def test_mixup_lays_the_neighbour_over(images: Tensor) -> None:
    pixels, labels = Mixing(mixup=1.0, cutmix=0.0, probability=1.0)(images, LABELS, (1, 2, 3))
    share = labels[1]
    assert 0 < share < 1
    assert labels.shape == (12,)
    torch.testing.assert_close(labels, torch.where(LABELS == 1, share, 1 - share))
    torch.testing.assert_close(pixels, images * share + images.roll(1, 0) * (1 - share))


def test_cutmix_sets_a_part_of_the_neighbour_in(images: Tensor) -> None:
    pixels, labels = Mixing(mixup=0.0, cutmix=1.0, probability=1.0)(images, LABELS, (1, 2, 3))
    is_own, is_other = pixels == images, pixels == images.roll(1, 0)
    assert (is_own | is_other).all()
    assert 0 < labels[1] < 1
    own = is_own.all(1).float().mean((1, 2))  # a part of each photograph; by chance some pixels are alike
    torch.testing.assert_close(labels[1::2], own[1::2], rtol=0, atol=0.01)


def test_a_mixture_depends_on_its_seed_alone(images: Tensor) -> None:
    mixing = Mixing(mixup=0.2, cutmix=1.0, probability=1.0)
    torch.manual_seed(1)
    first = mixing(images, LABELS, (1, 2, 3))
    after = torch.rand(())
    torch.manual_seed(1)
    assert torch.equal(torch.rand(()), after)  # the global generator does not notice
    assert torch.equal(mixing(images, LABELS, (1, 2, 3))[0], first[0])
    assert not torch.equal(mixing(images, LABELS, (1, 2, 4))[0], first[0])


def test_both_kinds_and_unmixed_batches_come(images: Tensor) -> None:
    mixing = Mixing(mixup=1.0, cutmix=1.0, probability=0.5)
    plain, cut = images.float(), 0
    batches = [mixing(images, LABELS, (seed,))[0] for seed in range(100)]
    unmixed = sum(torch.equal(batch, plain) for batch in batches)
    cut = sum(bool(((batch == plain) | (batch == plain.roll(1, 0))).all()) for batch in batches) - unmixed
    assert 35 < unmixed < 65
    assert 10 < cut < 40
    assert unmixed + cut < 90


class Seen(Callback):
    """Keeps what the model is given, by epoch and sample."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.batches.append(batch)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *_: int
    ) -> None:
        assert (batch[0].dtype, batch[1].dtype) == (torch.uint8, torch.int64)


def seen(module: CatDogDataModule) -> list[Batch]:
    callback = Seen()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[callback],
    )
    trainer.fit(Basic(filters=(4,), dense_units=4, image_size=32), module)
    return callback.batches


def by_sample(batches: list[Batch]) -> dict[int, Tensor]:
    return {int(i): pixels[n] for pixels, _, indices in batches for n, i in enumerate(indices)}


@pytest.mark.parametrize("augment", ["keras", "crop", "strong", "none"])
def test_a_sample_is_augmented_by_seed_and_epoch_whatever_its_batch(augment: str, photos: Path) -> None:
    one, two = (
        seen(CatDogDataModule(photos, 32, size, augment=augment, num_workers=workers))  # type: ignore[arg-type]
        for size, workers in ((4, 0), (16, 1))
    )
    assert (one[0][0].dtype == torch.uint8) == (augment == "none")
    first, again = by_sample(one[:4]), by_sample(two[:1])
    assert first.keys() == again.keys()
    for index, pixels in first.items():
        torch.testing.assert_close(again[index], pixels, rtol=0, atol=1e-4)
    later = by_sample(one[4:])
    assert all(torch.equal(later[index], pixels) for index, pixels in first.items()) == (augment == "none")


def test_mixed_batches_have_shares_as_labels_in_training_alone(photos: Path) -> None:
    one, two = (seen(CatDogDataModule(photos, 32, 16, augment="none", mixup=1.0)) for _ in range(2))
    assert {batch[1].dtype for batch in one} == {torch.float32}
    assert all(torch.equal(batch[0], again[0]) for batch, again in zip(one, two, strict=True))
    first, second = (float(batch[1].minimum(1 - batch[1]).max()) for batch in one)  # 0 where both are alike
    assert first > 0
    assert first != pytest.approx(second, abs=1e-3)  # each epoch mixes by other shares


def test_mixed_photographs_are_no_view_that_could_come_again(photos: Path) -> None:
    mixed, plain = (CatDogDataModule(photos, 32, augment="none", mixup=alpha) for alpha in (1.0, 0.0))
    for module in (mixed, plain):
        module.setup("fit")
    assert (mixed.view_key(0), plain.view_key(0)) == (None, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_scale": 0}, "crop_scale is 0; it must be at least 0.01 and at most 1"),
        ({"crop_scale": 1.5}, "crop_scale is 1.5; it must be at least 0.01 and at most 1"),
        ({"color_jitter": 1}, "color_jitter is 1; it must be at least 0 and below 1"),
        ({"mixup": -1}, "mixup is -1; it must be at least 0"),
        ({"cutmix": float("nan")}, "cutmix is nan; it must be at least 0"),
        ({"mix_probability": 2}, "mix_probability is 2; it must be at least 0 and at most 1"),
        ({"augment": "weak"}, "augment 'weak' is unknown; valid are keras, crop, strong, none"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_one_line(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as error:
        CatDogDataModule(**options)  # type: ignore[arg-type]
    assert str(error.value) == message
