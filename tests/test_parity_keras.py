"""Every check of ``python -m benchmarks.parity``, and each kind of check seen to fail on a wrong model."""

from functools import cache, partial
from types import ModuleType

import keras
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.parity import augmentation, data, forward, initialisation, stopping, training
from benchmarks.parity.check import Check, largest
from benchmarks.parity.referee import basic, fed, images, one_thread, randomise_biases, twin
from catdog_pl.callbacks.training import EarlyStopping
from catdog_pl.models import Basic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
"""Keras' own, and Lightning's on models of one layer; nothing to act on here."""


@cache
def results(part: ModuleType) -> list[Check]:
    """The checks of a part, which take seconds, run once."""
    return list(part.checks())


@pytest.mark.parametrize(
    "part", [forward, initialisation, training, stopping, augmentation, data], ids=lambda part: part.__name__
)
def test_every_check_passes(part: ModuleType) -> None:
    assert len(results(part)) >= 4
    assert [str(check) for check in results(part) if not check.passes] == []


def test_the_stated_tolerances_are_those_of_the_specification() -> None:
    allowed = {check.what: check.allowed for part in (training, augmentation) for check in results(part)}
    assert all(value <= 1e-4 for what, value in allowed.items() if "float32" in what and "steps" in what)
    assert all(value <= 1e-12 for what, value in allowed.items() if "float64" in what)
    assert all(value <= 1e-6 for what, value in allowed.items() if "exact path" in what)


def test_nan_is_a_failure() -> None:
    assert not Check("what", float("nan"), 1.0).passes


def test_a_bias_moved_by_a_thousandth_is_seen_in_its_layer_and_in_no_earlier_one() -> None:
    model = basic(46, (4, 6), 8)
    randomise_biases(model)
    ours, pixels = twin(model), images(2, 46)
    with torch.no_grad():
        ours.get_parameter("features.conv2d_2.bias").add_(1e-3)
    differences = forward.relative_differences(
        forward.keras_activations(model, pixels), forward.activations(ours, pixels)
    )
    assert differences["max_pooling2d_1"] < 1e-6 < 1e-5 < differences["conv2d_2"]


def test_flattening_in_pytorchs_order_is_seen() -> None:
    model = basic(46, (4, 6), 8)
    ours, pixels = twin(model), images(2, 46)
    ours.head.flatten_1 = nn.Flatten()
    expected, found = forward.keras_activations(model, pixels), forward.activations(ours, pixels)
    assert largest(expected["dense_2"], found["dense_2"]) > 1e-4


def test_pytorchs_own_initialisation_is_seen() -> None:
    ours = Basic(46, (8, 8), 16)
    for module in initialisation.modules(ours):
        module.reset_parameters()
    kernels, biases = initialisation.compare("", basic(46, (8, 8), 16), ours)
    assert not kernels.passes
    assert not biases.passes


def test_pytorchs_own_rmsprop_is_seen() -> None:
    keras.utils.set_random_seed(0)
    model = basic(46, (8, 8), 16)
    ours = twin(model)
    pixels, labels = images(40, 46), np.arange(40) % 2
    optimizer = torch.optim.RMSprop(ours.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    with one_thread():
        expected = training.keras_losses(model, fed(pixels), labels)
        found = training.our_losses(ours, optimizer, pixels, labels)
    assert abs(expected[0] - found[0]) < 1e-6
    assert largest(expected, found) > 1e-3


def test_the_workshops_histories_end_as_its_notebook_says() -> None:
    assert stopping.keras_choice(stopping.BASIC) == (17, 15)
    assert stopping.our_choice(stopping.BASIC) == (17, 15)
    assert stopping.keras_choice(stopping.VGG16) == (5, 3)
    assert stopping.our_choice(stopping.VGG16) == (5, 3)


def test_another_patience_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "EarlyStopping", partial(EarlyStopping, patience=1))
    assert stopping.our_choice(stopping.BASIC) != stopping.keras_choice(stopping.BASIC)


@pytest.mark.parametrize(
    ("column", "factor"), [(0, -1.0), (1, -1.0), (2, -1.0), (3, 1.01), (4, 1.01), (5, 0.0)]
)
def test_one_wrong_parameter_of_the_warp_is_seen(column: int, factor: float) -> None:
    parameters = augmentation.keras_draws(37, 6, seed=1)
    parameters[:, 5] = 1.0
    wrong = parameters.copy()
    wrong[:, column] *= factor
    pixels = images(6, 37)
    expected = np.stack([augmentation.keras_warp(*pair, 37) for pair in zip(pixels, parameters, strict=True)])
    found = augmentation.our_warp(pixels, wrong, torch.float64)
    assert largest(expected, found) > 1.0


def test_another_resize_rule_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "RESIZE", "bilinear")
    failed = [check.what for check in data.checks() if not check.passes]
    assert len(failed) == 2
    assert all(what.startswith("pixels") for what in failed)
