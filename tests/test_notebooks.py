"""The notebooks run on the sample and show what they say; a kernel survives what people do in it."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbformat import NotebookNode

from notebooks.execute import WIDGET, execute

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = ("from_keras", "workshop")


def test_these_are_all() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".md", ".ipynb")) == [
        f"{name}{ending}" for name in NAMES for ending in (".ipynb", ".md")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_both_halves_of_a_pair_say_the_same(name: str) -> None:
    halves = [jupytext.read(FOLDER / f"{name}{ending}") for ending in (".md", ".ipynb")]
    edited, stored = ([(cell.cell_type, cell.source) for cell in half.cells] for half in halves)
    assert edited == stored, "run notebooks/execute.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_outputs_are_whole_small_and_of_no_machine(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert WIDGET not in text
    assert not re.search(r"/(home|root|tmp|Users)/", text)
    cells = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


def test_the_tasks_have_the_workshops_numbers_and_every_exercise_a_hidden_solution() -> None:
    text = (FOLDER / "workshop.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (Task \d+):", text, re.MULTILINE) == [f"Task {i}" for i in range(11)]
    exercises = len(re.findall(r"^\*\*Exercise \d+\.\*\*", text, re.MULTILINE))
    assert exercises == text.count("<details><summary>Solution</summary>") == text.count("</details>") == 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookNode]:
    """Both notebooks after they ran, in one folder, so that the sample is drawn once."""
    folder = tmp_path_factory.mktemp("class")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TORCH_HOME", str(folder))  # or else what it decodes goes into the user's cache
        return {name: execute(FOLDER / f"{name}.md", folder) for name in reversed(NAMES)}


def printed(notebook: NotebookNode, stream: str = "stdout") -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == stream)


def data(notebook: NotebookNode, kind: str) -> list[str]:
    """What the notebook shows in a MIME type."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two minutes on an idle machine
def test_the_workshop_learns_and_shows_what_it_says(run: dict[str, NotebookNode]) -> None:
    notebook = run["workshop"]
    out = printed(notebook)
    assert printed(notebook, "stderr") == ""
    assert "train             400     400" in out
    assert "Equal number for number: True" in out
    assert "Total params: 646,657" in out
    assert "Stopped after epoch 17; the best was epoch 15 with 0.4607" in out
    scratch, transfer = (float(word) for word in re.findall(r"^Accuracy: ([\d.]+) \(", out, re.MULTILINE))
    assert scratch >= 0.9
    assert 0.6 <= transfer < scratch  # random features; the text says to expect less
    assert "Moved: head.dense_1.weight, head.dense_1.bias" in out
    assert len(data(notebook, "image/png")) == 9
    tables = data(notebook, "text/html")
    assert sum(table.startswith("<table>") and table.count("<img") == 2 for table in tables) == 1
    answers = [table for table in tables if table.startswith("<figure")]
    assert len(answers) == 4
    assert all("<b>dog</b>" in answer and 'src="data:image/jpeg;base64,' in answer for answer in answers)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_differences_to_keras_are_those_that_are_told(run: dict[str, NotebookNode]) -> None:
    notebook = run["from_keras"]
    out = printed(notebook)
    assert "Weights of both: 646657 646657" in out
    for what in ("augmented pixels, of 255", "probabilities, ours", "50 probabilities", "way there and back"):
        (difference,) = re.findall(rf"{what}: +([\d.e+-]+)", out)
        assert float(difference) < 1e-2 if "pixels" in what else float(difference) < 1e-5
    (flattened,) = re.findall(r"with nn.Flatten: +([\d.e+-]+)", out)
    assert float(flattened) > 1e-3
    assert "Keras stops after epoch 17 and keeps it, with a loss of 0.4897" in out
    assert "Ours stops there, too, and tests epoch 15, with a loss of 0.4607" in out
    assert "Recognised: basic from a whole model (HDF5) of Keras 3" in out
    assert len(data(notebook, "image/png")) == 2


Kernel = tuple[KernelManager, BlockingKernelClient]


