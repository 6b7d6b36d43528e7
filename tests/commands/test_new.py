"""``new``: a project that runs at once, and nothing that is there is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from catdog_pl.commands.new import FILES, TEMPLATES
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]


def test_every_template_is_written(run: Run, capsys: Capture) -> None:
    assert run("new my-project") == 0
    assert capsys.readouterr().out == (
        "Made my-project: README.md, config.yaml, train.py, data/README.md\n"
        "Next: cd my-project && python train.py\n"
    )
    written = {path.relative_to("my-project").as_posix() for path in Path("my-project").rglob("*.*")}
    templates = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.*")}
    assert written == set(FILES) == {name for name in templates if not name.endswith(".pyc")}
    assert len(Path("my-project/train.py").read_text(encoding="utf-8").splitlines()) <= 30


def test_an_empty_folder_will_do(run: Run, own_folder: Path) -> None:
    (own_folder / "empty").mkdir()
    assert run("new empty") == 0


@pytest.mark.parametrize("kind", ["full", "file"])
def test_what_holds_something_is_refused_and_kept(
    kind: str, run: Run, own_folder: Path, capsys: Capture
) -> None:
    (own_folder / "full").mkdir()
    for file in ("file", "full/train.py"):
        (own_folder / file).write_text("mine")
    assert run(f"new {kind}") == 1
    assert capsys.readouterr().err == (
        f"[ERROR]    {kind} exists already, and is no empty folder; give a new one\n"
    )
    assert (own_folder / "full" / "train.py").read_text() == (own_folder / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_line(run: Run, own_folder: Path, capsys: Capture) -> None:
    (own_folder / "file").write_text("mine")
    assert run("new file/project") == 1
    assert capsys.readouterr().err == (
        "[ERROR]    file/project/README.md cannot be written (Not a directory); "
        "make room, or choose another place\n"
    )


def test_the_configuration_serves_fit_as_well(run: Run) -> None:
    assert run("new .") == 0
    with pytest.raises(SystemExit) as end:
        raise SystemExit(run("fit --config config.yaml --print_config"))
    assert end.value.code == 0


@pytest.mark.slow
@pytest.mark.timeout(600)  # half a minute: drawing the sample, and one epoch
def test_the_project_runs_at_once_in_an_empty_folder(run: Run, own_folder: Path) -> None:
    assert run("new mine") == 0
    path = own_folder / "mine" / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["trainer"]["max_epochs"], config["data"]["image_size"] = 1, 32
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "train.py"],
        cwd=own_folder / "mine",
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert "Found 1200 photographs (600 cat, 600 dog), used 1200." in answer.stdout
    assert "Accuracy: " in answer.stdout
    assert answer.stdout.count("dog with a probability of ") == 3
    assert len(list((own_folder / "mine").glob("checkpoints/basic/*/best.ckpt"))) == 1
