"""The README's commands run, and print what the README says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import COUNTS

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAIN_JOB, TEST_COMMAND = re.findall(r"```bash\n(.*?)\n```", README)[:2]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a minute on an idle machine
def test_the_main_job_runs_on_the_sample_and_learns(tmp_path: Path) -> None:
    install, *commands = MAIN_JOB.split(" && ")
    assert install == "pip install ."
    out = ""
    for command in commands:
        words = [sys.executable, *shlex.split(command)[1:]]
        answer = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, f"{command}\n{answer.stdout}\n{answer.stderr}"
        told = r"\[INFO\]     Configuration: .*sample\.yaml\n" if "--config sample" in command else ""
        assert re.fullmatch(told, answer.stderr), f"{command} complains: {answer.stderr}"
        out += answer.stdout
    accuracy = re.search(r"Accuracy: ([\d.]+)", out)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.9
    assert "Class: dog" in out


@pytest.mark.slow
def test_the_example_in_python_runs(
    photos: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "data").symlink_to(photos)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    answers = re.findall(r"^data/test/dog/dog\.\d\.jpg (?:cat|dog) [\d.e-]+$", capsys.readouterr().out, re.M)
    assert len(answers) == COUNTS["test"]


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    assert TEST_COMMAND == 'pip install -e ".[test]" && python -m pytest'
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    searched = re.search(r"grep -m1 -F '(.*)' README.md", script)
    assert searched is not None
    assert next(line for line in README.splitlines() if searched[1] in line) == TEST_COMMAND


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_picture_is_small() -> None:
    (picture,) = re.findall(r"!\[.*\]\((docs/images/.*\.png)\)", README)
    assert (REPOSITORY / picture).stat().st_size < 200_000
