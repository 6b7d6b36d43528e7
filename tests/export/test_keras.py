"""Files written here, opened by real Keras 3: the same weights, probabilities, names, loss and optimizer."""

import errno
import hashlib
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from benchmarks.parity.referee import Model, basic, fed, images, randomise_biases, tensor, twin, vgg16
from benchmarks.parity.training import keras_losses, our_losses
from catdog_pl.errors import CatDogError, KerasFileError, UsageError
from catdog_pl.export import export
from catdog_pl.export.keras import export_keras, optimizer_state
from catdog_pl.keras import saving as writing
from catdog_pl.models import VGG16, Basic
from catdog_pl.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.keras_import import import_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Skipping variable:UserWarning")
"""Keras' own; the second tells that load_weights leaves the optimizer of a compiled model alone."""

KINDS = [".keras", ".h5", ".weights.h5"]
BASIC_NAMES = (
    "conv2d_1 max_pooling2d_1 conv2d_2 max_pooling2d_2 conv2d_3 max_pooling2d_3 flatten_1 dense_1 dense_2"
)
VGG16_NAMES = (
    "input_1 block1_conv1 block1_conv2 block1_pool block2_conv1 block2_conv2 block2_pool "
    "block3_conv1 block3_conv2 block3_conv3 block3_pool block4_conv1 block4_conv2 block4_conv3 block4_pool "
    "block5_conv1 block5_conv2 block5_conv3 block5_pool flatten_1 dense_1 dropout_1 dense_2"
)


@pytest.fixture
def ours() -> Classifier:
    """A basic model of the workshop's layers on smaller images, with biases."""
    torch.manual_seed(1)
    return with_biases(Basic(46))


@pytest.fixture(scope="module")
def large() -> Classifier:
    """A VGG16 with its head; 59 MB, so made once."""
    torch.manual_seed(2)
    return with_biases(VGG16(32, weights="none", dense_units=8))


