"""The rooms' imports run one way, and commands start without what they do not need."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import catdog_pl
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import save_checkpoint

PACKAGE = Path(catdog_pl.__file__).parent

MAY_IMPORT = {
    "errors": set[str](),
    "process": set[str](),
    "arguments": {"errors", "process", "io"},
    "short_forms": {"errors", "process", "arguments"},
    "devices": {"errors"},
    "io": {"errors"},
    "data": {"errors", "process", "io"},
    "data.sample": {"errors", "io"},
    "data.prepare": {"errors", "process", "io", "data", "data.sample", "data.prepare.config"},
    "data.prepare.config": {"errors", "arguments"},
    "keras": {"errors", "io"},
    "models": {"errors", "process", "devices", "io", "keras"},
    "runs": {"errors", "process", "io"},
    "callbacks": {"errors", "process", "io", "models", "runs"},
    "failures": {"errors", "short_forms", "models", "runs"},
    "prediction": {"errors", "process", "devices", "io", "data", "models", "runs"},
    "report": {"errors", "process", "io", "data", "data.prepare", "models", "runs", "prediction"},
    "serve": {"errors", "io", "models", "prediction"},
    "export": {"errors", "io", "data", "keras", "models"},
    "cli": {
        "errors",
        "process",
        "short_forms",
        "devices",
        "io",
        "data",
        "models",
        "runs",
        "callbacks",
        "failures",
        "report",
    },
    "api": {
        "errors",
        "short_forms",
        "data",
        "data.prepare",
        "data.prepare.config",
        "models",
        "runs",
        "report",
        "cli",
    },
    "commands": set[str](),  # filled in below: all rooms but itself and __main__
    "__main__": {"errors", "process"},
}
"""Room -> the rooms it may import besides itself, from ``DESIGN``; everything may import the version.

A module belongs to the room with the longest name that is a prefix of its own.
"""
MAY_IMPORT["commands"] = set(MAY_IMPORT) - {"commands", "__main__"}


def room_of(module: str) -> str:
    """``data.prepare.photo`` -> ``data.prepare``; the package itself, which holds the version, is no room."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in MAY_IMPORT), names[-1])


def imported_rooms(source: str) -> set[str]:
    """The rooms that a module's source imports, at any depth of the code."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from catdog_pl.keras import hdf5`` imports a module, ``from catdog_pl.keras import X`` a name;
            # both lie in the room that the longer name finds.
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [name.removeprefix("catdog_pl.") for name in modules if name.startswith("catdog_pl.")]
    return {room_of(name) for name in ours} - {"__version__"}


def modules() -> list[tuple[str, Path]]:
    """The name of each module below the package, and its file; ``__init__`` counts as its folder."""
    files = sorted(file for file in PACKAGE.rglob("*.py") if file.parent.name != "templates")
    named = [(".".join(file.relative_to(PACKAGE).with_suffix("").parts), file) for file in files]
    return [(name.removesuffix(".__init__"), file) for name, file in named if name != "__init__"]


def test_every_module_has_a_room_and_every_room_a_module() -> None:
    assert {room_of(name) for name, _ in modules()} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("name", "file"), modules(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_run_one_way(name: str, file: Path) -> None:
    room = room_of(name)
    assert imported_rooms(file.read_text(encoding="utf-8")) - {room} <= MAY_IMPORT[room]


def test_the_check_itself_can_fail() -> None:
    source = "def f():\n    from catdog_pl.models.basic import Basic\nimport catdog_pl.cli"
    source += "\nfrom catdog_pl import runs\nfrom catdog_pl.data.prepare import config"
    source += "\nfrom catdog_pl import __version__"
    assert imported_rooms(source) == {"models", "cli", "runs", "data.prepare.config"}


def test_the_table_has_no_circle() -> None:
    table = {room: uses - {room} for room, uses in MAY_IMPORT.items()}
    done: set[str] = set()
    while remaining := set(table) - done:
        free = {room for room in remaining if table[room] <= done}
        assert free, f"a circle among {remaining}"
        done |= free


def imported_modules(source: str) -> set[str]:
    """The modules of the package that a module's source imports when it runs, whatever its depth."""
    names = {name for name, _ in modules()}
    tree = ast.parse(source)
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typing_only and node.module:
            module = node.module.removeprefix("catdog_pl").removeprefix(".")
            longer = {f"{module}.{alias.name}".removeprefix(".") for alias in node.names}
            found |= {name for name in {module, *longer} if name in names}
    return found


def test_no_module_imports_in_a_circle() -> None:
    table = {name: imported_modules(file.read_text(encoding="utf-8")) - {name} for name, file in modules()}
    done: set[str] = set()
    while remaining := set(table) - done:
        free = {name for name in remaining if table[name] <= done}
        assert free, f"a circle among {sorted(remaining)}"
        done |= free


LIGHT = [
    "--help",
    "--version",
    "prepare --help",
    "fit --help",
    "fit stray",
    "predict --help",
    "summary --help",
    "new --help",
    "frobnicate",
    "predict",
]


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


@pytest.mark.slow
@pytest.mark.parametrize("words", ["summary", "fit --print_config", "predict photo.jpg --ckpt_path a.ckpt"])
def test_only_the_report_loads_matplotlib_and_scipy(words: str, photos: Path) -> None:
    shutil.copy(photos / "test" / "cat" / "cat.0.jpg", "photo.jpg")
    save_checkpoint(Basic(image_size=32), Path("a.ckpt"))
    program = (
        "import sys; from catdog_pl.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert 'lightning' in sys.modules\n"
        "sys.exit(bool({'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program, *words.split()], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise on Windows")
@pytest.mark.parametrize("word", ["summary", "--help", "--version"])
def test_a_reader_that_has_enough_gets_no_traceback(word: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "catdog_pl", word],  # unbuffered: it is the printing that fails
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
