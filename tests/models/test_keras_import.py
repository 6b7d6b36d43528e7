"""Files written by real Keras 3, and such files in the words of older versions, read bit for bit."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

from benchmarks.parity import old_files
from benchmarks.parity.referee import (
    Model,
    basic,
    compiled,
    fed,
    images,
    randomise_biases,
    tensor,
    twin,
    vgg16,
)
from catdog_pl.errors import KerasFileError, UsageError
from catdog_pl.keras import hdf5
from catdog_pl.models.keras_import import Imported, import_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Keras' own; nothing to act on here."""

SIZE, FILTERS, UNITS = 46, (4, 6, 6), 8
KINDS = [".keras", ".h5", ".weights.h5"]


@pytest.fixture(autouse=True)
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that Keras has just written need no survey, which would take most of the time."""
    monkeypatch.setattr(hdf5, "survey", lambda source, name: None)


@pytest.fixture
def small() -> Model:
    """A basic model of another image size, other filters and units than the workshop's, trained a little."""
    keras.utils.set_random_seed(1)
    model = basic(SIZE, FILTERS, UNITS)
    model.fit(fed(images(8, SIZE)), np.arange(8) % 2, batch_size=4, verbose=0)
    return model


@pytest.fixture(scope="module")
def large() -> Model:
    """A VGG16 with its head; 59 MB, so made once."""
    keras.utils.set_random_seed(2)
    model = vgg16(32, UNITS)
    randomise_biases(model)
    return model


def saved(model: Model, path: Path) -> Path:
    """The model as a file of the kind that the name asks for."""
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def assert_same(found: Imported, model: Model) -> None:
    """Every weight is bit-equal, and the predictions are the same."""
    ours, expected = found.model.state_dict(), twin(model).state_dict()
    assert ours.keys() == expected.keys()
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
    pixels = images(2, model.input_shape[1])
    with torch.no_grad():
        probabilities = found.model(tensor(pixels)).sigmoid().numpy()
    np.testing.assert_allclose(probabilities, model.predict(fed(pixels), verbose=0)[:, 0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_basic_model_of_every_kind(small: Model, tmp_path: Path, kind: str) -> None:
    size = SIZE if kind == ".weights.h5" else None
    found = import_file(saved(small, tmp_path / f"m{kind}"), image_size=size)
    assert_same(found, small)
    arguments = {"image_size": SIZE, "filters": FILTERS, "dense_units": UNITS}
    assert arguments.items() <= dict(found.model.hparams).items()
    assert not found.model.training


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_functional_vgg16_of_every_kind(large: Model, tmp_path: Path, kind: str) -> None:
    size = 32 if kind == ".weights.h5" else None
    found = import_file(saved(large, tmp_path / f"m{kind}"), size, preprocessing="workshop")
    assert_same(found, large)
    assert found.model.hparams["dropout"] == 0.4
    assert found.model.hparams["preprocessing"] == "workshop"
    assert [p.requires_grad for p in found.model.parameters()] == [False] * 26 + [True] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trainable_from"),
    [(".h5", None), (".keras", "block5_conv1"), (".h5", "block5_conv3"), (".weights.h5", "block5_conv3")],
)
def test_a_nested_vgg16_frozen_in_part(
    large: Model, tmp_path: Path, kind: str, trainable_from: str | None
) -> None:
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    for layer in base.layers:
        layer.trainable = layer.name >= (trainable_from or "z") and layer.name.startswith("block5")
    head = [layers.Flatten(), layers.Dense(UNITS, "relu"), layers.Dropout(0.25), layers.Dense(1, "sigmoid")]
    model = compiled(keras.Sequential([base, *head]))
    model.build((None, 32, 32, 3))
    for layer in base.layers[1:] + head:
        if layer.weights:
            layer.set_weights([np.random.default_rng(3).normal(0, 0.1, w.shape) for w in layer.get_weights()])
    found = import_file(saved(model, tmp_path / f"m{kind}"), 32, preprocessing="workshop")
    weighted = [layer for layer in base.layers + head if layer.weights]
    ours = list(found.model.parameters())
    for layer, kernel, bias in zip(weighted, ours[::2], ours[1::2], strict=True):
        theirs, zeros = layer.get_weights()
        axes = (3, 2, 0, 1) if theirs.ndim == 4 else (1, 0)
        assert np.array_equal(kernel.detach().numpy(), theirs.transpose(axes)), layer.name
        assert np.array_equal(bias.detach().numpy(), zeros), layer.name


@pytest.mark.slow
def test_a_vgg16_called_inside_a_functional_model(large: Model, tmp_path: Path) -> None:
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    entrance = keras.Input((32, 32, 3))
    x = base(entrance, training=False)
    for layer in large.layers[-4:]:
        x = layer.__class__.from_config(layer.get_config())(x)
    model = keras.Model(entrance, x)
    model.set_weights(large.get_weights())
    assert_same(import_file(saved(model, tmp_path / "m.h5"), preprocessing="workshop"), large)


def with_layers(model: Model, before: list[Any], between: Callable[[Any], list[Any]]) -> Model:
    """The basic model with layers in front, and others behind each of its layers; the same weights."""
    changed = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *before])
    for layer in model.layers:
        copy = layer.__class__.from_config(layer.get_config())
        for each in [copy, *between(layer)]:
            changed.add(each)
    compiled(changed).set_weights(model.get_weights())
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_augmentation_layers_are_left_out(small: Model, tmp_path: Path, kind: str) -> None:
    front = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)]
    changed = with_layers(small, front, lambda layer: [])
    found = import_file(saved(changed, tmp_path / f"m{kind}"))
    assert_same(found, small)
    left_out = ", ".join(layer.name for layer in front)
    assert f"left out, because they act only in training: {left_out}" in found.notes


