import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.prepare.manifest import COLUMNS
from catdog_pl.models.checkpoint import load_checkpoint
from catdog_pl.report import metrics
from catdog_pl.report.answers import answer_split
from catdog_pl.report.page import Page, Section, Text
from tests.conftest import COUNTS, Run, draw_layout

Capture = pytest.CaptureFixture[str]

TITLES = [
    "How it learned", "What it answers", "How sure it is", "Most certain mistakes", "Least certain answers",
    "Likely label errors", "The same photograph in two splits", "What the data look like", "How it was made",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page in a second."""
    monkeypatch.setattr(metrics, "RESAMPLES", 20)


@pytest.fixture(scope="module")
def ready(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was trained for two epochs, to be copied."""
    from catdog_pl.__main__ import main

    folder = tmp_path_factory.mktemp("ready")
    words = "fit --max_epochs 2 --image_size 32 --batch_size 4 --trainer.default_root_dir"
    assert main([*words.split(), str(folder), "--root", str(photos)]) == 0
    (run,) = folder.glob("basic/*")
    return run


@pytest.fixture
def trained(ready: Path) -> Path:
    """The folder of the run, in the current folder."""
    return Path(shutil.copytree(ready, "checkpoints/basic/1"))


def text_of(page: Path) -> str:
    """What a page says, without its pictures and marks."""
    html = re.sub(r"<(style|svg).*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page.read_text(encoding="utf-8"))


def test_the_page_opens_with_the_answer_and_has_every_section(
    trained: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    capsys.readouterr()
    assert run("report") == 0
    out, err = capsys.readouterr()
    assert err == ""
    page = trained / "report.html"
    answers = answer_split(load_checkpoint(trained / "best.ckpt"), CachedImageFolder(photos / "test", 32))
    assert out.startswith(f"{answers.right} of 6 right (")
    assert out.endswith(f"Report on basic, 1: {page}\n")
    assert out.splitlines()[0] in text_of(page)
    assert headings(page) == TITLES
    assert "Left out" not in text_of(page)
    assert f"train {COUNTS['train']} {COUNTS['train']} {2 * COUNTS['train']}" in text_of(page)
    assert "catdog_pl fit --config checkpoints/basic/1/config.yaml" in text_of(page)
    assert "So few photographs show little" in text_of(page)
    files = {path.name for path in (trained / "report").iterdir()}
    assert {"curves.png", "ranking.png", "probabilities.png", "reliability.png", "augmentation.jpg"} <= files
    for path in (trained / "report").iterdir():
        Image.open(path).verify()


def test_the_page_needs_nothing_from_elsewhere(trained: Path, run: Run) -> None:
    assert run("report") == 0
    html = (trained / "report.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s)>]+)""", html)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in html


def test_test_writes_the_same_page(trained: Path, run: Run, capsys: Capture) -> None:
    assert run("report") == 0
    first = text_of(trained / "report.html")
    capsys.readouterr()
    assert run("test --report") == 0
    assert capsys.readouterr().out.endswith(f"Report on basic, 1: {trained / 'report.html'}\n")
    assert text_of(trained / "report.html") == first


def test_without_photographs_the_answers_are_those_of_the_last_test(
    trained: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    moved = Path(shutil.copytree(photos, "data"))
    assert run("test --root data") == 0
    moved.rename("away")
    capsys.readouterr()
    assert run("report --root data") == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert lines[0].startswith("[WARNING]  There is no folder data; make it with ")
    assert f"The answers are those in {trained / 'test.csv'}, and there are no pictures" in err
    assert all(line.startswith("[WARNING]") for line in lines)
    assert " of 6 right (" in out
    text = text_of(trained / "report.html")
    assert "How sure it is" in headings(trained / "report.html")
    assert "Left out: There is no folder data" in text


def test_without_metrics_and_answers_the_rest_of_the_page_is_made(
    trained: Path, run: Run, capsys: Capture
) -> None:
    (trained / "metrics.csv").unlink()
    capsys.readouterr()
    assert run("report --root nowhere") == 0
    out, err = capsys.readouterr()
    assert out.startswith("Not tested: no answers to test photographs are known\n")
    assert f"How it learned: {trained / 'metrics.csv'} cannot be read (" in err
    assert headings(trained / "report.html")[-1] == "How it was made"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "is not as fit writes it"),
        ("", "cannot be read (No columns to parse from file)"),
        ("epoch,train_loss\nfirst,0.5\n", "is not as fit writes it"),
        ("\x00\x01\x02", "is not as fit writes it"),
    ],
)
def test_a_foreign_metrics_csv_costs_the_curves_alone(
    content: str, message: str, trained: Path, run: Run, capsys: Capture
) -> None:
    (trained / "metrics.csv").write_text(content, encoding="utf-8")
    capsys.readouterr()
    assert run("report") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"[WARNING]  How it learned: {trained / 'metrics.csv'} {message}")
    assert headings(trained / "report.html") == TITLES


