"""Every page: its commands parse, its links and files exist, and what it says twice it says alike."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from catdog_pl import __version__
from catdog_pl.errors import UsageError
from tests.conftest import Run
from tests.test_imports import MAY_IMPORT

REPOSITORY = Path(__file__).parents[1]
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.md"))
PAGES = [*(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *DOCS, *NOTEBOOKS]
FENCE = re.compile(r"^```(\w*).*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"(?:catdog|python -m catdog_pl) (.*)")
LIGHTNING = ("fit", "validate", "test")


def typed(page: Path) -> Iterator[str]:
    """The commands that a page asks its reader to type."""
    for language, content in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "bash":
            yield from content.strip().split(" && ")
        elif language == "console":
            lines = content.replace("\\\n", " ").splitlines()  # a command may go on in the next line
            yield from (line[2:].split(" < ")[0] for line in lines if line.startswith("$ "))


COMMANDS = sorted({line for page in PAGES for line in typed(page)})
OURS = sorted({match[1] for line in COMMANDS if (match := PROGRAM.fullmatch(line))})


@pytest.mark.parametrize("line", OURS)
def test_every_command_parses(line: str, run: Run, own_folder: Path) -> None:
    command, *words = shlex.split(line)
    if "--help" in line:
        assert run(command, *words) == 0
    elif command in LIGHTNING or words[:1] == ["--augmentation"]:  # which takes the options of fit
        with pytest.raises(SystemExit) as end:  # a configuration that is printed has been parsed
            raise SystemExit(run(command, *words, "--print_config"))
        assert end.value.code == 0
    else:
        import_module(f"catdog_pl.commands.{command}").parser().parse_args(words)


@pytest.mark.parametrize(
    "line", ["fit --batchsize 3", "predict a.jpg --formt csv", "keras import", "nothing"]
)
def test_a_command_with_a_wrong_word_is_found(line: str, run: Run, own_folder: Path) -> None:
    with pytest.raises((UsageError, AssertionError, ModuleNotFoundError)):
        test_every_command_parses(line, run, own_folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_examples_in_python_import_is_there(page: Path) -> None:
    for language, content in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            for module, names in re.findall(r"^from (catdog_pl[\w.]*) import (.*)$", content, re.MULTILINE):
                assert set(names.split(", ")) <= set(dir(import_module(module)))


def test_every_benchmark_that_is_named_is_there() -> None:
    named = {name for line in COMMANDS for name in re.findall(r"python -m (benchmarks[\w.]+)", line)}
    assert len(named) >= 2
    for name in named:
        assert find_spec(name), name


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]*)\)", prose(page)):
        if "://" in link:
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/[\w./%~-]*)?", link), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`((?:configs|benchmarks|catdog_pl|tests|docs)/[\w./]*)`", prose(page))
    named += [word for line in typed(page) for word in line.split() if re.match(r"(tests|docs)/\w.*", word)]
    for name in named:
        assert (REPOSITORY / name).exists() or name.startswith("docs/_build"), name


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_says_what_it_is_for_shows_an_example_and_leads_on(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith("After this page ")
    assert "\n```" in "\n".join(text.splitlines()[:10])
    assert "\n## Where to go next\n" in text


def test_the_site_has_every_page() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    contents = index.rpartition(":hidden:")[2].split()
    notebooks = {f"notebooks/{page.stem}" for page in NOTEBOOKS}
    assert {*contents, "index", "```"} == {*(page.stem for page in DOCS), *notebooks, "```"}


def test_pre_commit_runs_what_ci_runs() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert hooks == re.findall(r"^(?:ruff|mypy).*$", script, re.MULTILINE)


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"\n## {__version__} - " in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_table_of_rooms_is_the_one_that_is_held() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| .* \| (.*) \|$", page, re.MULTILINE)
    table = {room: set(re.findall(r"`([\w.]+)`", uses)) for room, uses in rows}
    assert table.pop("commands") == {"__main__"}  # every room but this one
    assert table == {room: uses for room, uses in MAY_IMPORT.items() if room != "commands"}
