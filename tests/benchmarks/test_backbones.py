"""The benchmark of the frozen pass prints its table; how fast anything is, no test says."""

import pytest

from benchmarks.backbones import main


@pytest.mark.slow
def test_each_pass_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--backbones mobilenet_v3_small --images 1 --size 32 --rounds 1 --threads 2"
    main(words.split())
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| mobilenet")]
    assert len(rows) in (3, 6)  # the latter where bfloat16 is fast
    assert all(line.count("|") == 7 for line in rows)
    assert "BatchNorm folded, float32" in rows[2]