@pytest.mark.parametrize(
    "content",
    [
        "file,probability\na.jpg,0.5\n",
        "file,probability,predicted,true,logit\na.jpg,0.5,owl,owl,0.1\n",
        "file,probability,predicted,true,logit\na.jpg,0.5,cat,dog,much\n",
        "file,probability,predicted,true,logit\n",
        "\x00",
    ],
)
def test_a_foreign_test_csv_is_named(content: str, trained: Path, run: Run, capsys: Capture) -> None:
    (trained / "test.csv").write_text(content, encoding="utf-8")
    capsys.readouterr()
    assert run("report --root nowhere") == 0
    out, err = capsys.readouterr()
    assert out.startswith("Not tested")
    assert f"{trained / 'test.csv'} " in err
    assert err.count("write it anew with the command test") == 1


def test_photographs_of_one_class_alone_have_no_curve(trained: Path, photos: Path, run: Run) -> None:
    assert run("test", "--root", photos) == 0
    table = pd.read_csv(trained / "test.csv")
    table[table["true"] == "cat"].to_csv(trained / "test.csv", index=False)
    assert run("report --root nowhere") == 0
    assert "All photographs are of cat: there is no ROC curve" in text_of(trained / "report.html")


def test_photographs_of_other_classes_are_refused(trained: Path, run: Run, capsys: Capture) -> None:
    draw_layout(Path("other"), {"train": 2, "validation": 2, "test": 2})
    for split in ("train", "validation", "test"):
        Path(f"other/{split}/dog").rename(f"other/{split}/owl")
    capsys.readouterr()
    assert run("report --root other") == 0
    assert "has the classes cat, owl, the model has cat, dog; give the photographs" in capsys.readouterr().err


def test_names_of_files_and_classes_are_text_on_the_page(run: Run) -> None:
    page = Page("<b>t</b>", "<script>alert(1)</script>", [Section("<i>", [Text("<img src=x>")])])
    html = page.html()
    assert "<script>" not in html
    assert "&lt;img src=x&gt;" in html


def test_two_runs_are_compared(trained: Path, run: Run, capsys: Capture) -> None:
    shutil.copytree(trained, "checkpoints/basic/2")
    capsys.readouterr()
    assert run("report checkpoints/basic/1 checkpoints/basic/2/last.ckpt") == 0
    out = capsys.readouterr().out
    page = trained / "comparison.html"
    assert out.endswith(f"Comparison of 2 models: {page}\n")
    assert headings(page) == ["Which is better", "How they learned"]
    assert re.search(r"2: basic, 2 6 \d \d \d", text_of(page))
    assert {path.name for path in (trained / "comparison").iterdir()} == {"accuracies.png", "curves.png"}


def test_the_best_of_a_comparison_and_its_test_are_right(trained: Path, photos: Path, run: Run) -> None:
    """One model is always right, one always says cat: 3 photographs are told by the first alone."""
    checkpoint = torch.load(trained / "best.ckpt", weights_only=True)
    for name in ("always", "never"):
        folder = Path(f"checkpoints/basic/{name}")
        folder.mkdir()
        torch.save(checkpoint, folder / "best.ckpt")
        shutil.copy(trained / "metrics.csv", folder)
        rows = [
            (f"{c}/{i}.jpg", 0.0, c if name == "always" else "cat", c, -3.0)
            for c in ("cat", "dog")
            for i in range(3)
        ]
        pd.DataFrame(rows, columns=["file", "probability", "predicted", "true", "logit"]).to_csv(
            folder / "test.csv", index=False
        )
    assert run("report checkpoints/basic/never checkpoints/basic/always --root nowhere") == 0
    text = text_of(Path("checkpoints/basic/never/comparison.html"))
    assert "2: basic, always: 6 of 6 right (100.0 %" in text
    assert "2: basic, always 6 0 3 0.25" in text  # p = 2 * (1/2)^3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nothing", "Checkpoint nothing: there is no such file"),
        ("empty", "empty holds no best.ckpt; give the folder of a run, or a checkpoint"),
        (
            "empty empty --save_temperature",
            "--relabel and --save_temperature are about one model; give one RUN",
        ),
        ("--accelerator tpu", "--accelerator tpu: valid is auto, cpu, gpu, cuda or mps"),
        ("--relabel there.csv", "there.csv exists already"),
        ("--augmentation --wrong 3", "--wrong is no option"),
    ],
)
def test_bad_input_is_one_line(words: str, message: str, trained: Path, run: Run, capsys: Capture) -> None:
    Path("empty").mkdir()
    Path("there.csv").touch()
    capsys.readouterr()
    assert run("report", *words.split()) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"[ERROR]    {message}")


def test_a_page_that_cannot_be_written_is_one_line(trained: Path, run: Run, capsys: Capture) -> None:
    (trained / "report").write_text("a file", encoding="utf-8")
    capsys.readouterr()
    assert run("report") == 1
    assert f"{trained / 'report' / 'curves.png'} cannot be written (" in capsys.readouterr().err