def with_biases(model: Classifier) -> Classifier:
    """The model with biases that are not zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def exported(model: Classifier, path: Path) -> Model:
    """The model through a file of ours, in Keras; weights alone go into a model that Keras built."""
    export_keras(model, {}, path)
    if not path.name.endswith(".weights.h5"):
        return keras.models.load_model(path)
    rebuilt = vgg16(32, 8) if model.name == "vgg16" else basic(46)
    rebuilt.load_weights(path)
    return rebuilt


def probabilities(model: Classifier, pixels: Any) -> Any:
    """P(dog) of our model."""
    with torch.no_grad():
        return model(tensor(pixels)).sigmoid().numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["basic", "vgg16"])
def test_keras_gives_the_same_probabilities(
    ours: Classifier, large: Classifier, tmp_path: Path, kind: str, name: str
) -> None:
    model = ours if name == "basic" else large
    theirs, pixels = exported(model, tmp_path / f"m{kind}"), images(3, model.data_spec.image_size)
    expected = probabilities(model, pixels)
    np.testing.assert_allclose(theirs.predict(fed(pixels), verbose=0)[:, 0], expected, atol=1e-6)
    back = twin(theirs).state_dict()
    assert all(torch.equal(back[key], value) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_names_loss_optimizer_and_metrics_are_the_workshops(
    ours: Classifier, large: Classifier, tmp_path: Path, kind: str
) -> None:
    for model, names in ((ours, BASIC_NAMES), (large, VGG16_NAMES)):
        theirs = exported(model, tmp_path / f"{model.name}{kind}")
        assert [layer.name for layer in theirs.layers] == names.split()
        assert getattr(theirs.loss, "__name__", theirs.loss) == "binary_crossentropy"
        assert type(theirs.optimizer).__name__ == "RMSprop"
        assert float(theirs.optimizer.learning_rate) == pytest.approx(1e-3)
        assert (theirs.optimizer.rho, theirs.optimizer.epsilon) == (0.9, 1e-7)
        assert len(theirs.trainable_weights) == (10 if model.name == "basic" else 4)
        assert set(
            theirs.evaluate(fed(images(2, theirs.input_shape[1])), np.ones(2), verbose=0, return_dict=True)
        ) == {
            "loss",
            "accuracy",
        }


def test_the_parameter_counts_are_the_workshops(tmp_path: Path) -> None:
    theirs = exported(Basic(), tmp_path / "m.keras")
    assert theirs.count_params() == 4_791_809


@pytest.mark.slow
@pytest.mark.parametrize(("name", "middle"), [*[("basic", kind) for kind in KINDS], ("vgg16", ".weights.h5")])
def test_keras_to_here_to_keras_is_bit_equal(tmp_path: Path, middle: str, name: str) -> None:
    keras.utils.set_random_seed(3)
    first = basic(46, (4, 6), 8) if name == "basic" else vgg16(32, 8)
    randomise_biases(first)
    first.save(tmp_path / "first.keras")
    found = import_file(tmp_path / "first.keras", preprocessing="workshop").model
    export_keras(found, {}, tmp_path / f"second{middle}")
    if middle == ".weights.h5":
        second = keras.models.clone_model(first)
        second.load_weights(tmp_path / f"second{middle}")
    else:
        second = keras.models.load_model(tmp_path / f"second{middle}")
    for before, after in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "kind"), [("keras", ".keras"), ("IMAGENET1K_V1", ".h5"), ("IMAGENET1K_FEATURES", ".keras")]
)
def test_imagenet_preprocessing_goes_along(tmp_path: Path, weights: str, kind: str) -> None:
    torch.manual_seed(4)
    model = with_biases(
        VGG16(32, weights=weights, preprocessing="imagenet", dense_units=8, load_weights=False)
    )
    theirs, pixels = exported(model, tmp_path / f"m{kind}"), images(3, 32)
    expected = probabilities(model, pixels)
    assert theirs.layers[1].name == "rescaling_1"
    np.testing.assert_allclose(theirs.predict(fed(pixels), verbose=0)[:, 0], expected, atol=1e-6)
    plain = VGG16(32, weights="none", dense_units=8)
    plain.load_state_dict(model.state_dict())
    assert (
        np.abs(probabilities(plain.eval(), pixels) - expected).max() > 1e-4
    )  # the preprocessing does matter
    back = import_file(tmp_path / f"m{kind}").model
    assert {"weights": weights, "preprocessing": "imagenet"}.items() <= dict(back.hparams).items()
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_dropout_and_preprocessing_of_a_basic_model_go_along(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(4)
    model = with_biases(Basic(46, (4, 6, 4), 8, preprocessing="imagenet", dropout=0.3))
    theirs, pixels = exported(model, tmp_path / f"m{kind}"), images(3, 46)
    names = BASIC_NAMES.replace("flatten_1", "flatten_1 dropout_1").replace("dense_2", "dropout_2 dense_2")
    assert [layer.name for layer in theirs.layers] == ["rescaling_1", *names.split()]
    assert {layer.rate for layer in theirs.layers if isinstance(layer, keras.layers.Dropout)} == {0.3}
    expected = probabilities(model, pixels)
    np.testing.assert_allclose(theirs.predict(fed(pixels), verbose=0)[:, 0], expected, atol=1e-6)
    back = import_file(tmp_path / f"m{kind}").model
    assert back.hparams["preprocessing"] == "imagenet"
    np.testing.assert_allclose(probabilities(back, pixels), expected, atol=1e-6)


def test_weights_alone_do_not_tell_the_preprocessing(tmp_path: Path) -> None:
    model = VGG16(32, weights="keras", preprocessing="imagenet", dense_units=8, load_weights=False)
    export_keras(model, {}, tmp_path / "m.weights.h5")
    with pytest.raises(
        KerasFileError, match="it has a Rescaling layer, whose factor a file of weights only does not hold"
    ):
        import_file(tmp_path / "m.weights.h5", image_size=32)


@pytest.mark.slow
def test_training_goes_on_in_keras_where_it_stopped_here(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model, pixels, labels = Basic(46, (8, 8), 16), images(80, 46), np.arange(80) % 2
    optimizer = model.configure_optimizers()
    our_losses(model, optimizer, pixels[:40], labels[:40])
    save_checkpoint(model, tmp_path / "half.ckpt", optimizer)
    checkpoint = read_checkpoint(tmp_path / "half.ckpt")
    export_keras(load_checkpoint(tmp_path / "half.ckpt"), checkpoint, tmp_path / "half.keras")
    theirs = keras.models.load_model(tmp_path / "half.keras")
    expected = our_losses(model, optimizer, pixels[40:], labels[40:])
    np.testing.assert_allclose(keras_losses(theirs, fed(pixels[40:]), labels[40:]), expected, atol=1e-4)
    fresh = exported(load_checkpoint(tmp_path / "half.ckpt"), tmp_path / "fresh.keras")
    assert np.abs(np.subtract(keras_losses(fresh, fed(pixels[40:]), labels[40:]), expected)).max() > 1e-3


def test_a_file_loads_without_a_warning(ours: Classifier, tmp_path: Path) -> None:
    export_keras(ours, {}, tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        keras.models.load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_models_are_equal_files(ours: Classifier, tmp_path: Path, kind: str) -> None:
    digests = set()
    for i in range(2):
        export_keras(ours, {}, tmp_path / f"{i}{kind}")
        digests.add(hashlib.sha256((tmp_path / f"{i}{kind}").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_float64_model_is_written_as_float32(ours: Classifier, tmp_path: Path) -> None:
    theirs = exported(ours.double(), tmp_path / "m.keras")
    assert {weight.dtype for weight in theirs.get_weights()} == {np.dtype("float32")}


def test_another_optimizer_becomes_a_fresh_rmsprop(tmp_path: Path) -> None:
    model = Basic(46, (4,), 4, learning_rate=3e-4, optimizer="Adam")
    optimizer = model.configure_optimizers()
    our_losses(model, optimizer, images(8, 46), np.arange(8) % 2)
    save_checkpoint(model, tmp_path / "m.ckpt", optimizer)
    checkpoint = read_checkpoint(tmp_path / "m.ckpt")
    notes = list(export_keras(model, checkpoint, tmp_path / "m.keras"))
    assert notes == ["optimizer: Adam is not carried over; Keras starts with a fresh RMSprop"]
    state = optimizer_state(model, checkpoint)
    assert state.config["config"] == {"learning_rate": 3e-4, "rho": 0.9, "epsilon": 1e-7}
    assert all(not array.any() for name, array in state.variables.items() if name.endswith("velocity"))
    assert not state.variables["rmsprop/iteration"].any()


def test_a_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(Basic(46, (4,), 4), tmp_path / "m.ckpt")
    read, load = [], torch.load

    def counted(path: Path, **options: Any) -> Any:
        read.append(path)
        return load(path, **options)

    monkeypatch.setattr(torch, "load", counted)
    list(export(tmp_path / "m.ckpt", "keras", tmp_path / "m.keras"))
    assert read == [tmp_path / "m.ckpt"]


def test_an_archive_holds_what_keras_writes(ours: Classifier, tmp_path: Path) -> None:
    export_keras(ours, {}, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("metadata.json"))["keras_version"].startswith("3.")


def test_a_file_that_is_there_is_kept(ours: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_text("precious", encoding="utf-8")
    save_checkpoint(ours, tmp_path / "m.ckpt")
    with pytest.raises(CatDogError, match=r"m\.h5 exists already"):
        list(export(tmp_path / "m.ckpt", "keras", path))
    assert path.read_text(encoding="utf-8") == "precious"
    list(export(tmp_path / "m.ckpt", "keras", path, overwrite=True))
    assert keras.models.load_model(path).name == "sequential_1"


@pytest.mark.parametrize("name", ["m.onnx", "m", "m.pt", "keras"])
def test_an_unknown_ending_is_named(ours: Classifier, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UsageError, match=r"is not the name of a Keras file; give one that ends in \.weights\.h5, \.h5"
    ):
        export_keras(ours, {}, tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_half_written_is_left(
    ours: Classifier, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"m{kind}"
    path.write_text("precious", encoding="utf-8")
    write = writing.write_weights

    def full(*arguments: Any) -> None:
        write(*arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "write_weights", full)
    monkeypatch.setattr(writing, "write_legacy", full)
    with pytest.raises(CatDogError, match=r"cannot be written \(No space left on device\)"):
        export_keras(ours, {}, path)
    assert path.read_text(encoding="utf-8") == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(ours: Classifier, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatDogError, match="cannot be written"):
        export_keras(ours, {}, tmp_path / "file" / "m.h5")
