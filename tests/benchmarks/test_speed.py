"""The benchmark counts right; how fast anything is, no test says."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.speed.contestants import CONTESTANTS, KERAS, OURS
from benchmarks.speed.limits import forward_gflop, training_gflop
from benchmarks.speed.process import LIMITS, figures, run
from benchmarks.speed.records import Records
from benchmarks.speed.report import tables
from catdog_pl.__main__ import main
from catdog_pl.models import VGG16, Basic


def test_a_process_is_timed_with_its_epochs(tmp_path: Path) -> None:
    program = (
        "import time; print('Found 3'); time.sleep(0.2); print('Epoch 1/2 - 8s'); time.sleep(0.2); "
        "print('Epoch 2 {}'); print('Epochs'); bytearray(50_000_000)"
    )
    done = run(["-c", program], tmp_path)
    first, second = done.epochs
    assert first >= 0.2
    assert first + 0.1 < second <= done.seconds  # 0.2, less what the reader of the first line came late
    assert done.megabytes > 50


@pytest.mark.slow
def test_a_measuring_process_prints_its_figures(photos: Path, tmp_path: Path) -> None:
    program = """print('["a, b", "s", 0.5]\\n["c", "GB/s", 2]')"""
    assert list(figures(["-c", program], tmp_path)) == [("a, b", "s", 0.5), ("c", "GB/s", 2)]
    rates = {who: rate for who, _, rate in figures(["-m", LIMITS, str(photos), "--prediction"], tmp_path)}
    decoding, model, both = rates.values()
    assert 1 / both == pytest.approx(1 / decoding + 1 / model)


def test_a_process_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3.*no data"):
        run(["-c", "import sys; print('no data', file=sys.stderr); sys.exit(3)"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("speed --photos nothere.zip", "--photos nothere.zip: no such folder or archive; give one that"),
        ("speed --photos empty --only growth --output speed.json", "empty: there is no photograph in it"),
        ("prepare --photos nothere", "--photos nothere: no such folder; give one with JPEGs"),
        ("accuracy --data nothere", "--data nothere: no such folder; give one that prepare has made"),
    ],
)
def test_photographs_that_are_not_there_are_named_in_one_line(
    line: str, message: str, own_folder: Path
) -> None:
    (own_folder / "empty").mkdir()
    with pytest.raises(RuntimeError) as failure:
        run(["-m", *f"benchmarks.{line}".split()], own_folder)
    assert "Traceback" not in str(failure.value)
    assert message in str(failure.value)


def test_records_keep_other_sections_and_replace_their_own(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    before = Records(path, {}, ["basic", "limits"])
    before.add("basic", OURS, "s", 1.0)
    before.add("limits", OURS, "s", 2.0)
    after = Records(path, {"date": "today"}, ["basic"])
    after.add("basic", OURS, "s", 3.0, 5.0)
    after.add("basic", OURS, "s", 4.0)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["date"] == "today"
    assert {record["section"]: record["values"] for record in content["records"]} == {
        "limits": [2.0],
        "basic": [3.0, 5.0, 4.0],
    }
    assert after.section("basic")[0].median == 4.0


def test_the_table_says_how_many_times_faster_than_keras(tmp_path: Path) -> None:
    records = Records(tmp_path / "speed.json", {}, [])
    for who, seconds in ((OURS, 2.0), (KERAS, 5.0)):
        records.add("basic", who, "later epochs, s", seconds)
        records.add("basic", who, "whole training of 3 epochs, s", 4 * seconds)
    lines = tables(records).splitlines()
    assert lines[2].startswith(f"| {OURS} | 2 |")
    assert lines[2].endswith("| 2.50 |")
    assert lines[3].endswith("| 1.00 |")


@pytest.mark.parametrize("model", ["basic", "vgg16"])
def test_every_contestant_is_there_and_our_options_exist(model: str) -> None:
    for who in CONTESTANTS[model]:
        dash_m, module, *words = who.command(model, Path("data"), 3)
        assert dash_m == "-m"
        assert find_spec(module)
        if module == "catdog_pl":
            with pytest.raises(SystemExit) as end:
                main([*words, "--print_config"])
            assert end.value.code == 0


def test_the_work_of_a_step_is_the_layers() -> None:
    # Pixels x filters x kernel of each convolution, then the dense layers; a product is two operations.
    products = 148**2 * 32 * 27, 72**2 * 64 * 288, 34**2 * 64 * 576, 18_496 * 256, 256
    assert training_gflop(Basic()) == pytest.approx(2e-9 * (3 * sum(products) - products[0]))
    with torch.device("meta"):
        features = VGG16(weights="none").features
    assert forward_gflop(features, torch.zeros(1, 3, 150, 150, device="meta")) == pytest.approx(
        13.2, abs=0.05
    )
