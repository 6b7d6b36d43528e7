"""What the word after ``--accelerator`` means on this machine, and what this machine's devices are."""

import os
import platform
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catdog_pl.errors import UsageError

if TYPE_CHECKING:  # importing torch takes seconds, which --help must not
    import torch

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
"""Words of Lightning's that mean a device of PyTorch's."""

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instructions of a processor that decide how fast it computes, as Linux names them."""


class Launch(NamedTuple):
    """Processes with one task that something else has started, of which this is one.

    Attributes:
        launcher: torchrun, srun, or PyTorchJob, which is Kubeflow's and starts one process on each node.
        nodes: how many machines.
        per_node: how many processes on each.
        rank: the number of this process among all, from 0; ``local_rank`` among those of its machine.
    """

    launcher: str
    nodes: int
    per_node: int
    rank: int
    local_rank: int


Hardware = dict[str, str | int | list[str]]
"""What a model was trained on, in plain values, as `hardware` gives it."""


def check_accelerator(word: object) -> None:
    """Raise `UsageError` for an accelerator that Lightning does not know or this machine does not have.

    An object of Lightning's is not checked.
    """
    if word in ACCELERATORS:
        find_device(str(word))
    elif isinstance(word, str):
        from lightning.pytorch.accelerators import AcceleratorRegistry  # where plug-ins add theirs

        known = AcceleratorRegistry.available_accelerators()
        if word not in known:
            raise _unknown(word, {*ACCELERATORS, *known})


def check_devices(word: object, accelerator: object) -> None:
    """Raise `UsageError` for a number of devices that is none in any of Lightning's notations.

    On the CPU, where devices are processes, all of them and their own numbers mean nothing.
    """
    if re.fullmatch(r"auto|[1-9]\d*", str(word)):
        return
    if not isinstance(word, list) and not re.fullmatch(r"-1|(\d+ *, *)+\d*", str(word)):
        raise UsageError(f"--devices {word}: valid is auto, a number such as 2, or the GPUs' own as in 0,1")
    if accelerator in ACCELERATORS and find_device(str(accelerator)).type == "cpu":
        raise UsageError(f"--devices {word} means GPUs; on the CPU, valid is auto or a number such as 2")


def find_device(word: str) -> "torch.device":
    """Return the device of an accelerator: the GPU for ``auto`` where there is one.

    Raises:
        UsageError: there is no such accelerator, or this machine does not have it.
    """
    import torch

    if word not in ACCELERATORS:
        raise _unknown(word, ACCELERATORS)
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if word == "cpu" or (word == "auto" and gpu is None):
        return torch.device("cpu")
    if gpu is None or word not in ("auto", "gpu", gpu.type):
        kind = {"cuda": "CUDA GPU", "mps": "Apple GPU"}.get(word, "GPU")
        raise UsageError(f"--accelerator {word}: PyTorch finds no {kind} on this machine; use cpu or auto")
    return gpu


def use_own_device(word: str) -> None:
    """Take the GPU with the number of this process on its machine, where an accelerator means one.

    Raises:
        UsageError: there is no such accelerator, or this machine does not have it.
    """
    import torch

    if find_device(word).type != "cpu":
        launch = launched(is_training=False)
        own = launch.local_rank if launch else 0
        torch.accelerator.set_device_index(own % torch.accelerator.device_count())


def launched(is_training: bool = True) -> Launch | None:
    """Return what a launcher has started, by its environment variables; None where this process is alone.

    Lightning reads those of torchrun and of SLURM itself, but not how many devices that makes. Where it is no
    training, the processes need not find each other: ``RANK`` and ``WORLD_SIZE`` are enough.
    """
    given, local = os.environ, "0"
    needed = {"WORLD_SIZE", "RANK"} | ({"MASTER_ADDR"} if is_training else set())
    if "TORCHELASTIC_RUN_ID" in given:
        total, per_node, launcher = given["WORLD_SIZE"], given["LOCAL_WORLD_SIZE"], "torchrun"
        rank, local = given["RANK"], given["LOCAL_RANK"]
    elif "SLURM_STEP_NUM_TASKS" in given:  # of srun; in a batch script, SLURM_NTASKS says what it may start
        total, launcher = given["SLURM_STEP_NUM_TASKS"], "srun"
        per_node = str(int(total) // int(given["SLURM_STEP_NUM_NODES"]))
        rank, local = given["SLURM_PROCID"], given["SLURM_LOCALID"]
    elif needed <= given.keys() and "LOCAL_RANK" not in given:
        total, per_node, launcher, rank = given["WORLD_SIZE"], "1", "PyTorchJob", given["RANK"]
    else:
        return None
    if int(total) < 2:
        return None
    return Launch(launcher, int(total) // int(per_node), int(per_node), int(rank), int(local))


@cache
def bfloat16_is_fast(device: "torch.device") -> bool:
    """Return whether the device has bfloat16 units.

    A processor without them is about 130 times slower in bfloat16 than in float32 (measured with AVX2).
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    # oneDNN says yes to every processor with AVX-512, and most of those only emulate bfloat16.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@cache
def hardware(device: "torch.device | None" = None) -> Hardware:
    """Return ``processor``, ``cores``, ``features``, ``system``, and ``gpu`` where the device is one.

    Nothing tells whose machine it is. ``features`` are the processor's; only Linux tells them.
    """
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system
        info = ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    words = set(info.split())
    found: Hardware = {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "features": [name for name in FEATURES if name in words],
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device and device.type != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return found


def _unknown(word: str, valid: Iterable[str]) -> UsageError:
    names = ", ".join(sorted(valid))
    return UsageError(f"--accelerator {word}: there is no such accelerator; valid are {names}")