DROPPING: dict[str, tuple[list[Any], Callable[[Any], list[Any]]]] = {
    "dropout anywhere": ([], lambda layer: [layers.Dropout(0.3)] if "pool" in layer.name else []),
    "spatial dropout and noise": (
        [layers.GaussianNoise(0.1)],
        lambda layer: [layers.SpatialDropout2D(0.1)] if "conv" in layer.name else [],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
@pytest.mark.parametrize("variant", DROPPING)
def test_dropout_where_the_basic_model_has_none_is_kept(
    small: Model, tmp_path: Path, kind: str, variant: str
) -> None:
    changed = with_layers(small, *DROPPING[variant])
    found = import_file(saved(changed, tmp_path / f"m{kind}"), preprocessing="rescale")
    assert [layer["class_name"] for layer in found.model.hparams["layers"]] == [
        type(layer).__name__ for layer in changed.layers
    ]
    pixels = images(2, SIZE)
    with torch.no_grad():
        probabilities = found.model(tensor(pixels)).sigmoid().numpy()
    np.testing.assert_allclose(probabilities, small.predict(fed(pixels), verbose=0)[:, 0], atol=1e-6)
    assert not torch.equal(found.model.train()(tensor(pixels)), found.model.eval()(tensor(pixels)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
@pytest.mark.parametrize("first", ["relu", "pool"])
def test_separate_activation_layers(small: Model, tmp_path: Path, kind: str, first: str) -> None:
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3))])
    for n in FILTERS:
        model.add(layers.Conv2D(n, 3))
        behind = [layers.Activation("relu"), layers.MaxPooling2D()]
        for layer in behind if first == "relu" else behind[::-1]:
            model.add(layer)
    for layer in (
        layers.Flatten(),
        layers.Dense(UNITS),
        layers.ReLU(),
        layers.Dense(1),
        layers.Activation("sigmoid"),
    ):
        model.add(layer)
    compiled(model).set_weights(small.get_weights())
    assert_same(import_file(saved(model, tmp_path / f"m{kind}")), small)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_a_rescaling_layer_in_front_takes_pixels(small: Model, tmp_path: Path, kind: str) -> None:
    changed = with_layers(small, [layers.Rescaling(1.0 / 255)], lambda layer: [])
    found = import_file(saved(changed, tmp_path / f"m{kind}"))
    pixels = images(2, SIZE)
    with torch.no_grad():
        probabilities = found.model(tensor(pixels)).sigmoid().numpy()
    expected = changed.predict(pixels.astype(np.float32), verbose=0)[:, 0]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert not any("Rescaling" in note for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_other_names_a_functional_form_and_no_input_layer(small: Model, tmp_path: Path, kind: str) -> None:
    entrance = keras.Input((SIZE, SIZE, 3), name="picture")
    x = entrance
    for i, layer in enumerate(small.layers):
        x = layer.__class__.from_config(layer.get_config() | {"name": f"z{9 - i}"})(x)
    functional = compiled(keras.Model(entrance, x))
    functional.set_weights(small.get_weights())
    found = import_file(saved(functional, tmp_path / f"f{kind}"))
    assert_same(found, small)
    assert found.layers[0] == ("z9", "features.conv2d_1")

    late = compiled(
        keras.Sequential([layer.__class__.from_config(layer.get_config()) for layer in small.layers])
    )
    late.build((None, SIZE, SIZE, 3))  # a Sequential without an input layer learns its input shape late
    late.set_weights(small.get_weights())
    assert_same(import_file(saved(late, tmp_path / f"s{kind}")), small)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_sequentials_inside_a_sequential(small: Model, tmp_path: Path, kind: str) -> None:
    copies = [layer.__class__.from_config(layer.get_config()) for layer in small.layers]
    parts = [keras.Sequential(copies[:6]), keras.Sequential(copies[6:8]), copies[8]]
    model = compiled(keras.Sequential([keras.Input((SIZE, SIZE, 3)), *parts]))
    model.set_weights(small.get_weights())
    copies[0].trainable = copies[4].trainable = False  # the groups of an .h5 file are out of order now
    assert_same(import_file(saved(model, tmp_path / f"m{kind}")), small)


def test_more_than_nine_layers_of_a_class_keep_their_order(tmp_path: Path) -> None:
    model = basic(3200, (2,) * 10, 3)
    randomise_biases(model)
    found = import_file(saved(model, tmp_path / "m.weights.h5"), image_size=3200)
    assert [
        torch.equal(a, b) for a, b in zip(found.model.parameters(), twin(model).parameters(), strict=True)
    ] == [True] * 24


@pytest.mark.slow
@pytest.mark.parametrize("loss", [keras.losses.BinaryCrossentropy(from_logits=True)])
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_a_head_of_logits_with_the_loss_for_it(small: Model, tmp_path: Path, kind: str, loss: Any) -> None:
    copies = [layer.__class__.from_config(layer.get_config()) for layer in small.layers[:-1]]
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *copies, layers.Dense(1)])
    model.compile(loss=loss, optimizer="rmsprop")
    model.set_weights(small.get_weights())
    assert_same(import_file(saved(model, tmp_path / f"m{kind}")), small)


