"""The rooms' imports run one way, and commands start without what they do not need."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import catdog_pl

PACKAGE = Path(catdog_pl.__file__).parent

MAY_IMPORT = {
    "errors": set[str](),
    "complete_file": set[str](),
    "data": {"errors"},
    "models": {"errors", "complete_file"},
    "runs": {"errors"},
    "process": set[str](),
    "arguments": {"errors"},
    "training": {"errors", "complete_file"},
    "reports": {"errors", "complete_file", "data", "models"},
    "keras": {"errors", "complete_file", "models", "runs"},
    "predict": {"errors", "data", "models", "process", "runs"},
    "refusals": {"errors", "models", "training"},
    "cli": {"errors", "data", "models", "runs", "process", "arguments", "training", "reports", "refusals"},
    "__main__": {"errors", "process"},
}
"""Room -> the rooms it may import besides itself; everything may import the version."""


def room_of(module: str) -> str:
    """``catdog_pl.data.images`` -> ``data``; the package itself, which holds the version, is no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported_rooms(source: str) -> set[str]:
    """The rooms that a module's source imports, at any depth of the code."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "catdog_pl":
            modules += [f"catdog_pl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return {room_of(name) for name in modules if name.split(".")[0] == "catdog_pl"} - {"", "__version__"}


def rooms() -> list[tuple[str, Path]]:
    files = sorted(PACKAGE.rglob("*.py"))
    named = [(file.relative_to(PACKAGE).with_suffix("").parts[0], file) for file in files]
    return [(room, file) for room, file in named if room != "__init__"]


def test_every_room_is_in_the_table() -> None:
    assert {room for room, _ in rooms()} == set(MAY_IMPORT)


@pytest.mark.parametrize(("room", "file"), rooms(), ids=lambda value: getattr(value, "name", value))
def test_imports_run_one_way(room: str, file: Path) -> None:
    assert imported_rooms(file.read_text(encoding="utf-8")) - {room} <= MAY_IMPORT[room]


def test_the_check_itself_can_fail() -> None:
    source = "def f():\n    from catdog_pl.models.basic import Basic\nimport catdog_pl.cli"
    source += "\nfrom catdog_pl import runs"
    assert imported_rooms(source) == {"models", "cli", "runs"}


def test_the_table_has_no_circle() -> None:
    done: set[str] = set()
    while remaining := set(MAY_IMPORT) - done:
        free = {room for room in remaining if MAY_IMPORT[room] <= done}
        assert free, f"a circle among {remaining}"
        done |= free


LIGHT = ["--help", "--version", "prepare --help", "predict --help", "summary --help", "frobnicate", "predict"]


@pytest.mark.parametrize("words", LIGHT)
def test_help_and_wrong_words_answer_without_torch(words: str) -> None:
    program = (
        "import sys; from catdog_pl.__main__ import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'pandas', 'sklearn', 'keras'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", program, *words.split()], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise on Windows")
def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "catdog_pl", "summary"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


def test_names_that_the_terminal_cannot_show_are_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    program = "from catdog_pl.__main__ import main; main(['--version']); print('k\\xe4tzchen.jpg')"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[1] == "k\\xe4tzchen.jpg"
