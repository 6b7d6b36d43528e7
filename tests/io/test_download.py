import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from catdog_pl.errors import CatDogError, DownloadError
from catdog_pl.io import download as downloads
from catdog_pl.io.download import Patience, digest_fault, download

BODY = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
PLENTY = 10**12
HASTE = Patience(waits=(0.0, 0.0, 0.0), stall_seconds=1.0)

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each request by the next of the server's answers, and the last one for ever."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def start(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def break_off(self) -> None:
        self.close_connection = True
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class Server(ThreadingHTTPServer):
    """A local server that misbehaves on demand."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.ranges: list[str | None] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """The client leaves in the middle of an answer; that is what is tested."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/photos.zip"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def whole(handler: Handler) -> None:
    """A decent server: ranges, a version, the true length."""
    asked = handler.headers.get("Range")
    if asked and handler.headers.get("If-Range", '"v1"') == '"v1"':
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(BODY):
            return handler.start(416, Content_Range=f"bytes */{len(BODY)}", Content_Length=0)
        span = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        handler.start(206, Content_Range=span, Content_Length=len(BODY) - start, ETag='"v1"')
        handler.wfile.write(BODY[start:])
    else:
        handler.start(200, Content_Length=len(BODY), ETag='"v1"')
        handler.wfile.write(BODY)


def breaks_off(at: int, etag: str = '"v1"') -> Answer:
    def answer(handler: Handler) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start:
            span = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
            handler.start(206, Content_Range=span, Content_Length=len(BODY) - start, ETag=etag)
        else:
            handler.start(200, Content_Length=len(BODY), ETag=etag)
        handler.wfile.write(BODY[start:at])
        handler.break_off()

    return answer


def says(code: int, body: bytes = b"", **headers: object) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(code, Content_Length=len(body), **headers)
        handler.wfile.write(body)

    return answer


def fetch(server: Server, tmp_path: Path, *answers: Answer, sha256: str | None = None) -> bytes:
    server.answers = list(answers)
    digest = f"sha256:{sha256}" if sha256 else None
    download(server.url, tmp_path / "photos", free_bytes=PLENTY, digest=digest, patience=HASTE)
    return (tmp_path / "photos").read_bytes()


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_file_comes_whole_and_nothing_else_is_left(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, whole, sha256=SHA256) == BODY
    assert left(tmp_path) == ["photos"]
    assert server.ranges == [None]


def test_a_broken_download_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, breaks_off(100_000), breaks_off(200_000), whole) == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_run_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError,
        match=r"breaks off, 4 times .* progress; 120,000 bytes are kept, run the same",
    ):
        fetch(server, tmp_path, breaks_off(120_000))
    assert left(tmp_path) == ["photos.part", "photos.part.json"]
    server.ranges.clear()
    assert fetch(server, tmp_path, whole) == BODY
    assert server.ranges == ["bytes=120000-"]


def test_another_version_on_the_server_is_fetched_from_the_start(server: Server, tmp_path: Path) -> None:
    old = bytes(len(BODY))

    def old_version(handler: Handler) -> None:
        handler.start(200, Content_Length=len(old), ETag='"v0"')
        handler.wfile.write(old[:100_000])
        handler.break_off()

    assert fetch(server, tmp_path, old_version, whole) == BODY
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    plain = says(200, BODY)

    def plain_break(handler: Handler) -> None:
        handler.start(200, Content_Length=len(BODY))
        handler.wfile.write(BODY[:50_000])
        handler.break_off()

    assert fetch(server, tmp_path, plain_break, plain) == BODY
    assert server.ranges == [None, None]  # without a version nothing says that the rest would fit


def test_a_wrong_part_is_not_appended(server: Server, tmp_path: Path) -> None:
    wrong = says(206, BODY[:100], Content_Range=f"bytes 0-99/{len(BODY)}")
    assert fetch(server, tmp_path, breaks_off(100_000), wrong, whole) == BODY
    assert server.ranges == [None, "bytes=100000-", None]