@pytest.mark.slow
@pytest.mark.parametrize("rewrite", [old_files.as_2018, old_files.as_2016])
def test_files_in_the_words_of_2018_and_2016(
    small: Model, tmp_path: Path, rewrite: Callable[[Path, Path], None]
) -> None:
    source, target = saved(small, tmp_path / "new.h5"), tmp_path / "old.h5"
    rewrite(source, target)
    found = import_file(target)
    assert_same(found, small)
    assert found.model.hparams["optimizer"] == "RMSprop"
    assert found.model.hparams["optimizer_args"] == {"alpha": 0.9, "eps": 1e-7}
    assert found.model.hparams["learning_rate"] == 1e-3
    assert found.optimizer is not None
    assert type(found.optimizer) is torch.optim.RMSprop


def test_weights_of_2018_alone(small: Model, tmp_path: Path) -> None:
    source = saved(small, tmp_path / "new.h5")
    old_files.as_2018(source, tmp_path / "old.h5")
    old_files.weights_alone(tmp_path / "old.h5", tmp_path / "weights.h5")
    assert_same(import_file(tmp_path / "weights.h5", image_size=SIZE), small)


@pytest.mark.slow
def test_names_in_chunks(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "m.h5")
    old_files.in_chunks(path)
    assert_same(import_file(path), small)


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", ["_layer_checkpoint_dependencies/", "layers\\", "_layer_checkpoint_dependencies\\"]
)
def test_paths_of_keras_2_12_and_of_windows(small: Model, tmp_path: Path, folder: str) -> None:
    path = saved(small, tmp_path / "m.weights.h5")
    with h5py.File(path, "r+") as file:
        for name in list(file["layers"]):
            file.move(f"layers/{name}", f"{folder}{name}")
        del file["layers"]
    assert_same(import_file(path, image_size=SIZE), small)


@pytest.mark.slow
def test_the_content_decides_and_not_the_name(small: Model, tmp_path: Path) -> None:
    shutil.move(saved(small, tmp_path / "m.keras"), tmp_path / "archive.h5")
    shutil.move(saved(small, tmp_path / "m.h5"), tmp_path / "hdf5.keras")
    assert_same(import_file(tmp_path / "archive.h5"), small)
    assert_same(import_file(tmp_path / "hdf5.keras"), small)


