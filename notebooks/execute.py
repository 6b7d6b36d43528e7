"""Run the notebooks on the built-in sample, and keep their outputs in the .ipynb files.

pip install -e ".[test]"
python notebooks/execute.py

The Markdown half of a pair is edited; the other half, with the outputs, is written from it here.
"""

import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook with its outputs, after all its cells ran in this folder.

    What the bars drew is left out: without a running kernel they are empty.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook: NotebookNode = jupytext.read(path)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=1200, resources=place, record_timing=False, coalesce_streams=True
    ).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # not by chance, so that a second run changes nothing
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    notebook.metadata.pop("widgets", None)
    return notebook


def main() -> None:
    """Write the notebooks that are named, or all."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.md"))
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            jupytext.write(execute(path, Path(folder)), path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
