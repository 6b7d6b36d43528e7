"""The benchmark of a whole transfer prints its line; how fast anything is, no test says."""

from pathlib import Path

import pytest

from benchmarks.transfer import main


@pytest.mark.slow
def test_a_round_is_a_line_of_seconds_and_ratios(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(photos), "--rounds", "1"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    reading, network, folded, fit, alone, both = map(float, line.strip("|").split("|"))
    assert 0 < reading + network < fit
    assert folded > 0
    assert 1 < both < alone


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no photographs there; give a folder that prepare has made"):
        main(["--data", str(tmp_path)])


def test_weights_that_are_not_there_are_one_line(photos: Path) -> None:
    with pytest.raises(SystemExit, match=r"weights no\.pth: there is no such file"):
        main(["--data", str(photos), "--weights", "no.pth"])
