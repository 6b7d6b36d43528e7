"""The command line of ``serve``."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import Run


@contextmanager
def serving(*words: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "catdog_pl", "serve", "--port", "0", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        match = re.fullmatch(r"Serving on (http://127\.0\.0\.1:\d+) \(Ctrl-C stops\)\n", line)
        assert match, process.communicate(timeout=60)
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(signum: signal.Signals, checkpoint: Path) -> None:
    with serving("--ckpt_path", checkpoint, "--max_mb", 1, "--no_urls", CATDOG_TOKEN="geheim") as (
        server,
        url,
    ):
        bearer = {"Authorization": "Bearer geheim"}
        assert requests.get(f"{url}/v1/model").status_code == 401
        loaded = requests.get(f"{url}/v1/model", headers=bearer).json()
        assert (loaded["max_bytes"], loaded["urls"]) == (2**20, False)
        server.send_signal(signum)
        assert server.wait(20) == 0
        assert server.communicate() == ("", "")  # no address, no name, no traceback


@pytest.mark.slow
def test_requests_are_printed_only_where_that_is_asked_for(checkpoint: Path) -> None:
    with serving("--ckpt_path", checkpoint, "--access_log") as (server, url):
        requests.get(f"{url}/healthz")
        server.terminate()
        out, err = server.communicate(timeout=20)
    assert '"GET /healthz HTTP/1.1" 200 OK' in out + err


def test_a_taken_port_is_one_line_before_the_model_is_loaded(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run("serve --port", port, "--ckpt_path", "missing.ckpt") == 2
    assert capsys.readouterr().err == (
        f"[ERROR]    --host 127.0.0.1 --port {port}: nothing can listen there (Address already in use); "
        "give another --port, or 0\n"
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--host nowhere.invalid", "nothing can listen there"),
        ("--port 70000", "--port 70000: it must lie in 0..65535; 0 takes a free one"),
        ("--port x", "--port x: valid is a whole number"),
        ("--queue 0", "--queue 0: valid is a whole number above 0"),
        ("--timeout nan", "--timeout nan: valid is a number above 0"),
    ],
)
def test_wrong_words_are_one_line(
    words: str, reason: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"serve {words}") == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_without_its_libraries_the_line_names_the_extra(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("serve --port 0") == 2
    assert "serve needs uvicorn, which is not installed: pip install 'catdog_pl[serve]'" in (
        capsys.readouterr().err
    )