def test_a_part_that_is_shorter_than_asked_for_is_followed_by_the_next(
    server: Server, tmp_path: Path
) -> None:
    span = f"bytes 100000-149999/{len(BODY)}"
    short = says(206, BODY[100_000:150_000], Content_Range=span, ETag='"v1"')
    assert fetch(server, tmp_path, breaks_off(100_000), short, whole) == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_part_that_is_already_all_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photos.part").write_bytes(BODY)
    (tmp_path / "photos.part.json").write_text('"\\"v1\\""', encoding="utf-8")
    assert fetch(server, tmp_path, whole) == BODY
    assert server.ranges == [f"bytes={len(BODY)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photos.part").write_bytes(BODY + b"more")
    (tmp_path / "photos.part.json").write_text('"\\"v1\\""', encoding="utf-8")
    assert fetch(server, tmp_path, whole) == BODY


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_passing_trouble_is_waited_for(server: Server, tmp_path: Path, code: int) -> None:
    assert fetch(server, tmp_path, says(code), says(code), whole) == BODY


def test_the_server_is_waited_for_as_long_as_it_asks(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    fetch(server, tmp_path, says(503, Retry_After=7), says(503, Retry_After=9999), whole)
    assert waited == [7.0, 60.0]


def test_attempts_wait_longer_and_longer(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.answers = [says(503)]
    with pytest.raises(DownloadError, match="6 times without progress"):
        download(server.url, tmp_path / "photos")
    assert waited == [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize(
    ("code", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")]
)
def test_a_final_answer_is_passed_on_at_once(server: Server, tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(DownloadError, match=f"the server answered {words}"):
        fetch(server, tmp_path, says(code))
    assert server.ranges == [None]


def test_a_web_page_is_no_archive(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError,
        match=r"answered with a web page, not with the file; copy a folder of the web first, as by wget",
    ):
        fetch(server, tmp_path, says(200, b"<!DOCTYPE html><title>Sign in</title>"))
    assert "photos" not in left(tmp_path)


def test_redirects_are_followed_and_loops_are_not(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, says(302, Location="/elsewhere.zip"), whole) == BODY
    with pytest.raises(DownloadError, match="without end"):
        fetch(server, tmp_path, says(302, Location="/photos.zip"))
    with pytest.raises(DownloadError, match="no valid address"):
        fetch(server, tmp_path, says(302, Location="file:///etc/passwd"))


@pytest.mark.timeout(20)
def test_a_server_that_falls_silent_is_left(server: Server, tmp_path: Path) -> None:
    def stalls(handler: Handler) -> None:
        handler.start(200, Content_Length=len(BODY), ETag='"v1"')
        handler.wfile.write(BODY[:70_000])
        handler.wfile.flush()
        time.sleep(4)

    assert fetch(server, tmp_path, stalls, whole) == BODY
    assert server.ranges == [None, "bytes=70000-"]


@pytest.mark.timeout(20)
def test_a_server_that_drips_is_left(server: Server, tmp_path: Path) -> None:
    def drips(handler: Handler) -> None:
        handler.start(200, Content_Length=len(BODY), ETag='"v1"')
        for index in range(60):
            handler.wfile.write(BODY[index : index + 1])
            handler.wfile.flush()
            time.sleep(0.1)

    start = time.perf_counter()
    assert fetch(server, tmp_path, drips, whole) == BODY
    assert time.perf_counter() - start < 4


def test_a_server_that_gives_a_little_each_time_does_not_keep_us_for_ever(
    server: Server, tmp_path: Path
) -> None:
    steps = [breaks_off(at) for at in range(100, 5000, 100)]
    with pytest.raises(DownloadError, match="4 times without progress"):
        fetch(server, tmp_path, *steps)


def test_progress_is_rewarded_with_more_attempts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_PROGRESS_BYTES", 20_000)
    steps = [breaks_off(at) for at in range(20_000, 300_000, 20_000)]
    assert fetch(server, tmp_path, *steps, whole) == BODY


def test_a_length_that_is_too_short_is_found_by_the_hash(server: Server, tmp_path: Path) -> None:
    def lies(handler: Handler) -> None:
        handler.start(200, Content_Length=1000)
        handler.wfile.write(BODY)
        handler.break_off()

    with pytest.raises(DownloadError, match=f"SHA-256 is .*, not {SHA256}"):
        fetch(server, tmp_path, lies, sha256=SHA256)
    assert left(tmp_path) == []


def test_a_length_that_is_too_long_is_a_download_that_breaks_off(server: Server, tmp_path: Path) -> None:
    def lies(handler: Handler) -> None:
        handler.start(200, Content_Length=len(BODY) + 5)
        handler.wfile.write(BODY)
        handler.break_off()

    with pytest.raises(DownloadError, match="the answer breaks off"):
        fetch(server, tmp_path, lies)


def test_a_connection_s_compression_is_not_taken_off_an_archive(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, says(200, BODY, Content_Encoding="x-gzip")) == BODY


def test_a_file_too_large_for_the_disk_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    server.answers = [whole]
    with pytest.raises(DownloadError, match="300,000 bytes are more than the disk has free"):
        download(server.url, tmp_path / "photos", free_bytes=1000, patience=HASTE)


def test_a_disk_that_fills_up_stops_a_server_that_did_not_say(server: Server, tmp_path: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.start(200, Transfer_Encoding="chunked")
        for start in range(0, len(BODY), 50_000):
            handler.wfile.write(b"%x\r\n%s\r\n" % (50_000, BODY[start : start + 50_000]))
        handler.wfile.write(b"0\r\n\r\n")

    server.answers = [chunked]
    with pytest.raises(DownloadError, match="the disk is full"):
        download(server.url, tmp_path / "photos", free_bytes=100_000, patience=HASTE)
    assert fetch(server, tmp_path, chunked) == BODY


def test_no_server_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the connection failed") as error:
        download("http://127.0.0.1:9/a.zip?token=secret", tmp_path / "photos", patience=HASTE)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_md5_verifies_too(server: Server, tmp_path: Path) -> None:
    """What Keras publishes for its weights."""
    server.answers = [whole]
    md5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    download(server.url, tmp_path / "photos", digest=f"md5:{md5}", patience=HASTE)
    assert (tmp_path / "photos").read_bytes() == BODY
    with pytest.raises(DownloadError, match=f"its MD5 is {md5}, not 0+; it was not kept"):
        download(server.url, tmp_path / "other", digest=f"md5:{'0' * 32}", patience=HASTE)
    assert left(tmp_path) == ["photos"]


@pytest.mark.parametrize(
    ("digest", "is_right"),
    [
        (f"sha256:{SHA256}", True),
        (f"SHA256:{SHA256.upper()}", True),
        (f"sha256:{SHA256[:8]}", True),
        (f"sha256:{SHA256[:7]}", False),
        ("sha256:", False),
        (f"sha256:{SHA256[:7]}x", False),
        (f"md5:{SHA256[:32]}", False),
    ],
)
def test_a_digest_may_be_its_beginning(digest: str, is_right: bool, tmp_path: Path) -> None:
    (tmp_path / "photos").write_bytes(BODY)
    fault = digest_fault(tmp_path / "photos", digest)
    assert (fault is None) is is_right
    if fault:
        assert fault.endswith(f", not {digest.lower().partition(':')[2]}")


def test_one_downloads_and_the_others_wait(server: Server, tmp_path: Path) -> None:
    """As the processes of a fit on several devices do, which all want the same weights."""

    def slow(handler: Handler) -> None:
        handler.start(200, Content_Length=len(BODY), ETag='"v1"')
        handler.wfile.write(BODY[:100_000])
        time.sleep(0.3)
        handler.wfile.write(BODY[100_000:])

    server.answers = [slow]
    target = tmp_path / "new" / "photos"
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(download, server.url, target, patience=HASTE) for _ in range(4)]:
            future.result()
    assert target.read_bytes() == BODY
    assert left(target.parent) == ["photos"]
    assert server.ranges == [None]


def test_the_lock_s_file_is_removed_while_it_is_held(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed later, it could be the one that the next process has just locked."""
    was_there = []

    class Lock(FileLock):
        def __exit__(self, *error: Any) -> None:
            was_there.append(Path(self.lock_file).exists())
            super().__exit__(*error)

    server.answers = [whole]
    monkeypatch.setattr(downloads, "FileLock", Lock)
    download(server.url, tmp_path / "photos", patience=HASTE)
    assert was_there == [False]


def test_a_folder_that_cannot_be_made_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CatDogError, match=r"cannot be written .* choose another place"):
        download(server.url, tmp_path / "file" / "photos", patience=HASTE)
