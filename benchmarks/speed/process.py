"""A command as a process of its own: its time, its processor time, its memory, and when its epochs ended."""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import REPOSITORY
from benchmarks.speed.records import Figure

LIMITS = "benchmarks.speed.limits"
LEVERS = "benchmarks.speed.levers"
"""What measures in a process of its own: Linux counts the memory of a process that starts another one as the
other's, so the benchmark itself must stay small."""


@dataclass(frozen=True)
class Run:
    """What a finished process cost.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of processor time, of it and of the processes that it waited for.
        megabytes: resident memory of the largest of its processes.
        epochs: seconds from its start to each line that begins with ``Epoch N``.
        output: the lines of its standard output.
    """

    seconds: float
    cpu: float
    megabytes: float
    epochs: list[float] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    @property
    def later_epochs(self) -> list[float]:
        """Seconds of each epoch after the first, which holds the start of the process, too."""
        return [end - start for start, end in zip(self.epochs, self.epochs[1:], strict=False)]


def run(words: Sequence[str], folder: Path, **environment: str) -> Run:
    """Run a Python command in ``folder``: ``run(["-m", "catdog_pl", "summary"], folder)``.

    Raises:
        RuntimeError: it failed; the message holds the end of its output.
    """
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **environment}
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdout is not None
        lines, epochs = [], []
        for line in process.stdout:
            lines.append(line)
            if re.match(r"Epoch \d+[ /]", line):
                epochs.append(time.perf_counter() - start)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            tail = "".join(lines[-5:]) + errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {tail}")
    return Run(seconds, used.ru_utime + used.ru_stime, megabytes(used), epochs, lines)


def figures(words: Sequence[str], folder: Path) -> Iterator[Figure]:
    """What a measuring Python command prints, a JSON list a line: who, the figure and its value."""
    for line in run(words, folder).output:
        who, figure, value = json.loads(line)
        yield who, figure, value


def megabytes(used: resource.struct_rusage) -> float:
    """The resident memory of the largest process, in MB; macOS counts in bytes, Linux in kilobytes."""
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