@pytest.mark.slow
def test_the_image_size_of_weights_alone(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "m.weights.h5")
    with pytest.raises(
        KerasFileError,
        match=r"it holds weights only, so the image size is unknown\. If the network is the workshop's, "
        r"it is between 46 and 53: pass --image_size$",
    ):
        import_file(path)
    with pytest.raises(
        KerasFileError, match="if the network is the workshop's, its image size is between 46 and 53, not 54"
    ):
        import_file(path, image_size=54)
    assert import_file(path, image_size=53).model.data_spec.image_size == 53


def test_the_workshops_size_is_taken_where_it_fits(tmp_path: Path) -> None:
    path = saved(basic(156, (2, 2, 2), 2), tmp_path / "m.weights.h5")
    found = import_file(path)
    assert found.model.data_spec.image_size == 150
    assert "image size 150, the workshop's; by its weights it is between 150 and 157" in found.notes


def preprocessed() -> Model:
    """A VGG16 called inside a functional model, behind Keras' own ``preprocess_input``."""
    keras.utils.set_random_seed(5)
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    base.trainable = False
    entrance = keras.Input((32, 32, 3))
    x = base(keras.applications.vgg16.preprocess_input(entrance), training=False)
    for layer in (layers.Flatten(), layers.Dense(UNITS, "relu"), layers.Dense(1, "sigmoid")):
        x = layer(x)
    return compiled(keras.Model(entrance, x))


