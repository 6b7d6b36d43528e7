"""What a new user trips over, command by command: one line that says what to do, and never a traceback."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from catdog_pl.export.keras import export_keras
from catdog_pl.models import Basic
from catdog_pl.models.checkpoint import save_checkpoint
from catdog_pl.models.spec import DataSpec
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]

COMMANDS = ("prepare", "fit", "validate", "test", "predict", "summary", "keras import", "keras export")

TINY = "--image_size 32 --batch_size 4 --max_epochs 1 --accelerator cpu"
RUN = Path("checkpoints/basic/2018-08-01_12-00-00")


@pytest.fixture(autouse=True)
def home(own_folder: Path, photos: Path) -> Path:
    """A folder with a run, its photographs, a Keras file, and what stands in the way: a file and a folder."""
    model = Basic(image_size=32, filters=(4, 4), dense_units=8)
    model.data_spec = DataSpec(image_size=32)
    for name in ("best", "last"):
        save_checkpoint(model, RUN / f"{name}.ckpt", model.configure_optimizers())
    (RUN / "config.yaml").touch()
    export_keras(model, {}, Path("model.keras"))
    Path("data").symlink_to(photos)
    Path("a_file").write_text("precious", encoding="utf-8")
    Path("a_folder").mkdir()
    return own_folder


def refused(line: str, code: int, run: Run, capsys: Capture) -> str:
    """The one line with which a command answers; results that it had before may stand above it."""
    capsys.readouterr()
    assert run(line) == code
    out, err = capsys.readouterr()
    lines = [text for text in (out + err).splitlines() if text.startswith("[ERROR]")]
    assert len(lines) == 1, out + err
    assert err.count("\n") == (0 if lines[0] in out else 1), err
    assert Path("a_file").read_text(encoding="utf-8") == "precious"
    assert not list(Path().rglob("*.part"))
    return lines[0]


WORDS = [
    *[(f"{command} --wrong", "--help") for command in COMMANDS],
    ("", "valid are prepare, fit"),
    ("train", "valid are prepare, fit"),
    ("prepare", "name a SOURCE, for example 'sample'"),
    ("prepare data --root", "--root: expected one argument; see python -m catdog_pl prepare --help"),
    ("prepare data --jobs none", "--jobs none: valid is a whole number above 0"),
    ("fit word", "options start with --, for example --model vgg16"),
    ("fit --model", "--model: expected one argument"),
    ("fit --model resnet", "valid are basic, vgg16, transfer, sequential"),
    ("fit --batch_siz 4", "did you mean --batch_size?"),
    ("fit --batch_size many", "--data.batch_size many: valid is a whole number"),
    ("fit --config", "--config: expected one argument"),
    ("validate word", "options start with --"),
    ("validate --ckpt_path", "--ckpt_path: expected one argument"),
    ("test word", "options start with --"),
    ("test --ckpt_path", "--ckpt_path: expected one argument"),
    ("predict", "are required: SOURCE; see python -m catdog_pl predict --help"),
    ("predict x --format xml", "--format xml: valid is text, json, jsonl, csv or parquet"),
    ("predict x --batch_size 0", "--batch_size 0: valid is a whole number above 0 and below"),
    ("predict x --accelerator tpu", "--accelerator tpu: valid is auto, cpu, gpu, cuda or mps"),
    ("summary word", "word; see python -m catdog_pl summary --help"),
    ("summary --model", "--model: expected one argument"),
    ("summary --model resnet", "valid are basic, vgg16, transfer, sequential"),
    ("summary --image_size big", "--image_size big: valid is a whole number above 0"),
    ("summary --image_size 3", "give at least one block and larger images"),
    ("keras", "required: action; see python -m catdog_pl keras --help"),
    ("keras send", "action send: valid is import or export"),
    ("keras import", "required: file; see python -m catdog_pl keras import --help"),
    ("keras export best", "required: --output; see python -m catdog_pl keras export --help"),
    ("keras export best --output model.onnx", "give one that ends in .weights.h5, .h5, .hdf5, .keras"),
]


@pytest.mark.parametrize(("line", "said"), WORDS)
def test_wrong_words_and_missing_arguments(line: str, said: str, run: Run, capsys: Capture) -> None:
    if not line:  # the whole usage is what somebody needs who has typed nothing
        assert run("") == 2
        assert "python -m catdog_pl COMMAND --help" in capsys.readouterr().err
        return
    assert said in refused(line, 2, run, capsys)


MISSING = [
    ("prepare none", 2, "SOURCE is a folder, a zip or tar archive"),
    ("prepare a_folder --root new", 1, "there is no photograph in it"),
    ("prepare --check none", 1, "none: there is no train or validation or test folder in it"),
    (
        f"fit --root none {TINY}",
        1,
        "There is no folder none; make it with python -m catdog_pl prepare SOURCE --root none",
    ),
    (
        f"fit --root a_file {TINY}",
        1,
        "a_file is not a folder; give one that holds train, validation and test",
    ),
    (
        f"fit --root a_folder {TINY}",
        1,
        "a_folder has no folder train; make it with python -m catdog_pl prepare",
    ),
    ("fit --config none.yaml", 2, "File does not exist"),
    ("fit --config a_folder", 2, "Path is not a file"),
    ("fit --ckpt_path none.ckpt", 1, "give a path, best or last"),
    ("fit --ckpt_path a_file", 1, "is not a checkpoint"),
    ("fit --model vgg16 --weights none.h5", 1, "none.h5"),
    ("validate --root none", 1, "There is no folder none; make it with"),
    ("validate --ckpt_path a_folder", 1, "it is a folder; run fit first, or give the path of a file"),
    ("validate --model vgg16", 1, "run fit first, or give --ckpt_path PATH"),
    ("test --root none", 1, "There is no folder none; make it with"),
    ("test --ckpt_path a_folder", 1, "it is a folder; run fit first, or give the path of a file"),
    ("test --model vgg16", 1, "run fit first, or give --ckpt_path PATH"),
    ("predict none.jpg", 1, "there is no such file"),
    ("predict a_folder", 1, "there are no images in this folder"),
    ("predict a_file/x.jpg", 1, "Cannot find image from a_file/x.jpg (there is no such file)"),
    ("predict data --ckpt_path none.ckpt", 1, "give a path, best or last"),
    ("predict data --ckpt_path a_file", 1, "is not a checkpoint"),
    ("keras import none.h5", 1, "give a file saved by Keras, .keras or .h5"),
    ("keras import a_folder", 1, "it is a folder; give a file saved by Keras, .keras or .h5"),
    ("keras import a_file", 1, "give a file that Keras saved"),
    ("keras export none --output m.keras", 1, "give a path, best or last"),
    ("keras export a_file --output m.keras", 1, "is not a checkpoint"),
]


@pytest.mark.parametrize(("line", "code", "said"), MISSING)
def test_missing_files_and_folders(line: str, code: int, said: str, run: Run, capsys: Capture) -> None:
    assert said in refused(line, code, run, capsys)


@pytest.mark.parametrize("command", ["validate", "test", "predict data", "keras export best --output m.h5"])
def test_nothing_was_trained_yet(command: str, run: Run, capsys: Capture) -> None:
    Path("checkpoints").rename("elsewhere")
    assert "run fit first" in refused(command, 1, run, capsys)


# Places that cannot be written to, whoever asks: what stands there is of another kind.

BLOCKED = [
    (
        "prepare data/train --root a_file",
        "a_file",
        "look at its folder, its rights and the free disk, or give another --root",
    ),
    ("prepare data/train --root a_file/x", "a_file", "give another --root"),
    ("prepare data/train --root /proc/none", "/proc", "give another --root"),
    (f"fit {TINY} --trainer.default_root_dir a_file", "a_file", "look at its folder, its rights"),
    (f"fit {TINY} --checkpoint.dirpath a_file", "a_file", "look at its folder, its rights"),
    ("predict data/test/cat --output data", "data holds other files", "give a new or empty folder"),
    ("predict data/test/cat --output a_file/", "a_file/_about.json cannot be written", "another place"),
    ("predict data/test/cat --output a_file/x", "a_file/x cannot be written", "give another --output"),
    ("predict data/test/cat --output none/x", "none/x cannot be written", "give another --output"),
    ("keras import model.keras --output a_folder", "a_folder exists already", "another --output"),
    ("keras import model.keras --output a_folder --overwrite", "a_folder cannot be written", ""),
    ("keras import model.keras --output a_file/x.ckpt", "a_file/x.ckpt cannot be written", ""),
    ("keras export best --output a_file/x.keras", "a_file/x.keras cannot be written", ""),
    ("keras export best --output a_folder", "a_folder exists already", "another --output"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="errors of Windows have other words")
@pytest.mark.parametrize(("line", "place", "advice"), BLOCKED)
def test_places_that_cannot_be_written(line: str, place: str, advice: str, run: Run, capsys: Capture) -> None:
    usage = "holds other files" in place
    said = refused(line, 2 if usage else 1, run, capsys)
    assert place in said
    assert advice in said


def folder_at(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


IN_THE_WAY = [
    ("fit --ckpt_path last --max_epochs 2", RUN / "metrics.csv", "metrics.csv"),
    ("fit --ckpt_path last --max_epochs 2", RUN / "best.ckpt", "best.ckpt"),
    ("test", RUN / "test.csv", "the figures above are complete"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "path", "said"), IN_THE_WAY)
def test_a_folder_in_a_files_place(line: str, path: Path, said: str, run: Run, capsys: Capture) -> None:
    folder_at(path)
    message = refused(f"{line} --batch_size 4 --accelerator cpu", 1, run, capsys)
    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("line", [f"fit {TINY}", "keras import model.keras"])
def test_a_file_in_the_place_of_checkpoints(line: str, run: Run, capsys: Capture) -> None:
    Path("checkpoints").rename("elsewhere")
    Path("checkpoints").touch()
    assert "checkpoints" in refused(line, 1, run, capsys)


def test_a_file_in_the_place_of_data(run: Run, capsys: Capture) -> None:
    Path("data").unlink()
    Path("data").touch()
    for line in ("fit", "validate", "test"):
        assert "data is not a folder; give one that holds train" in refused(line, 1, run, capsys)
    assert "data/x.jpg (there is no such file)" in refused("predict data/x.jpg", 1, run, capsys)
    assert "give another --root" in refused("prepare sample", 1, run, capsys)


# Folders without rights. Who may do everything, such as root in a container, sees these skipped.


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(0o700)


CLOSED = [
    ("prepare closed/data --root new", "", 1),
    ("prepare data/train --root closed", "closed", 1),
    ("fit --root closed/data", "closed/data", 1),
    (f"fit {TINY} --trainer.default_root_dir closed", "closed", 1),
    ("validate --ckpt_path closed/best.ckpt", "closed/best.ckpt", 1),
    ("test --ckpt_path closed/best.ckpt", "closed/best.ckpt", 1),
    ("predict closed/x.png", "closed/x.png", 1),
    ("predict closed", "closed", 1),
    ("predict data/test/cat --output closed/x.csv", "closed/x.csv", 1),
    ("keras import closed/model.keras", "closed/model.keras", 1),
    ("keras import model.keras --output closed/x.ckpt", "closed/x.ckpt", 1),
    ("keras export best --output closed/x.h5", "closed/x.h5", 1),
    ("keras export closed/best.ckpt --output x.h5", "closed/best.ckpt", 1),
]


@pytest.mark.parametrize(("line", "place", "code"), CLOSED)
def test_a_folder_without_rights(line: str, place: str, code: int, run: Run, capsys: Capture) -> None:
    folder = Path("closed")
    folder.mkdir()
    with mode(folder, 0):
        if os.access(folder, os.R_OK | os.W_OK):
            pytest.skip("this user may do everything")
        assert place in refused(line, code, run, capsys)


# A full disk.


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a full disk would not."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


IN_MEMORY = "--data.cache_dir none"  # else a warning says first that decoded photographs are not kept

FULL = [
    ("prepare data/train --root new --sizes 1 1 1", 0, "new"),
    ("prepare data/train --root new --sizes 1 1 1", 3000, "give another --root"),
    (f"fit {TINY} {IN_MEMORY}", 0, "config.yaml cannot be written (File too large)"),
    (f"fit {TINY} {IN_MEMORY}", 10_000, "best.ckpt cannot be written"),
    (f"fit --ckpt_path last --max_epochs 2 {IN_MEMORY}", 0, f"{RUN / 'config-2.yaml'} cannot be written"),
    (f"test {IN_MEMORY}", 0, "test.csv cannot be written"),
    ("predict data/test --output x.csv --format csv", 0, "x.csv cannot be written (File too large)"),
    ("predict data/test --output x.csv --format csv", 100, "x.csv cannot be written (File too large)"),
    ("keras import model.keras", 1000, "best.ckpt cannot be written"),
    ("keras export best --output x.keras", 1000, "x.keras cannot be written"),
    ("keras export best --output x.h5", 1000, "x.h5 cannot be written"),
    ("keras export best --output x.weights.h5", 1000, "x.weights.h5 cannot be written"),
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on file sizes that can be lifted again")
@pytest.mark.parametrize(("line", "size", "said"), FULL)
def test_a_full_disk(line: str, size: int, said: str, run: Run, capsys: Capture) -> None:
    with largest_file(size):
        assert said in refused(line, 1, run, capsys)
    assert not list(Path().glob("x.*.*")), "a half-written file was left"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize(
    "line", ["summary", "--help", "--version", "predict data/test/cat", "validate --accelerator cpu"]
)
def test_output_to_a_full_disk(line: str, run: Run, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = os.dup(1)
    try:
        with open("/dev/full", "w", encoding="utf-8") as full:
            os.dup2(full.fileno(), 1)
        with open(1, "w", encoding="utf-8", closefd=False) as out:
            monkeypatch.setattr(sys, "stdout", out)
            assert run(line) == 1
    finally:
        monkeypatch.undo()
        os.dup2(saved, 1)
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "No space left on device" in err


# No GPU.


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict data/test/cat"])
def test_no_gpu(command: str, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (torch.cuda, torch.backends.mps, torch.accelerator):
        monkeypatch.setattr(module, "is_available", lambda: False)
    assert "no GPU on this machine; use cpu or auto" in refused(
        f"{command} --accelerator gpu", 2, run, capsys
    )


# URLs where files belong, and the secrets in them.

URL = "http://me:sesame@127.0.0.1:9/x.keras?token=sesame"


@pytest.mark.parametrize(
    "line",
    [
        "prepare ftp://me:sesame@host/x.zip?token=sesame",
        "prepare data/train --root URL",
        "fit --ckpt_path URL",
        "fit --root URL",
        "fit --config URL",
        "fit --root data --trainer.default_root_dir URL",
        "fit --root data --checkpoint.dirpath URL",
        "fit --model vgg16 --weights URL",
        "validate --ckpt_path URL",
        "test --ckpt_path URL",
        "predict URL",
        "predict data --ckpt_path URL",
        "predict data/test/cat --output URL",
        "keras import URL",
        "keras export URL --output x.keras",
        "keras export best --output URL.keras",
        "summary --model URL",
        "summary URL",
        "URL",
    ],
)
def test_urls_are_refused_without_their_secrets(line: str, run: Run, capsys: Capture) -> None:
    run(line.replace("URL", URL))
    out, err = capsys.readouterr()
    assert (out + err).count("[ERROR]") == 1
    assert "sesame" not in out + err
    saved = [path for path in Path().rglob("*") if path.is_file() and b"sesame" in path.read_bytes()]
    assert not saved


# Rights of what is written.


def written(run: Run) -> Iterator[Path]:
    """Whatever the commands write."""
    for line in (
        f"fit {TINY}",
        "test --accelerator cpu",
        "predict data/test/cat --output answers.csv --format csv",
        "prepare data/train --root new --sizes 1 1 1",
        "keras import model.keras",
        "keras import model.keras --output imported.ckpt",
        "keras export best --output exported.keras",
        "keras export best --output exported.h5",
        "keras export best --output exported.weights.h5",
    ):
        before = set(Path().rglob("*"))
        assert run(line) == 0, line
        yield from set(Path().rglob("*")) - before


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a umask is POSIX's")
@pytest.mark.parametrize("umask", [0o027, 0o002])
def test_files_are_written_with_the_users_umask(umask: int, run: Run) -> None:
    saved = os.umask(umask)
    try:
        files = list(written(run))
    finally:
        os.umask(saved)
    rights: Callable[[Path], int] = lambda path: path.stat().st_mode & 0o777  # noqa: E731
    wrong = {str(path): oct(rights(path)) for path in files if rights(path) != expected(path, umask)}
    assert not wrong
    names = {path.name for path in files}
    assert names >= {
        "best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "test.csv", "answers.csv", "manifest.csv",
        "report.md", "contact_sheet.png", "prepare.json", "imported.ckpt", "exported.keras",
    }  # fmt: skip


def expected(path: Path, umask: int) -> int:
    """The rights that a file or folder should have: all that the umask leaves."""
    return (0o777 if path.is_dir() else 0o666) & ~umask
