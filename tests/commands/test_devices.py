"""Several processes train one model, whoever starts them: Lightning, torchrun, SLURM or Kubernetes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest
import torch

from catdog_pl.devices import Launch, launched
from catdog_pl.models import load_checkpoint
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run, draw_layout

TINY = "--image_size 32 --accelerator cpu --model.filters [4,4] --model.dense_units 8 --model.dropout 0"
Capture = pytest.CaptureFixture[str]
Variables = dict[str, str]
TORCHRUN = "torch.distributed.run"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """14 photographs for training and 7 for validation, an odd number."""
    root = draw_layout(tmp_path / "data", {"train": 7, "validation": 4})
    (root / "validation" / "dog" / "dog.3.jpg").unlink()
    return root


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def start(stack: ExitStack, words: str, **variables: str) -> "subprocess.Popen[str]":
    """Start a program of Python's, which does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )

    def end() -> None:
        if process.poll() is None:
            kill(process)
        process.communicate()

    stack.callback(end)
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    """Kill a process and those that it has started, which torchrun puts into a session of their own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [*map(int, children), process.pid]:
        os.kill(pid, signal.SIGKILL)


def finished(processes: "list[subprocess.Popen[str]]") -> list[str]:
    """What processes print that end well."""
    answers = [process.communicate(timeout=120) for process in processes]
    for process, (_, error) in zip(processes, answers, strict=True):
        assert process.returncode == 0, error
    return [out for out, _ in answers]


def only_run(root: str) -> Path:
    """The folder of the only run in a root, beside which nothing lies."""
    (model,) = Path(root).iterdir()
    (run,) = model.iterdir()
    assert {path.name for path in run.iterdir()} == {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv"}
    return run


def same_training(one: Path, other: Path) -> None:
    """Two runs have the same metrics and weights but for rounding."""
    columns = ["train_loss", "train_acc", "val_loss", "val_acc"]
    before, after = (pd.read_csv(run / "metrics.csv")[columns] for run in (one, other))
    pd.testing.assert_frame_equal(before, after, rtol=1e-4)
    first, second = (torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (one, other))
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-3, atol=1e-5)


OF_TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "LOCAL_RANK": "0"}
OF_SRUN = {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}

LAUNCHES: dict[str, tuple[Variables, Launch | None]] = {
    "nobody": ({}, None),
    "Lightning itself": (
        {"MASTER_ADDR": "h", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "NODE_RANK": "0"},
        None,
    ),
    "torchrun with one process": (
        OF_TORCHRUN | {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
        None,
    ),
    "torchrun": (
        OF_TORCHRUN | {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "6", "LOCAL_RANK": "2"},
        Launch("torchrun", 2, 4, 6, 2),
    ),
    "a batch script of SLURM": ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, None),
    "srun": (
        OF_SRUN | {"SLURM_PROCID": "5", "SLURM_LOCALID": "1"},
        Launch("srun", 2, 4, 5, 1),
    ),
    "a PyTorchJob": (
        {"MASTER_ADDR": "h", "WORLD_SIZE": "3", "RANK": "2"},
        Launch("PyTorchJob", 3, 1, 2, 0),
    ),
    "somebody whose processes cannot train together": ({"WORLD_SIZE": "3", "RANK": "2"}, None),
}


@pytest.mark.parametrize("launcher", LAUNCHES)
def test_what_a_launcher_has_started(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, expected = LAUNCHES[launcher]
    monkeypatch.setattr(os, "environ", variables)
    assert launched() == expected


@pytest.mark.parametrize(
    ("variables", "words", "expected"),
    [
        (
            {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "RANK": "0"},
            "--devices 1 --trainer.num_nodes 3",
            "PyTorchJob has started 2 x 1 processes (nodes x those on each), but --trainer.num_nodes and "
            "--devices ask for 3 x 1; leave both out",
        ),
        (  # Lightning would train on each of them alone
            OF_TORCHRUN | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            "--devices 1",
            "torchrun has started 1 x 2 processes (nodes x those on each), but --trainer.num_nodes and "
            "--devices ask for 1 x 1; leave both out",
        ),
        (
            {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "cats"},
            "",
            "You set `--ntasks=2` in your SLURM bash script, but this variable is not supported. HINT: Use "
            "`--ntasks-per-node=2` instead.",
        ),
    ],
)
def test_other_numbers_than_the_launchers_are_refused(
    variables: Variables,
    words: str,
    expected: str,
    data: Path,
    run: Run,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run(f"fit {TINY} {words}", "--root", data) == 2
    assert capsys.readouterr().err == f"[ERROR]    {expected}\n"
    assert not list(Path("checkpoints").glob("*"))


@pytest.mark.slow
def test_two_processes_train_as_one_and_runs_go_on_with_another_number(
    data: Path, run: Run, stack: ExitStack
) -> None:
    alone = f"fit {TINY} --batch_size 8"
    assert run(f"{alone} --max_epochs 3 --trainer.default_root_dir whole", "--root", data) == 0
    assert run(f"{alone} --max_epochs 1 --trainer.default_root_dir parts", "--root", data) == 0
    last = only_run("parts") / "last.ckpt"
    words = f"-m catdog_pl fit --ckpt_path {last} --batch_size 4 --max_epochs 2"
    (out,) = finished([start(stack, f"{TORCHRUN} --nproc_per_node 2 --master_port {free_port()} {words}")])
    assert out.count("Epoch 2/2") == 1
    assert "Training on 2 x cpu" in out
    assert run(f"fit --ckpt_path {last} --batch_size 8 --max_epochs 3") == 0
    for path in last.parent.glob("config-*.yaml"):
        path.unlink()
    same_training(only_run("whole"), only_run("parts"))


CLUSTERS: dict[str, Variables] = {
    "SLURM": {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "cats",
        "SLURM_PROCID": "{rank}",
        "SLURM_LOCALID": "{rank}",
    },
    "PyTorchJob": {"WORLD_SIZE": "2", "RANK": "{rank}"},
}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_cluster_starts_the_processes(cluster: str, data: Path, run: Run, stack: ExitStack) -> None:
    port = str(free_port())
    processes = []
    for rank in range(2):
        variables = {name: value.format(rank=rank) for name, value in CLUSTERS[cluster].items()}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        line = f"catdog_pl fit {TINY} --batch_size 4 --max_epochs 1 --root {data}"
        processes.append(start(stack, f"{line} --trainer.default_root_dir two", **variables))
    first, second = finished(processes)
    assert "Epoch 1/1" in first
    assert second == ""
    assert (
        run(f"fit {TINY} --batch_size 8 --max_epochs 1 --trainer.default_root_dir one", "--root", data) == 0
    )
    same_training(only_run("one"), only_run("two"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_killed_node_ends_the_other_soon_and_nothing_saved_is_lost(data: Path, stack: ExitStack) -> None:
    place = f"--nnodes 2 --master_addr 127.0.0.1 --master_port {free_port()}"
    words = f"-m catdog_pl fit {TINY} --batch_size 4 --max_epochs 1000000 --patience 1000000 --root {data}"
    nodes = [start(stack, f"{TORCHRUN} {place} --node_rank {rank} {words}") for rank in range(2)]
    deadline = time.monotonic() + 120
    while not (found := list(Path().glob("checkpoints/basic/*/last.ckpt"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill(nodes[0])  # which made the run's folder
    _, error = nodes[1].communicate(timeout=60)
    lines = [line for line in error.splitlines() if line.startswith("[ERROR]")]
    assert len(lines) == 1
    assert lines[0].startswith("[ERROR]    another process of this training was lost (")
    assert lines[0].endswith(f"resume with: python -m catdog_pl fit --ckpt_path {found[0]}")
    assert "[rank" not in error  # before each line of a traceback
    for which in ("last", "best"):
        load_checkpoint(find_checkpoint(which))
