import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catdog_pl.__main__ import main
from catdog_pl.data.splits import SPLITS


def picture(number: int) -> Image.Image:
    """A photograph of its own: no two numbers look alike, not even to a perceptual hash."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)


def draw(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)
    return path


def kaggle(folder: Path, count: int = 31) -> Path:
    for number in range(count):
        draw(folder / "train" / f"cat.{number}.jpg", number)
        draw(folder / "train" / f"dog.{number}.jpg", 10_000 + number)
    return folder


def contents(root: Path) -> dict[str, str]:
    """Every file under root, hidden ones too, with its hash."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def photos(root: Path) -> dict[str, str]:
    return {name: sha for name, sha in contents(root).items() if name.split("/")[0] in SPLITS}


def counts(root: Path) -> dict[str, int]:
    return {
        f"{split}/{label.name}": len(list(label.iterdir()))
        for split in SPLITS
        for label in sorted((root / split).iterdir())
    }


def zipped(folder: Path, archive: Path, names: list[Path]) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.write(name, name.relative_to(folder))
    return archive


def test_a_kaggle_folder_keeps_the_workshops_proportions_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = kaggle(tmp_path / "photos")
    assert main(["prepare", str(source), "--root", str(tmp_path / "data")]) == 0
    assert counts(tmp_path / "data") == {
        "train/cat": 20, "train/dog": 20,
        "validation/cat": 10, "validation/dog": 10,
        "test/cat": 1, "test/dog": 1,
    }  # fmt: skip
    out = capsys.readouterr().out
    assert "20 / 10 / 1" in out
    assert "2000 / 1000 / 100" in out


def test_the_split_depends_on_content_and_seed_alone(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "photos")
    names = sorted((source / "train").iterdir())
    archive = zipped(source, tmp_path / "shuffled.zip", names[::-1])
    for root, given, seed in (("a", source, "2018"), ("b", archive, "2018"), ("c", source, "2019")):
        assert main(["prepare", str(given), "--root", str(tmp_path / root), "--seed", seed]) == 0
    assert photos(tmp_path / "a") == photos(tmp_path / "b")
    assert photos(tmp_path / "a") != photos(tmp_path / "c")


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "photos")
    before = contents(source)
    main(["prepare", str(source), "--root", str(tmp_path / "data")])
    assert contents(source) == before


def test_an_existing_folder_is_left_alone_until_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, root = kaggle(tmp_path / "photos"), tmp_path / "data"
    mine = draw(root / "train" / "cat" / "mine.jpg", 1)
    assert main(["prepare", str(source), "--root", str(root)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("[ERROR]")
    assert "--overwrite" in error
    assert list(contents(root)) == ["train/cat/mine.jpg"]
    assert main(["prepare", str(source), "--root", str(root), "--overwrite"]) == 0
    assert not mine.exists()
    assert sum(counts(root).values()) == 62


def test_nothing_is_left_in_the_root_but_the_result(tmp_path: Path) -> None:
    source, root = kaggle(tmp_path / "photos"), tmp_path / "data"
    archive = zipped(source, tmp_path / "photos.zip", sorted((source / "train").iterdir()))
    main(["prepare", str(archive), "--root", str(root)])
    assert not [name for name in contents(root) if name.startswith(".")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "'nowhere'"),
        (["photos/train/cat.0.jpg"], 2, "is one photograph"),
        (["photos", "--sizes", "0", "0", "0"], 2, "--sizes 0 0 0"),
        (["empty"], 1, "empty"),
        (["cats"], 1, "cat"),
        (["no.zip"], 1, "no.zip"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    kaggle(Path("photos"), 5)
    Path("empty").mkdir()
    draw(Path("cats/0.jpg"), 0)
    Path("no.zip").write_bytes(b"not a zip")
    assert main(["prepare", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("data/train").exists()


def test_help_is_quick_because_torch_is_not_imported() -> None:
    code = (
        "import sys; from catdog_pl.__main__ import main\n"
        "try: main(['prepare', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
