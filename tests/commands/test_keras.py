"""``keras import`` and ``keras export`` as typed, and what test, predict and fit make of the checkpoint."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from lightning.pytorch import Trainer
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.parity.referee import Model, basic, fed, images, tensor, vgg16
from benchmarks.parity.training import QUIET, Listed, batches
from catdog_pl.__main__ import main
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.models import Basic
from catdog_pl.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from catdog_pl.models.classifier import Batch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
"""Keras' own, and Lightning's on a folder of a few pictures; nothing to act on here."""

SIZE = 46


@pytest.fixture
def model(own_folder: Path) -> Model:
    """A trained model in ``model.keras``."""
    keras.utils.set_random_seed(1)
    model = basic(SIZE, (4, 6), 8)
    model.fit(fed(images(8, SIZE)), np.arange(8) % 2, batch_size=4, verbose=0)
    model.save("model.keras")
    return model


def draw_photos(root: Path) -> Path:
    """Folders of dark cats and bright dogs, in sizes of their own, some of them hard to tell."""
    random = np.random.default_rng(3)
    for split, count in (("train", 24), ("validation", 8), ("test", 15)):
        for label, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                height, width = random.integers(30, 90, 2)
                pixels = random.normal(115 + 25 * label, 45, (height, width, 3)) + random.normal(0, 12)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.{i}.jpg")
    return root


@pytest.mark.slow
def test_import_into_a_new_run_says_what_it_did(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keras", "import", "model.keras"]) == 0
    out = capsys.readouterr().out
    (checkpoint,) = Path("checkpoints").glob("basic/*/best.ckpt")
    assert "basic, from a whole model (.keras) of Keras 3." in out
    assert f"image_size {SIZE}, filters (4, 6), dense_units 8" in out
    assert "taken to be trained on pixels times 1/255" in out
    assert f"Written     {checkpoint}\nNext        python -m catdog_pl test\n" in out
    with torch.no_grad():
        found = load_checkpoint(checkpoint)(tensor(images(2, SIZE))).sigmoid()
    np.testing.assert_allclose(found, model.predict(fed(images(2, SIZE)), verbose=0)[:, 0], atol=1e-6)


def test_import_to_a_path(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["keras", "import", "model.keras", "--output", "a/b.ckpt", "--class_names", "day", "night"]) == 0
    )
    assert "Next        python -m catdog_pl test --ckpt_path a/b.ckpt" in capsys.readouterr().out.replace(
        "\\", "/"
    )
    assert load_checkpoint(Path("a/b.ckpt")).data_spec.class_names == ("day", "night")
    assert main(["keras", "import", "model.keras", "--output", "a/b.ckpt"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["keras", "import", "model.keras", "--output", "a/b.ckpt", "--overwrite"]) == 0
    assert load_checkpoint(Path("a/b.ckpt")).data_spec.class_names == ("cat", "dog")


@pytest.mark.slow
def test_classes_in_the_other_order_are_tested_in_the_order_of_their_folders(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photos(Path("data"))
    for layer in model.layers:  # every layer gives a mean, so that the bright dogs are above the last bias
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([np.full_like(kernel, kernel.shape[-1] / kernel.size), np.zeros_like(bias)])
    model.layers[-1].bias.assign([-0.545])
    model.save("model.keras")
    answers = []
    for names in (["cat", "dog"], ["dog", "cat"]):
        words = ["--class-names", *names, "--output", "m.ckpt", "--overwrite"]
        assert main(["keras", "import", "model.keras", *words]) == 0
        assert load_checkpoint(Path("m.ckpt")).data_spec.class_names == ("cat", "dog")
        assert main(["test", "--ckpt_path", "m.ckpt", "--accelerator", "cpu", "--num_workers", "0"]) == 0
        answers.append(float(re.search(r"[Aa]ccuracy\D*([\d.]+)", capsys.readouterr().out)[1]))  # type: ignore[index]
    assert sum(answers) == pytest.approx(1, abs=1e-3)
    assert answers[0] > 0.8


def test_what_the_file_does_not_prove_is_in_the_checkpoints_note(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_weights("w.weights.h5")
    assert main(["keras", "import", "w.weights.h5", "--image-size", str(SIZE), "--output", "m.ckpt"]) == 0
    origin = read_checkpoint(Path("m.ckpt"))["catdog_pl"]["origin"]
    assert origin["file"] == "w.weights.h5"
    assert origin["kind"] == "weights only (HDF5)"
    said = capsys.readouterr().out
    assert all(f"Note        {note}\n" in said for note in origin["notes"])
    assert any("padding, strides and activations are not in it" in note for note in origin["notes"])


@pytest.mark.slow
def test_preprocessing_is_one_of_a_few_words(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vgg16(32, 4).save("vgg16.keras")
    assert main(["keras", "import", "vgg16.keras"]) == 1
    assert (
        "Pass --preprocessing rescale if they are multiplied by 1/255, raw if they stay 0..255"
        in capsys.readouterr().err
    )
    assert main(["keras", "import", "vgg16.keras", "--preprocessing", "imagenet"]) == 0
    assert "preprocessing imagenet" in capsys.readouterr().out
    assert main(["keras", "import", "vgg16.keras", "--preprocessing", "grey"]) == 2


def test_the_printed_command_works_with_a_path_that_needs_quotes(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keras", "import", "model.keras", "--output", "a b/it's.ckpt"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Next")]
    assert shlex.split(line)[-1] == str(Path("a b/it's.ckpt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_exported(
    own_folder: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    ours = Basic(SIZE, (4,), 4)
    with torch.no_grad():
        ours.get_parameter("head.dense_2.weight")[0, 1] = value
    save_checkpoint(ours, Path("m.ckpt"))
    assert main(["keras", "export", "m.ckpt", "--output", "m.keras"]) == 1
    assert "head.dense_2.weight is NaN or infinite" in capsys.readouterr().err
    assert not Path("m.keras").exists()


def test_a_keras_file_is_not_exported(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keras", "export", "model.keras", "--output", "m.h5"]) == 1
    assert "keras import model.keras" in capsys.readouterr().err


@pytest.mark.slow
def test_export_of_a_path_and_of_the_newest_run(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keras", "import", "model.keras"])
    (checkpoint,) = Path("checkpoints").glob("basic/*/best.ckpt")
    for which, target in (("best", "a.keras"), (str(checkpoint), "b.h5")):
        assert main(["keras", "export", which, "--output", target]) == 0
        pairs = zip(keras.models.load_model(target).get_weights(), model.get_weights(), strict=True)
        assert all(np.array_equal(found, expected) for found, expected in pairs)
    assert main(["keras", "export", "best", "--output", "a.keras"]) == 1
    assert main(["keras", "export", "best", "--output", "a.keras", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["import", "none.h5"], 1, "none.h5: there is no such file"),
        (["import", "."], 1, ".: it is a folder; give a file saved by Keras, .keras or .h5"),
        (["import", "note.txt"], 1, "note.txt is neither HDF5 nor a .keras archive"),
        (["export", "best", "--output", "m.h5"], 1, "No trained model found in checkpoints"),
        (["export", "none.ckpt", "--output", "m.h5"], 1, "Checkpoint none.ckpt: there is no such file"),
        (["export", "note.txt", "--output", "m.h5"], 1, "Checkpoint note.txt: it is not a checkpoint"),
    ],
)
def test_a_mistake_is_one_line(
    own_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    Path("note.txt").write_text("hello", encoding="utf-8")
    assert main(["keras", *words]) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in own_folder.iterdir()) == ["note.txt"]


@pytest.mark.parametrize(
    "words", [[], ["send"], ["import"], ["export", "best"], ["import", "m.h5", "--out", "x"]]
)
def test_a_wrong_command_line(own_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["keras", *words]) == 2
    err = capsys.readouterr().err
    assert "see python -m catdog_pl keras" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["import", "--help"], ["export", "--help"], ["import"]])
def test_help_and_errors_do_not_import_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom catdog_pl.__main__ import main\n"
        f"try: main({['keras', *words]!r})\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'h5py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_fit_goes_on_from_an_import_as_keras_would(model: Model) -> None:
    main(["keras", "import", "model.keras", "--output", "m.ckpt"])
    draw_photos(Path("data"))
    options = ["--max_epochs", "1", "--image_size", str(SIZE), "--accelerator", "cpu", "--num_workers", "0"]
    assert main(["fit", "--ckpt_path", "m.ckpt", *options]) == 0
    (after,) = Path("checkpoints").glob("basic/*/last.ckpt")
    before, trained = read_checkpoint(Path("m.ckpt")), read_checkpoint(after)
    assert trained["global_step"] == 1  # 48 pictures are one batch of 50
    means = [checkpoint["optimizer_states"][0]["state"][0]["mean_square"] for checkpoint in (before, trained)]
    assert means[0].abs().max() > 0
    # v = 0.9 v + 0.1 g^2: the file's mean squares are behind the new ones, not zeros.
    assert bool((means[1] >= 0.9 * means[0] * (1 - 1e-6)).all())


@pytest.mark.slow
def test_test_and_predict_take_an_import(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keras", "import", "model.keras"])
    draw_photos(Path("data"))
    assert main(["test", "--accelerator", "cpu", "--num_workers", "0"]) == 0
    assert "Found 30 images belonging to 2 classes." in capsys.readouterr().out
    assert main(["predict", "data/test/dog/dog.3.jpg"]) == 0
    assert re.search(r"Probability: \[\[0\.\d+\]\]", capsys.readouterr().out)


@pytest.mark.slow
def test_a_model_trained_here_scores_the_same_in_keras(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photos(Path("data"))
    options = [
        "--model.filters",
        "[8,8]",
        "--model.dense_units",
        "16",
        "--batch_size",
        "8",
        "--max_epochs",
        "4",
    ]
    common = ["--accelerator", "cpu", "--num_workers", "0"]
    assert main(["fit", "--model", "basic", "--image_size", str(SIZE), *options, *common]) == 0
    capsys.readouterr()
    assert main(["test", *common]) == 0
    accuracy = float(re.search(r"[Aa]ccuracy\D*([\d.]+)", capsys.readouterr().out)[1])  # type: ignore[index]
    assert main(["keras", "export", "best", "--output", "trained.keras"]) == 0
    theirs = keras.models.load_model("trained.keras")
    flow = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(
        "data/test", target_size=(SIZE, SIZE), batch_size=8, class_mode="binary", shuffle=False
    )
    right = round(theirs.evaluate(flow, verbose=0, return_dict=True)["accuracy"] * 30)
    assert 15 < right < 30  # neither guessed nor too easy to tell two models apart
    assert right == round(accuracy * 30)
    (csv,) = Path("checkpoints").glob("basic/*/test.csv")
    ours = np.genfromtxt(csv, delimiter=",", names=True, dtype=None, encoding="utf-8")["probability"]
    np.testing.assert_allclose(theirs.predict(flow, verbose=0)[:, 0], ours, atol=1e-5)


@pytest.mark.slow
def test_lightnings_own_trainer_takes_an_import(model: Model) -> None:
    main(["keras", "import", "model.keras", "--output", "m.ckpt"])
    ours = load_checkpoint(Path("m.ckpt"))
    loader: DataLoader[Batch] = DataLoader(
        Listed(batches(images(8, SIZE), np.arange(8) % 2)), batch_size=None
    )
    trainer = Trainer(**QUIET, max_epochs=1)
    (found,) = trainer.test(ours, loader, ckpt_path="m.ckpt", weights_only=True, verbose=False)
    loss, _ = model.evaluate(fed(images(8, SIZE)), np.arange(8) % 2, verbose=0)
    assert found["test_loss"] == pytest.approx(loss, abs=1e-6)
    trainer.fit(ours.train(), loader, ckpt_path="m.ckpt", weights_only=True)
    assert isinstance(trainer.optimizers[0], KerasRMSprop)
    assert trainer.global_step == 1
