"""The README's commands run, and say what the README says they do."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAIN_JOB, TEST_COMMAND = re.findall(r"```bash\n(.*?)\n```", README)[:2]
TYPED = [line.removeprefix("$ ") for line in re.findall(r"^\$ python -m catdog_pl .*$", README, re.MULTILINE)]
Capture = pytest.CaptureFixture[str]


@pytest.mark.timeout(1200)  # a minute on an idle machine
def test_the_main_job_runs_on_the_sample_and_learns(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    install, *commands = MAIN_JOB.split(" && ")
    assert install == "pip install ."
    out = ""
    for command in commands:
        words = [sys.executable, *shlex.split(command)[1:]]
        answer = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, f"{command}\n{answer.stdout}\n{answer.stderr}"
        assert answer.stderr == "", f"{command} complains"
        out += answer.stdout
    accuracy = re.search(r"Accuracy: ([\d.]+)", out)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.9
    assert "Class: dog" in out


def test_ci_runs_the_readmes_test_command() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    searched = re.search(r"grep -m1 -F '(.*)' README.md", script)
    assert searched is not None
    assert next(line for line in README.splitlines() if searched[1] in line) == TEST_COMMAND


@pytest.mark.parametrize("line", TYPED)
def test_every_typed_command_has_the_options_it_is_given(line: str, run: Run, capsys: Capture) -> None:
    command, *words = shlex.split(line)[3:]
    if command == "fit":
        # A configuration that is printed has been parsed; nothing is trained. Checkpoints are another test's.
        words = [str(REPOSITORY / word) if word.startswith("configs/") else word for word in words]
        with pytest.raises(SystemExit) as end:
            run("fit", *words, "--print_config")
    else:
        with pytest.raises(SystemExit) as end:
            run(command, *words, "--help")
        known = capsys.readouterr().out
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= set(
            re.findall(r"--\w[\w.-]*", known)
        )
    assert end.value.code == 0


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) < 200


def test_every_file_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"(?:configs|benchmarks|catdog_pl|tests)/[\w./]+\w", README):
        assert (REPOSITORY / name).exists(), name
