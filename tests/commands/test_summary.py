import pytest

from catdog_pl.errors import UsageError
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("spelling", ["--image_size", "--image-size"])
def test_the_table_ends_with_the_totals(spelling: str, run: Run, capsys: Capture) -> None:
    assert run(f"summary --model vgg16 {spelling} 64") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["Layer", "(type)", "Output", "Shape", "Param", "#"]
    assert out[3].split() == ["input_1", "(InputLayer)", "(None,", "64,", "64,", "3)", "0"]
    assert out[-2:] == ["[INFO]     Total number of layers : 23", "_" * 65]
    assert "Total params: 15,239,489" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model vgg", "Model 'vgg' is unknown; valid are basic, vgg16, transfer, sequential"),
        ("--model vgg16 --image_size 20", "image_size 20 is too small for VGG16; give 32 or more"),
        ("--image_size 100000000", "--image_size 100000000: valid is a whole number above 0"),
        ("--image_size -3", "--image_size -3: valid is a whole number above 0"),
    ],
)
def test_a_wrong_option_is_one_line(words: str, message: str, run: Run, capsys: Capture) -> None:
    assert run(f"summary {words}") == UsageError.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