@pytest.fixture
def kernel(own_folder: Path) -> Iterator[Kernel]:
    """A real kernel, as JupyterLab starts one."""
    manager, client = start_new_kernel(env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def execute_cell(client: BlockingKernelClient, code: str) -> tuple[str, list[dict[str, Any]]]:
    """Run a cell; returns its status and what it put out."""
    outputs: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, timeout=120, output_hook=lambda message: outputs.append(message))
    return reply["content"]["status"], [
        output["content"] for output in outputs if output["msg_type"] != "status"
    ]


def text_of(outputs: list[dict[str, Any]]) -> str:
    return "".join(output.get("text", "") for output in outputs)


HALF_A_BAR = """
from unittest.mock import patch
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
bar = Tqdm.__new__(Tqdm)
with patch.object(Tqdm, "status_printer", side_effect=KeyboardInterrupt):
    try:
        bar.__init__(total=1)
    except KeyboardInterrupt:
        pass
"""
"""A bar that an interrupt kept from being whole; tqdm remembers it."""


@pytest.mark.slow
def test_an_interrupted_training_keeps_the_kernel_and_goes_on(kernel: Kernel, photos: Path) -> None:
    manager, client = kernel
    status, outputs = execute_cell(
        client,
        "from catdog_pl import Basic, CatDogDataModule, Run, fit, predict\n"
        f"data = CatDogDataModule({str(photos)!r}, image_size=32, batch_size=4)\n"
        "model = Basic(image_size=32, filters=(4, 4), dense_units=8)\n"
        "run = fit(model, data, max_epochs=2, patience=9, accelerator='cpu')\n"
        "run",
    )
    assert status == "ok", outputs
    shown = [output["data"] for output in outputs if "data" in output]
    assert any(WIDGET in each for each in shown)  # a bar of the notebook kind
    assert "image/png" in shown[-1]  # the curves
    assert text_of(outputs).count("\nEpoch ") == 2

    endless = "fit(model, data, max_epochs=10**6, patience=10**6, accelerator='cpu')"
    message = client.execute(endless, stop_on_error=False)  # a kernel refuses what comes right after an error
    while not (list(Path("checkpoints/basic").glob("*/last.ckpt")) and epochs() > 4):
        time.sleep(0.2)
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=60)
    assert reply["parent_header"]["msg_id"] == message
    assert reply["content"]["status"] == "error"
    (line,) = reply["content"]["traceback"]
    assert re.fullmatch(
        r"\[ERROR\]    stopped in epoch \d+; the epochs before are saved, resume with: python -m catdog_pl "
        r'fit --ckpt_path \S+last.ckpt, or here with: fit\(model, data, ckpt_path="last"\)',
        line,
    )

    done = epochs()
    status, outputs = execute_cell(
        client,
        f"{HALF_A_BAR}\n"
        f"run = fit(model, data, max_epochs={done + 1}, patience=9**9, ckpt_path='last', accelerator='cpu')\n"
        f"assert list(run.history['epoch']) == list(range(1, {done + 2}))\n"
        "next(predict(data.files('train')[0], model))",
    )
    assert status == "ok", [output for output in outputs if "ename" in output]
    (html,) = [output["data"]["text/html"] for output in outputs if output.get("data", {}).get("text/html")]
    assert html.startswith("<figure")
    assert "<img" in html
    assert manager.is_alive()


def epochs() -> int:
    """The epochs of the newest run so far."""
    newest = max(Path("checkpoints/basic").glob("*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    return len(newest.read_text(encoding="utf-8").splitlines()) - 1


@pytest.mark.slow
def test_an_error_of_ours_is_one_line_in_a_notebook_too(kernel: Kernel) -> None:
    _, client = kernel
    status, outputs = execute_cell(client, "from catdog_pl import prepare\nprepare('no-such-folder')")
    assert status == "error"
    assert len(outputs[-1]["traceback"]) == 1
    assert outputs[-1]["traceback"][0].startswith("[ERROR]    ")
