"""The layouts of weights in files that real Keras wrote."""

from pathlib import Path

import keras
import numpy as np
import pytest

from catdog_pl.keras.weights import conv_weights

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Keras' own; nothing to act on here."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".h5", ".weights.h5"])
def test_convolutions_of_a_notop_file(tmp_path: Path, kind: str) -> None:
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    path = tmp_path / f"notop{kind}"
    (base.save_weights if "weights" in kind else base.save)(path)
    expected = [layer.get_weights() for layer in base.layers if layer.weights]
    found = conv_weights(path)
    assert len(found) == 13
    for (kernel, bias), (theirs, zeros) in zip(found, expected, strict=True):
        assert np.array_equal(kernel.numpy(), theirs.transpose(3, 2, 0, 1))
        assert np.array_equal(bias.numpy(), zeros)
