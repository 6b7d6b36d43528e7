import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from catdog_pl.__main__ import main
from tests.conftest import Run
from tests.data.prepare.photographs import contents, counts, draw, kaggle

pytestmark = pytest.mark.slow

KILLED = getattr(signal, "SIGKILL", 9)  # Windows has none, and skips these tests


def kill_before(step: int, root: str) -> None:
    """Let this process kill itself before its so-many-th change of a file or folder below root."""
    changes = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal changes
        is_change = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link")
        is_change |= event == "open" and isinstance(args[1], str) and args[1][0] in "wax"
        if is_change and root in str(args[0]):
            changes += 1
            if changes == step:
                os.kill(os.getpid(), KILLED)

    sys.addaudithook(hook)


def is_killed(argv: list[str], root: Path, step: int) -> bool:
    """Run in a forked process; whether it was killed before it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -KILLED
    try:
        kill_before(step, str(root))
        main(argv)
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that is killed at an exact step needs fork")
@pytest.mark.parametrize(
    ("exists", "sizes"),
    [(False, "1 1 1"), (True, "1 1 1"), (True, "2 1 0")],
    ids=["new", "overwrite", "fewer"],
)
def test_a_run_killed_at_any_step_leaves_the_old_state_or_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, sizes: str
) -> None:
    # Drawn some hundred times; what it shows is not the question here.
    monkeypatch.setattr(
        "catdog_pl.data.prepare.pipeline.contact_sheet", lambda photos: Image.new("RGB", (8, 8))
    )
    with tarfile.open(tmp_path / "photos.tar", "w") as file:
        file.add(kaggle(tmp_path / "photos", 3), ".")
    old, root, done = tmp_path / "old", tmp_path / "data", tmp_path / "done"
    old.mkdir()
    command = ["prepare", str(tmp_path / "photos.tar"), "--sizes", *sizes.split()]
    if exists:
        draw(old / "train/cat/mine.jpg", 7)
        draw(old / "test/cat/mine.jpg", 8)
        (old / "manifest.csv").write_text("mine", encoding="utf-8")
        (old / "notes.txt").write_text("mine", encoding="utf-8")
        command.append("--overwrite")
    shutil.copytree(old, done)
    assert main([*command, "--root", str(done)]) == 0
    wanted, before = contents(done), contents(old)
    assert ("test/cat/mine.jpg" in before, "test/cat/mine.jpg" in wanted) == (exists, False)
    killed = 0
    while True:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(old, root)
        argv = [*command, "--root", str(root)]
        if not is_killed(argv, root, killed + 1):
            break
        killed += 1
        seen = contents(root)
        if ".prepare/ready" not in seen:
            visible = {name: sha for name, sha in seen.items() if not name.startswith(".prepare/")}
            assert visible in (before, wanted), killed
        assert main(argv) == 0
        assert contents(root) == wanted, killed
    assert killed > 30


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
@pytest.mark.parametrize("seconds", [0.7, 1.4])
def test_kill_9_leaves_a_run_that_continues_and_no_process_behind(tmp_path: Path, seconds: float) -> None:
    kaggle(tmp_path / "photos", 200)
    root = tmp_path / "data"
    command = [sys.executable, "-m", "catdog_pl", "prepare", str(tmp_path / "photos"), "--root", str(root)]
    run = subprocess.Popen([*command, "--jobs", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    children = list(_children(run.pid))
    run.kill()
    run.wait()
    deadline = time.monotonic() + 10
    while any(map(_is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, children))
    again = subprocess.run([*command, "--jobs", "1"], check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert sum(counts(root).values()) == 400
    assert not (root / ".prepare").exists()


def _children(pid: int) -> Iterator[int]:
    """The processes that a process has started; known on Linux only."""
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        yield from map(int, path.read_text(encoding="ascii").split())


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    "name", ["inspect_photos", "mark_duplicates", "place", "contact_sheet", "write_receipt"]
)
def test_ctrl_c_leaves_the_old_state_and_a_run_that_continues(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    kaggle(Path("photos"), 4)
    with monkeypatch.context() as patch:
        patch.setattr(f"catdog_pl.data.prepare.pipeline.{name}", interrupt)
        assert run("prepare photos") == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert not any(not part.startswith("data/.prepare") for part in map(str, Path("data").glob("*")))
    assert run("prepare photos") == 0


@pytest.mark.parametrize("error", [OSError(13, "it is open in another program"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", [1, 2, 7, 13])  # of two for each of seven names
def test_an_exchange_that_fails_at_any_name_is_finished_by_the_next_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException
) -> None:
    kaggle(Path("photos"), 3)
    run("prepare photos --root wanted")
    run("prepare photos")
    kaggle(Path("photos"), 4)
    run("prepare photos --root wanted --overwrite")
    calls = 0

    def rename(path: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise error
        os.rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        assert run("prepare photos --overwrite") in (1, 130)
    assert run("prepare photos") == 0
    assert contents(Path("data")) == contents(Path("wanted"))
