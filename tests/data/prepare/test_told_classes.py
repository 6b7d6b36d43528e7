"""Sources that tell each photograph's class: Parquet as on the Hugging Face Hub, WebDataset's tars, a CSV."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from catdog_pl.io.parquet import picture_rows
from tests.conftest import Run
from tests.data.prepare.photographs import counts, draw, manifest, photos, picture

Capture = pytest.CaptureFixture[str]

HUB_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def content(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "JPEG")
    return file.getvalue()


def notes(column: str, names: Any) -> dict[str, str]:
    """What the package ``datasets`` writes into the schema."""
    return {"huggingface": json.dumps({"info": {"features": {column: {"names": names}}}})}


def hub_file(path: Path, numbers: Sequence[int], labels: Any, column: str = "labels", **note: str) -> Path:
    """A file of the Hub with these pictures and labels."""
    images = [{"bytes": content(number), "path": None} for number in numbers]
    table = pa.table({"image": pa.array(images, HUB_IMAGE), column: labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata(note), path, row_group_size=3)
    return path


def shard(path: Path, members: dict[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            data = data.encode() if isinstance(data, str) else data
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def used(root: Path = Path("data")) -> dict[str, str]:
    """Source -> class, of the photographs that are in a split."""
    return {row["source"]: row["class"] for row in manifest(root) if row["split"]}


def rejected(root: Path = Path("data")) -> dict[str, tuple[str, str]]:
    return {row["source"]: (row["verdict"], row["reason"]) for row in manifest(root) if not row["split"]}


def test_parquet_of_the_hub_is_read_with_its_class_names(run: Run) -> None:
    hub_file(Path("pets.parquet"), range(10), [0, 1] * 5, **notes("labels", ["cat", "dog"]))
    assert run("prepare pets.parquet") == 0
    assert used() == {f"pets.parquet/{n}.jpg": ["cat", "dog"][n % 2] for n in range(10)}
    taken = {path.read_bytes() for path in Path("data").glob("*/*/*.jpg")}
    assert taken == {content(n) for n in range(10)}


def test_a_name_in_parquet_is_only_a_name(run: Run) -> None:
    names = ["../../cat.0.jpg", "a\\b\\1.jpg", "x.zip", ".2.jpg", "", "/etc/5.jpg"]
    images = [{"bytes": content(n), "path": name} for n, name in enumerate(names)]
    parquet.write_table(pa.table({"image": images, "label": ["cat", "dog"] * 3}), "a.parquet")
    assert run("prepare a.parquet") == 0
    files = ["cat.0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert [*used()] == sorted(f"a.parquet/{file}" for file in files)


def test_an_archive_beside_photographs_is_passed_by(run: Run) -> None:
    for n in range(6):
        draw(Path(f"pets/{('cat', 'dog')[n % 2]}/{n}.png"), n)
    shard(Path("pets/more.tar"), {"cat/7.jpg": content(7)})
    assert run("prepare pets") == 0
    assert rejected().keys() == {"pets/more.tar"}


def test_shards_of_a_split_keep_it(run: Run) -> None:
    names = notes("label", ["PetImages_Cat", "Dogs", "Cat"])
    hub_file(Path("hub/data/train-00000-of-00002.parquet"), range(6), [2, 1] * 3, "label", **names)
    hub_file(Path("hub/data/train-00001-of-00002.parquet"), range(6, 9), [2, 1, 0], "label", **names)
    hub_file(Path("hub/data/test-00000-of-00001.parquet"), range(9, 13), [2, 1] * 2, "label", **names)
    Path("hub/README.md").write_text("about")
    assert run("prepare hub") == 0
    assert counts(Path("data")) == {
        "train/cat": 3, "train/dog": 3,
        "validation/cat": 1, "validation/dog": 1,
        "test/cat": 2, "test/dog": 2,
    }  # fmt: skip
    assert rejected() == {
        "hub/data/train-00001-of-00002.parquet/2.jpg": (
            "no class", "PetImages_Cat is neither of the two classes"
        )
    }  # fmt: skip
    hub_file(Path("hub/data/test-00000-of-00001.parquet"), range(9, 11), [2, 1], "label", **names)
    assert run("prepare hub") == 1  # other content: not the same as before


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["Cat", "Dog"] * 3, pa.string()),
        (["cat", "dog"] * 3, pa.dictionary(pa.int8(), pa.string())),
        ([0, 1] * 3, pa.int8()),
        ([None] * 6, pa.int64()),
    ],
    ids=["words", "dictionary", "numbers without names", "none: by the file's name"],
)
def test_labels_of_parquet_are_words_or_numbers(run: Run, labels: list[Any], kind: pa.DataType) -> None:
    table = pa.table(
        {
            "image": [
                {"bytes": content(n), "path": f"C:\\x\\{('cat', 'dog')[n % 2]}.{n}.jpg"} for n in range(6)
            ],
            "label": pa.array(labels, kind),
        }
    )
    parquet.write_table(table, "a.parquet")
    assert run("prepare a.parquet") == 0
    assert used() == {f"a.parquet/{name}.{n}.jpg": name for n, name in enumerate(["cat", "dog"] * 3)}


def test_plain_bytes_are_pictures_too_and_bad_rows_are_listed(run: Run) -> None:
    png = io.BytesIO()
    picture(7).save(png, "PNG")
    bad = [
        (b"", "cat"),
        (None, "cat"),
        (b"no picture", "dog"),
        (content(8)[:900], "dog"),
        (content(9), "fish"),
    ]
    rows = [*((content(n), ("cat", "dog")[n % 2]) for n in range(7)), *bad, (png.getvalue(), "dog")]
    pictures, labels = zip(*rows, strict=True)
    parquet.write_table(pa.table({"image": pictures, "label": labels}), "a.parquet")
    assert run("prepare a.parquet") == 0
    assert len(used()) == 8
    assert used()["a.parquet/12.png"] == "dog"
    assert {name.partition("/")[2]: verdict for name, (verdict, _) in rejected().items()} == {
        "7.jpg": "empty", "8.jpg": "unreadable", "9.jpg": "not an image", "10.jpg": "truncated",
        "11.jpg": "no class",
    }  # fmt: skip
    assert rejected()["a.parquet/8.jpg"][1] == "its row has no bytes"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"picture": [b""], "b\n": [1]}, "it has no column image; its columns are picture, b\\n"),
        ({"image": [1.5]}, "its column image holds double, neither bytes nor structs with the field bytes"),
        ({"image": [{"path": "a"}]}, "its column image holds struct<path: string>, neither"),
        ({"image": [b""], "label": [[1]]}, "its column label holds list<element: int64>, neither words"),
        ({"image": [b""], "label": [1.0]}, "its column label holds double, neither words nor whole numbers"),
    ],
)
def test_other_tables_are_refused_in_one_line(
    run: Run, capsys: Capture, columns: dict[str, Any], said: str
) -> None:
    parquet.write_table(pa.table(columns), "a.parquet")
    assert run("prepare a.parquet") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"[ERROR]    a.parquet cannot be unpacked: {said}")
    assert error.count("\n") == 1
    assert not Path("data").exists()


def test_damaged_parquet_is_refused_in_one_line(run: Run, capsys: Capture) -> None:
    whole = hub_file(Path("a.parquet"), range(4), [0, 1] * 2).read_bytes()
    step = len(whole) // 40
    for place in range(4, len(whole), step):  # each may hit a length, an offset, or a picture
        damaged = whole[:place] + b"\xff" * 9 + whole[place + 9 :]
        for data in (damaged, whole[:place]):
            Path("a.parquet").write_bytes(data)
            assert run("prepare a.parquet --overwrite") in (0, 1)
            assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize("error", [pa.ArrowKeyError("no such\nkey"), MemoryError("no such")])
def test_what_pyarrow_raises_is_one_line(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    hub_file(Path("a.parquet"), [1], [1])
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", fail)
    assert run("prepare a.parquet") == 1
    assert capsys.readouterr().err == "[ERROR]    a.parquet cannot be unpacked: no such\n"


def test_a_group_that_takes_too_much_memory_is_not_read(run: Run, capsys: Capture) -> None:
    zeros = pa.array([bytes(2**20)], pa.binary())
    table = pa.table({"image": pa.chunked_array([zeros] * 1100), "label": [0, 1] * 550})
    parquet.write_table(table, "a.parquet", compression="zstd", use_dictionary=False)
    assert Path("a.parquet").stat().st_size < 10**6
    assert run("prepare a.parquet") == 1
    assert "more than 1,073,741,824, the limit; write it with smaller ones" in capsys.readouterr().err


def test_class_names_that_are_none_are_passed_over() -> None:
    for names in ({"0": "cat"}, "cat", None, [1, 2]):
        path = hub_file(Path("a.parquet"), [1], [0], **notes("labels", names))
        assert [row.label for row in picture_rows(path)] == ["1" if names == [1, 2] else "0"]
    for text in ("[" * 10**5, "{}", "\0"):
        path = hub_file(Path("a.parquet"), [1, 2], [-1, None], huggingface=text)
        assert [row.label for row in picture_rows(path)] == ["-1", None]


def test_parquet_names_what_is_not_installed(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_file(Path("a.parquet"), [1], [1])

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("catdog_pl.io.parquet.import_module", missing)
    assert run("prepare a.parquet") == 2
    said = "[ERROR]    Parquet needs pyarrow, which is not installed: pip install 'catdog_pl[parquet]'\n"
    assert capsys.readouterr().err == said


def test_webdataset_has_its_classes_beside_the_photographs(run: Run) -> None:
    members: dict[str, bytes | str] = {}
    for n in range(6):  # the class before or after the photograph, in either form
        label = ("json", f'{{"label": {n % 2}}}') if n < 2 else ("cls", f"{n % 2}\n")
        files: list[tuple[str, bytes | str]] = [("jpg", content(n)), ("txt", "a caption"), label]
        members |= {f"a/{n:06d}.{end}": data for end, data in (files if n % 3 else reversed(files))}
    shard(Path("wds/train-000000.tar"), members)
    more = {f"{n}.{end}": value for n in (6, 7) for end, value in (("jpg", content(n)), ("cls", str(n % 2)))}
    shard(Path("wds/train-000001.tar"), {**more, "8.jpg": content(8), "9.cls": "dog"})
    assert run("prepare wds") == 0
    assert {Path(name).stem: label for name, label in used().items()} == {
        **{f"{n:06d}": ("cat", "dog")[n % 2] for n in range(6)},
        "6": "cat", "7": "dog",
    }  # fmt: skip
    verdicts = [verdict for verdict, _ in rejected().values()]
    assert sorted(verdicts) == ["no class", *["passed by"] * 6]


@pytest.mark.parametrize("ending", ["cls", "json"])
@pytest.mark.parametrize(
    "text", ["", "\xff", "[" * 10**5, "x" * 10**6, '{"label": []}', "\0", "7\nx", "../../x"]
)
def test_what_is_no_class_is_none_or_left_out(run: Run, capsys: Capture, ending: str, text: str) -> None:
    sound = {f"{n}.{end}": v for n in range(6) for end, v in (("jpg", content(n)), ("cls", str(n % 2)))}
    shard(Path("a.tar"), {**sound, "x.jpg": content(7), f"x.{ending}": text.encode("latin-1")})
    assert run("prepare a.tar") in (0, 1)
    assert all(len(line) < 500 and line.isprintable() for line in capsys.readouterr().out.splitlines())
    assert {Path(name).parts[1] for name in photos(Path("data"))} == {"cat", "dog"}


def test_numbers_that_are_not_two_are_named_by_classes(run: Run, capsys: Capture) -> None:
    shard(
        Path("a.tar"),
        {f"{n}.{end}": v for n in range(9) for end, v in (("jpg", content(n)), ("cls", str(n % 3)))},
    )
    assert run("prepare a.tar") == 1
    assert "found are 0 (3), 1 (3), 2 (3). --classes A B names two folders" in capsys.readouterr().err
    assert run("prepare a.tar --classes 0 2") == 0
    assert {*used().values()} == {"0", "2"}
    assert "Left out as of neither class: 1 (3)" in capsys.readouterr().out


def test_classes_name_the_numbers_0_and_1(run: Run) -> None:
    hub_file(Path("a.parquet"), range(6), [1, 0] * 3)
    assert run("prepare a.parquet --classes apple pear") == 0
    assert used() == {f"a.parquet/{n}.jpg": ("pear", "apple")[n % 2] for n in range(6)}


@pytest.mark.parametrize(
    ("heading", "delimiter"), [("filename,label", ","), ("\ufeffID;X;Class", ";"), ("image\tlabels", "\t")]
)
def test_a_csv_names_photographs_and_their_classes(run: Run, heading: str, delimiter: str) -> None:
    rows = [heading]
    for n in range(6):
        draw(Path(f"pets/train/{n}.png"), n)
        name = f"train/{n}" if "ID" in heading else f"train/{n}.png"  # Kaggle's id has no ending
        rows.append(delimiter.join([name, *["x"] * ("X" in heading), ("cat", "dog")[n % 2]]))
    Path("pets/labels.csv").write_text("\n".join([*rows, "", ""]), encoding="utf-8")
    draw(Path("pets/train/unnamed.png"), 99)
    assert run("prepare pets/labels.csv") == 0
    assert used() == {f"pets/train/{n}.png": ("cat", "dog")[n % 2] for n in range(6)}
    Path("pets/labels.csv").write_text("\n".join(rows[:5]), encoding="utf-8")
    assert run("prepare pets/labels.csv") == 1  # the labels have changed: not the same as before
    Path("pets/labels.csv").write_text("\n".join(rows), encoding="utf-8")
    assert run("prepare pets/labels.csv --overwrite") == run("prepare pets/labels.csv") == 0
    draw(Path("pets/train/0.png"), 77)
    assert run("prepare pets/labels.csv") == 1  # nor is a photograph


def test_the_csv_counts_not_the_folder_and_splits_are_kept(run: Run) -> None:
    rows = ["filename,label"]
    for n in range(8):
        name = draw(Path(f"{('train', 'test')[n // 4]}/{('dog', 'cat')[n % 2]}/cat.{n}.png"), n)
        rows.append(f"{name},{('apple', 'pear')[n % 2]}")
    Path("labels.csv").write_text("\n".join(rows), encoding="utf-8")
    assert run("prepare labels.csv") == 0
    assert {row["split"]: row["class"] for row in manifest(Path("data"))}.keys() >= {"train", "test"}
    assert {*used().values()} == {"apple", "pear"}
    assert counts(Path("data"))["test/pear"] == 2


def test_bad_rows_of_a_csv_are_listed(run: Run, tmp_path: Path) -> None:
    sound = [f"{draw(Path(f'{n}.jpg'), n)},{('cat', 'dog')[n % 2]}" for n in range(6)]
    # A path of this machine is as good as a name.
    sound += [f"{draw(tmp_path / 'else' / f'{n}.jpg', n)},{label}" for n, label in ((8, "cat"), (9, "dog"))]
    bad = ["gone.jpg,cat", ",dog", "6.jpg,fish", "labels.csv,dog", "7.jpg", "a\0b,cat"]
    draw(Path("6.jpg"), 6), draw(Path("7.jpg"), 7)
    Path("labels.csv").write_text("\n".join(["id,label", *sound, *bad]), encoding="utf-8")
    assert run("prepare labels.csv") == 0
    assert len(used()) == 8
    home = Path.cwd().name
    assert rejected() == {
        f"{home}/gone.jpg": ("unreadable", "there is no such file"),
        f"{home}/": ("unreadable", "it is a folder, not a file"),
        f"{home}/6.jpg": ("no class", "fish is neither of the two classes"),
        f"{home}/labels.csv": ("not an image", rejected()[f"{home}/labels.csv"][1]),
        f"{home}/7.jpg": ("no class", f"neither its folder, {home}, nor its name tells its class"),
        f"{home}/a\\x00b": ("unreadable", rejected()[f"{home}/a\\x00b"][1]),
    }


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (
            "",
            1,
            "labels.csv is no table of photographs: its first line must name a column filename|file_name|",
        ),
        ("file,what\na,b\n", 1, "and a column label|labels|class"),
        ("file,label\n", 1, "labels.csv: there is no photograph in it"),
        (
            "file,label\n" + "a" * 200_000,
            1,
            "labels.csv cannot be read as CSV: field larger than field limit",
        ),
        ("file,label\na.jpg,cat\n", 1, "two classes are needed"),
    ],
)
def test_a_csv_that_is_none_is_one_line(run: Run, capsys: Capture, text: str, code: int, said: str) -> None:
    Path("labels.csv").write_text(text, encoding="utf-8")
    assert run("prepare labels.csv") == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert run(f"prepare labels.csv --sha256 {'0' * 64}") == 2
    assert "--sha256 is that of one archive" in capsys.readouterr().err
