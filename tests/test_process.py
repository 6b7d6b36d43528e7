"""How a command's process starts and ends."""

import gc
import subprocess
import sys

import pytest
from lightning_utilities.core import imports
from lightning_utilities.core.imports import RequirementCache

from catdog_pl.process import gc_paused, leave_out_unused


def test_a_process_that_leaves_loses_nothing_and_keeps_its_code() -> None:
    program = (
        "import atexit, sys; from catdog_pl.process import exit_fast\n"
        "atexit.register(print, 'registered')\n"
        "print('printed'); print('wrong', end='', file=sys.stderr)\n"
        "exit_fast(3)\nprint('never')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (3, "printed\nregistered\n", "wrong")


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["predict", "--help"], 0), (["predict"], 2), (["frobnicate"], 2)]
)
def test_every_way_to_end_has_its_exit_code(words: list[str], code: int) -> None:
    command = [sys.executable, "-m", "catdog_pl", *words]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == code
    assert ("usage" in answer.stdout) == (code == 0)
    assert answer.stderr.startswith("[ERROR]") == (code == 2)


def test_garbage_is_collected_again_after_an_import() -> None:
    assert gc.isenabled()
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_matplotlib_and_scipy_are_left_out_once() -> None:
    leave_out_unused()
    before = (RequirementCache.__bool__, imports.package_available)
    leave_out_unused()
    assert (RequirementCache.__bool__, imports.package_available) == before
    assert not RequirementCache("matplotlib")
    assert not RequirementCache("scipy>=1.8.0")
    assert not imports.package_available("scipy")
    assert imports.package_available("torch")
    assert RequirementCache("torch")
