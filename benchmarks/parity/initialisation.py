"""The first weights: drawn from the same distribution, layer by layer."""

from collections.abc import Iterator

import keras
import numpy as np
import torch
from scipy.stats import ks_2samp
from torch import nn

from benchmarks.parity.check import Check
from benchmarks.parity.referee import Model, basic, vgg16
from catdog_pl.models import VGG16, Basic
from catdog_pl.models.classifier import Classifier

CRITICAL = 1.95
"""Kolmogorov-Smirnov at the level 0.001: sqrt(-ln(0.0005) / 2)."""

SAMPLES = 20_000
"""Weights compared per layer at most; more would only take longer."""


def checks() -> Iterator[Check]:
    """Every kernel of both models; VGG16's backbone as it is without pretrained weights."""
    keras.utils.set_random_seed(1)
    torch.manual_seed(1)
    yield from compare("basic", basic(), Basic())
    yield from compare("vgg16, weights none", vgg16(64), VGG16(64, weights="none"))


def compare(what: str, model: Model, ours: Classifier) -> Iterator[Check]:
    """Kernels by the worst layer's distance, and the biases, which are zero."""
    weighted = [layer.get_weights() for layer in model.layers if layer.weights]
    distances, biases = [], 0.0
    for (kernel, bias), module in zip(weighted, modules(ours), strict=True):
        distances.append(distance(kernel, module.weight.detach().numpy()))
        assert module.bias is not None
        biases = max(biases, float(abs(bias).max()), float(module.bias.detach().abs().max()))
    yield Check(f"first kernels of {len(weighted)} layers, {what}, KS distance / critical", max(distances), 1)
    yield Check(f"first biases of {len(weighted)} layers, {what}, largest", biases, 0)


def modules(ours: Classifier) -> "list[nn.Conv2d | nn.Linear]":
    """The layers with weights."""
    return [module for module in ours.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def distance(theirs: "np.ndarray", ours: "np.ndarray") -> float:
    """The two-sample Kolmogorov-Smirnov distance over its critical value."""
    a, b = sample(theirs), sample(ours)
    critical = CRITICAL * np.sqrt((len(a) + len(b)) / (len(a) * len(b)))
    return float(ks_2samp(a, b).statistic / critical)


def sample(values: "np.ndarray") -> "np.ndarray":
    """Up to ``SAMPLES`` of the values, spread over all of them."""
    flat = values.ravel()
    return flat[:: max(1, len(flat) // SAMPLES)]