def test_the_temperature_of_validation_is_kept_and_used(
    trained: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    before = load_checkpoint(trained / "best.ckpt")
    capsys.readouterr()
    assert run("report --save_temperature") == 0
    assert re.search(r"^Temperature [\d.]+ kept in ", capsys.readouterr().out, re.MULTILINE)
    after = load_checkpoint(trained / "best.ckpt")
    assert after.temperature
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert run("predict --calibrated --format csv", photos / "test") == 0


def test_likely_label_errors_go_into_a_file_that_prepare_takes(
    photos: Path, run: Run, capsys: Capture
) -> None:
    shutil.copytree(photos, "data")
    assert run("fit --max_epochs 15 --patience 15 --image_size 32 --batch_size 4 --augment none") == 0
    wrong = Path("data/test/dog/cat.0.jpg")
    Path("data/test/cat/cat.0.jpg").rename(wrong)
    capsys.readouterr()
    assert run("report --relabel mistakes.csv") == 0
    assert "1 likely label errors written to mistakes.csv" in capsys.readouterr().out
    (row,) = pd.read_csv("mistakes.csv").itertuples()
    assert (row.file, row._3, row.suggestion) == ("test/dog/cat.0.jpg", "dog", "cat")
    table = pd.read_csv("mistakes.csv")
    table.assign(change=table["suggestion"]).to_csv("mistakes.csv", index=False)
    assert run("prepare data --root data2 --min_side 8 --relabel mistakes.csv") == 0
    same = [path for path in Path("data2").glob("*/*/*") if path.read_bytes() == wrong.read_bytes()]
    assert [path.parent.name for path in same] == ["cat"]


@pytest.mark.parametrize("options", ["", "--augment strong", "--augment none", "--image_size 40"])
def test_augmentation_is_shown_before_a_fit(options: str, photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"report --augmentation {options}", "--root", photos) == 0
    out = capsys.readouterr().out
    size = 40 if "40" in options else 150
    picture = Image.open("augmentation.jpg")
    rows, columns = (1, 6) if "none" in options else (6, 6)
    assert picture.size == (columns * (size + 4) - 4, rows * (size + 4) - 4)
    kind = "strong" if "strong" in options else "keras"
    assert out.endswith(
        "Training photographs; none is augmented: augmentation.jpg\n" if "none" in options else
        f"Training photographs, left, and the same ones augmented by {kind} in 5 epochs: augmentation.jpg\n"
    )  # fmt: skip
    assert not list(Path("checkpoints").glob("*/*"))  # nothing was trained


def test_a_fit_that_plots_keeps_its_curves(photos: Path, run: Run) -> None:
    assert run("fit --plot --max_epochs 1 --image_size 32 --batch_size 4", "--root", photos) == 0
    (file,) = Path("checkpoints").glob("basic/*/curves.png")
    Image.open(file).verify()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.csv", "epoch,train_loss,val_loss\n1,0.5,0.6\n", ""),  # without the checkpoint's epoch
        ("metrics.csv", "epoch,train_loss\ninf,0.5\n", "is not as fit writes it"),
        (
            "manifest.csv",
            ",".join(COLUMNS) + "\n" + "a," * 2 + "train,cat,0,1,wide,high,RGB,ok,\n",
            "has a size",
        ),
        ("config.yaml", "data:\n  root: data\n  zoom: abc\n", "The run's configuration is not valid ("),
    ],
)
def test_an_edited_file_costs_its_section_alone(
    file: str, content: str, message: str, trained: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    shutil.copytree(photos, "data")
    (Path("data") if file == "manifest.csv" else trained).joinpath(file).write_text(content, encoding="utf-8")
    if file == "metrics.csv":  # of an epoch that the file lacks
        contents = torch.load(trained / "best.ckpt", weights_only=True)
        torch.save(contents | {"epoch": 6}, trained / "best.ckpt")
    capsys.readouterr()
    assert run("report --root data") == 0
    err = capsys.readouterr().err
    assert err.count("\n") == bool(message)
    assert message in err
    assert headings(trained / "report.html") == TITLES


def test_classes_of_any_name_are_shown_as_they_are(photos: Path, run: Run) -> None:
    for split in COUNTS:
        for old, new in (("cat", "$x$y"), ("dog", "_threshold")):
            shutil.copytree(photos / split / old, Path("data", split, new))
    assert run("fit --max_epochs 1 --image_size 32 --batch_size 4") == 0
    assert run("report") == 0
    (page,) = Path("checkpoints").glob("basic/*/report.html")
    assert headings(page) == TITLES
    assert "recall, $x$y" in page.read_text(encoding="utf-8")
    assert "recall, _threshold" in page.read_text(encoding="utf-8")


def test_a_photograph_in_two_splits_is_shown_whatever_prepare_has_noted(
    trained: Path, photos: Path, run: Run
) -> None:
    assert run("prepare --root data --min_side 8", photos) == 0
    (tested, *_), (seen, *_) = (sorted(Path("data", split, "cat").iterdir()) for split in ("test", "train"))
    shutil.copy(seen, tested)  # the counts stay those that prepare has noted
    assert run("report --root data") == 0
    text = text_of(trained / "report.html")
    assert "lie in more than one split: 1." in text
    assert f"train/cat/{seen.name} test/cat/{tested.name}" in text
