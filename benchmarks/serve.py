"""How many pictures a second are answered over HTTP: ``python -m benchmarks.serve PHOTOS --ckpt_path best``.

    pip install -e ".[bench,serve]" && apt-get install wrk
    python -m benchmarks.serve data/test --ckpt_path best

``catdog serve`` and LitServe answer with the same checkpoint; wrk sends them the same photographs, in turns,
and the best round of each counts. Beside them stands what ``predict`` answers of a folder, without its start.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from benchmarks.machine import machine, versions
from benchmarks.speed.process import run

LUA = """
local bodies, parts = {{}}, {{}}
for path in io.lines("{names}") do
  local file = assert(io.open(path, "rb"))
  parts[#parts + 1] = '--{boundary}\\r\\n' ..
    'Content-Disposition: form-data; name="file"; filename="1.jpg"\\r\\n' ..
    'Content-Type: image/jpeg\\r\\n\\r\\n' .. file:read("*a") .. '\\r\\n'
  file:close()
  if #parts == {pictures} then
    bodies[#bodies + 1] = table.concat(parts) .. '--{boundary}--\\r\\n'
    parts = {{}}
  end
end
local sent = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary={boundary}"
request = function()
  sent = sent + 1
  return wrk.format(nil, nil, nil, bodies[sent % #bodies + 1])
end
"""
"""What wrk runs: forms with one or several photographs each."""

BOUNDARY = "----FormBoundary7MA4YWxkTrZu0gW"
"""As long as those of browsers: python-multipart takes longer for short ones."""

CONTESTANTS = {
    "catdog serve": ("/v1/predict", "catdog_pl serve --ckpt_path {checkpoint} --port {port}"),
    "LitServe": ("/predict", "benchmarks.speed.peers.litserve_server {checkpoint} {port}"),
}


class Load(NamedTuple):
    """What wrk measured."""

    rate: float
    median: float
    slowest: float
    errors: int


def main() -> None:
    """Print a row for each server, and for the folder."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("photos", type=Path, help="a folder of JPEG files")
    words.add_argument("--ckpt_path", default="best")
    words.add_argument("--count", type=int, default=200, help="photographs that are sent, default 200")
    words.add_argument("--connections", type=int, default=32)
    words.add_argument("--pictures", type=int, default=1, help="of a request; LitServe takes one")
    words.add_argument("--seconds", type=int, default=15, help="of a round")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--requests", type=int, default=0, help="answer so many more, and watch the memory")
    options = words.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; run: apt-get install wrk")
    photos = sorted(options.photos.rglob("*.jpg"))[: options.count]
    print(machine(), versions(), f"{len(photos)} photographs, {options.connections} connections", sep="\n")
    checkpoint = str(Path(options.ckpt_path).resolve()) if "/" in options.ckpt_path else options.ckpt_path
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(photos, options.pictures, Path(folder))
        contestants = list(CONTESTANTS)[: 2 if options.pictures == 1 else 1]
        loads: dict[str, list[Load]] = {name: [] for name in contestants}
        rates = []
        for _ in range(options.rounds):
            rates.append(folder_rate(photos, checkpoint, Path(folder)))
            for name in contestants:
                with serving(name, checkpoint, photos[0]) as (address, _):
                    loads[name].append(wrk(address, script, options.connections, options.seconds))
        print_table(max(rates), {name: max(them) for name, them in loads.items()}, options.pictures)
        if options.requests:
            with serving("catdog serve", checkpoint, photos[0]) as (address, process):
                watch_memory(address, script, options, process)


def write_script(photos: Sequence[Path], pictures: int, folder: Path) -> Path:
    """Write what wrk runs."""
    names = folder / "names.txt"
    names.write_text("".join(f"{photo.resolve()}\n" for photo in photos))
    script = folder / "post.lua"
    script.write_text(LUA.format(names=names, boundary=BOUNDARY, pictures=pictures))
    return script


def folder_rate(photos: Sequence[Path], checkpoint: str, folder: Path) -> float:
    """Pictures a second of ``predict``, from the difference between all of them and one."""
    seconds = []
    for some in (photos[:1], photos):
        names = folder / "predicted.txt"
        names.write_text("".join(f"{photo.resolve()}\n" for photo in some))
        command = ["-m", "catdog_pl", "predict", f"@{names}", "--ckpt_path", checkpoint, "--format", "csv"]
        seconds.append(run(command, Path.cwd()).seconds)
    return (len(photos) - 1) / (seconds[1] - seconds[0])


@contextmanager
def serving(name: str, checkpoint: str, photo: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server while the block runs; gives the address that takes pictures, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path, command = CONTESTANTS[name]
    words = command.format(port=port, checkpoint=checkpoint).split()
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        address = f"http://127.0.0.1:{port}{path}"
        end = time.monotonic() + 120
        while not answers(address, photo):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{name} does not answer")
            time.sleep(0.5)
        yield address, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # LitServe's workers survive its end
        process.wait()


def answers(address: str, photo: Path) -> bool:
    """Whether a server answers a photograph."""
    try:
        return requests.post(address, files={"file": photo.read_bytes()}, timeout=5).ok
    except requests.RequestException:
        return False


def wrk(address: str, script: Path, connections: int, seconds: int) -> Load:
    """Have a server answer for so many seconds, after a few that do not count."""
    command = ["wrk", "-t1", f"-c{connections}", "--timeout", "30s", "--latency", "-s", str(script)]
    subprocess.run([*command, "-d3s", address], check=True, capture_output=True)
    output = subprocess.run(
        [*command, f"-d{seconds}s", address], check=True, capture_output=True, text=True
    ).stdout
    rate = float(found(r"Requests/sec:\s+([\d.]+)", output)[1])
    times = [found(rf"{share}%\s+([\d.]+)(us|ms|s)", output).groups() for share in (50, 99)]
    median, slowest = (milliseconds(*one) for one in times)
    errors = sum(map(int, re.findall(r"(?:Non-2xx or 3xx responses: |timeout )(\d+)", output)))
    return Load(rate, median, slowest, errors)


def found(pattern: str, output: str) -> re.Match[str]:
    """Where the output says something, or the end of the benchmark."""
    match = re.search(pattern, output)
    if match is None:
        sys.exit(f"wrk's output is not as expected:\n{output}")
    return match


def milliseconds(value: str, unit: str) -> float:
    """A time of wrk's in milliseconds."""
    return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def print_table(folder: float, loads: dict[str, Load], pictures: int) -> None:
    """Print the rows; ``predict`` is the measure."""
    print(
        "\n| answered by | pictures a second | of predict | p50 | p99 | errors |\n|---|---|---|---|---|---|"
    )
    print(f"| predict, a folder | {folder:.1f} | 1.00 | | | |")
    for name, (requests_rate, median, slowest, errors) in loads.items():
        rate = requests_rate * pictures
        print(f"| {name} | {rate:.1f} | {rate / folder:.2f} | {median:.0f} | {slowest:.0f} | {errors} |")


def watch_memory(
    address: str, script: Path, options: argparse.Namespace, process: subprocess.Popen[bytes]
) -> None:
    """Print the server's resident memory while it answers more and more requests."""
    print("\n| requests | resident MB |\n|---|---|")
    answered = 0.0
    while answered < options.requests:
        answered += wrk(address, script, options.connections, options.seconds).rate * (options.seconds + 3)
        print(f"| {answered:,.0f} | {resident(process.pid):.0f} |", flush=True)


def resident(pid: int) -> float:
    """The resident memory of a process in MB, as Linux tells."""
    return int(found(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1e3


if __name__ == "__main__":
    main()