def as_slice(config: dict[str, Any], operations: list[Any]) -> None:
    """Exchange the stacked channels for the slice that Keras 3.0 to 3.5 wrote."""
    step = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": -1}}
    flip, add = copy.deepcopy(operations[0]), operations[-1]
    flip["inbound_nodes"][0]["args"][1][1] = step
    add["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = flip["config"]["name"]
    config["layers"] = [flip, *(layer for layer in config["layers"] if layer not in operations[:-1])]


def as_keras_2(config: dict[str, Any], operations: list[Any]) -> None:
    """Exchange the operations for those that Keras 2 wrote, and the calls of them."""
    source, last = config["layers"][0]["config"]["name"], operations[-1]
    names = ("tf.__operators__.getitem", "tf.nn.bias_add")
    ellipsis, step = {"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}
    mean = last["inbound_nodes"][0]["args"][1]["config"]["value"][0][0][0]
    nodes = ([source, 0, 0, {"slice_spec": [ellipsis, step]}], [names[0], 0, 0, {"bias": mean}])
    flip, shift = (
        {"class_name": kind, "config": {"name": name}, "name": name, "inbound_nodes": [node]}
        for kind, name, node in zip(("SlicingOpLambda", "TFOpLambda"), names, nodes, strict=True)
    )
    text = json.dumps([layer for layer in config["layers"] if layer not in operations])
    config["layers"] = [
        *json.loads(text.replace(f'["{last["name"]}", 0, 0]', f'["{names[1]}", 0, 0]')),
        flip,
        shift,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"), [(".keras", None), (".h5", None), (".h5", as_slice), (".h5", as_keras_2)]
)
def test_preprocess_input_inside_the_model_is_imagenet(
    tmp_path: Path, kind: str, words: Callable[..., None] | None
) -> None:
    model = preprocessed()
    path = saved(model, tmp_path / f"m{kind}")
    if words:
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            layer_entries = config["config"]["layers"]
            operations = [e for e in layer_entries if e["class_name"] in ("GetItem", "Stack", "Add")]
            assert len(operations) == 5
            words(config["config"], operations)
            file.attrs["model_config"] = json.dumps(config)
    found = import_file(path)
    assert {"weights": "keras", "preprocessing": "imagenet"}.items() <= dict(found.model.hparams).items()
    pixels = images(3, 32)
    expected = model.predict(pixels.astype(np.float32), verbose=0)[:, 0]
    with torch.no_grad():
        np.testing.assert_allclose(found.model(tensor(pixels)).sigmoid(), expected, atol=1e-5)
    with pytest.raises(KerasFileError, match="its layers do the preprocessing caffe; leave out"):
        import_file(path, preprocessing="workshop")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("another mean", lambda node: node["args"][1]["config"].update(value=[[[[-1.0, -2.0, -3.0]]]])),
        ("no mean", lambda node: node["args"][1]["config"].update(value=[])),
    ],
)
def test_operations_that_are_not_preprocess_input_are_named(
    tmp_path: Path, name: str, change: Callable[[Any], None]
) -> None:
    path = saved(preprocessed(), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        (add,) = [entry for entry in config["config"]["layers"] if entry["class_name"] == "Add"]
        change(add["inbound_nodes"][0])
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(KerasFileError, match=r"layer get_item_\d+ is a branch; the models here are chains"):
        import_file(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_done_to_pixels_outside_a_vgg16_is_asked_for(large: Model, tmp_path: Path, kind: str) -> None:
    path = saved(large, tmp_path / f"m{kind}")
    message = (
        r"the file does not tell what is done to pixels before the model\. Pass --preprocessing rescale "
        r"if they are multiplied by 1/255, raw if they stay 0\.\.255, symmetric if they become -1\.\.1, "
        r"caffe if keras\.applications\.vgg16\.preprocess_input is called$"
    )
    with pytest.raises(KerasFileError, match=message):
        import_file(path, 32)
    pixels = images(3, 32)
    prepared = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    found = import_file(path, 32, preprocessing="imagenet")
    assert {"weights": "keras", "preprocessing": "imagenet"}.items() <= dict(found.model.hparams).items()
    with torch.no_grad():
        ours = found.model(tensor(pixels)).sigmoid()
    np.testing.assert_allclose(ours, large.predict(prepared, verbose=0)[:, 0], atol=1e-5)


def test_the_preprocessing_of_a_basic_model(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "m.keras")
    assert any("taken to be trained on pixels times 1/255" in note for note in import_file(path).notes)
    for word in ("workshop", "rescale"):
        told = import_file(path, preprocessing=word)
        assert told.model.name == "basic"
        assert not any("1/255" in note for note in told.notes)
    for word in ("raw", "symmetric", "caffe"):
        other = import_file(path, preprocessing=word).model
        assert (other.name, other.hparams["preprocessing"]) == ("sequential", word)


def test_a_rescaling_in_weights_only_is_asked_for(small: Model, tmp_path: Path) -> None:
    changed = with_layers(small, [layers.Rescaling(1.0 / 255)], lambda layer: [])
    path = saved(changed, tmp_path / "m.weights.h5")
    with pytest.raises(
        KerasFileError, match=r"it has a Rescaling layer, whose factor a file of weights only"
    ):
        import_file(path, SIZE)
    assert_same(import_file(path, SIZE, preprocessing="workshop"), small)


def test_weights_only_say_what_they_do_not_prove(small: Model, tmp_path: Path) -> None:
    found = import_file(saved(small, tmp_path / "m.weights.h5"), SIZE)
    assert any(note.startswith("the file holds weights only: padding, strides and") for note in found.notes)
    whole = import_file(saved(small, tmp_path / "m.keras"))
    assert not any("weights only" in note for note in whole.notes)


def test_names_of_somebodys_own_in_weights_only_are_said(small: Model, tmp_path: Path) -> None:
    renamed = {"max_pooling2d_1": "shrink"}
    names = [renamed.get(layer.name, layer.name) for layer in small.layers]
    copies = [
        layer.__class__.from_config(layer.get_config() | {"name": name})
        for layer, name in zip(small.layers, names, strict=True)
    ]
    changed = compiled(keras.Sequential([keras.Input((SIZE, SIZE, 3)), *copies]))
    changed.set_weights(small.get_weights())
    old_files.weights_alone(saved(changed, tmp_path / "m.h5"), tmp_path / "w.h5")
    found = import_file(tmp_path / "w.h5", SIZE)
    assert_same(found, small)
    assert "layers whose names do not tell what they do: shrink" in found.notes


def test_dropout_that_acts_in_predictions_is_said(tmp_path: Path) -> None:
    entrance = keras.Input((SIZE, SIZE, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(entrance))
    x = layers.Dropout(0.5, name="always")(layers.Flatten()(x), training=True)
    x = layers.Dense(1, "sigmoid")(layers.Dense(UNITS, "relu")(x))
    found = import_file(
        saved(compiled(keras.Model(entrance, x)), tmp_path / "m.keras"), None, preprocessing="raw"
    )
    note = "always: called with training=True, so that Keras predicts at random; here not"
    assert note in found.notes


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_a_fine_tuned_block_is_said(tmp_path: Path, kind: str) -> None:
    model = vgg16(32, UNITS)
    assert not any(
        "trainable" in n
        for n in import_file(saved(model, tmp_path / f"m{kind}"), preprocessing="workshop").notes
    )
    for layer in model.layers:
        if layer.name.startswith("block5_conv"):
            layer.trainable = True
    found = import_file(saved(compiled(model), tmp_path / f"t{kind}"), preprocessing="workshop")
    (note,) = [note for note in found.notes if "trainable" in note]
    assert note.startswith("trainable in Keras: block5_conv1, block5_conv2, block5_conv3; their weights are")


@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_half_precision_is_said(tmp_path: Path, kind: str) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        path = saved(basic(SIZE, FILTERS, UNITS), tmp_path / f"m{kind}")
    finally:
        keras.config.set_dtype_policy("float32")
    found = import_file(path)
    assert any(note.startswith("Keras computes in mixed_float16, here it is float32") for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_classes_in_the_other_order_change_places(small: Model, tmp_path: Path, kind: str) -> None:
    path, pixels = saved(small, tmp_path / f"m{kind}"), tensor(images(3, SIZE))
    plain, turned = import_file(path), import_file(path, class_names=("dog", "cat"))
    assert turned.model.data_spec.class_names == ("cat", "dog")
    assert "last layer negated: the classes are in the order of their folders, cat and dog" in turned.notes
    with torch.no_grad():
        assert torch.equal(turned.model(pixels), -plain.model(pixels))
    assert plain.optimizer
    assert turned.optimizer
    for ours, theirs in zip(turned.model.parameters(), plain.model.parameters(), strict=True):
        means = turned.optimizer.state[ours]["mean_square"], plain.optimizer.state[theirs]["mean_square"]
        assert torch.equal(*means)
    with pytest.raises(UsageError, match="--class_names cat cat: the two classes have the same name"):
        import_file(path, class_names=("cat", "cat"))


def test_mean_squares_that_are_no_numbers_are_left_behind(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "m.h5")
    for value in (np.nan, -1.0):
        with h5py.File(path, "r+") as file:
            group = file["optimizer_weights"]
            name = next(name for name in group.attrs["weight_names"] if group[name].shape)
            group[name][...] = value
        found = import_file(path)
        assert found.optimizer is None
        assert "optimizer: RMSprop is carried over, it starts afresh" in found.notes


def test_mean_squares_are_carried_over(small: Model, tmp_path: Path) -> None:
    # Keras itself loses them when it loads .h5; both kinds of file hold them.
    expected = [variable.numpy() for variable in small.optimizer.variables[2:]]
    assert max(float(abs(mean).max()) for mean in expected) > 0
    for kind in (".keras", ".h5"):
        found = import_file(saved(small, tmp_path / f"m{kind}"))
        assert found.optimizer is not None
        states = [found.optimizer.state[p]["mean_square"] for p in found.model.parameters()]
        for mean, theirs in zip(states, expected, strict=True):
            axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[theirs.ndim]
            assert np.array_equal(mean.numpy(), theirs.transpose(axes))


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        "adam",
        keras.optimizers.RMSprop(momentum=0.9),
        keras.optimizers.RMSprop(clipnorm=1.0),
        keras.optimizers.SGD(),
    ],
    ids=["adam", "momentum", "clipping", "sgd"],
)
def test_another_optimizer_is_left_behind_and_said_so(small: Model, tmp_path: Path, optimizer: Any) -> None:
    small.compile(loss="binary_crossentropy", optimizer=optimizer)
    found = import_file(saved(small, tmp_path / "m.keras"))
    assert found.optimizer is None
    assert found.model.hparams["optimizer"] == "keras_rmsprop"
    assert any("fit starts with keras_rmsprop" in note for note in found.notes)


def test_arguments_of_rmsprop_are_carried_over(small: Model, tmp_path: Path) -> None:
    small.compile(
        loss="binary_crossentropy", optimizer=keras.optimizers.RMSprop(3e-4, rho=0.95, epsilon=1e-6)
    )
    found = import_file(saved(small, tmp_path / "m.keras"))
    assert found.model.hparams["learning_rate"] == 3e-4
    assert found.model.hparams["optimizer_args"] == {"rho": 0.95, "epsilon": 1e-6}


def test_class_names_are_the_users(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "m.keras")
    assert import_file(path).model.data_spec.class_names == ("cat", "dog")
    assert import_file(path, class_names=("day", "night")).model.data_spec.class_names == ("day", "night")
