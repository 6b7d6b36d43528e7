import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catdog_pl.data.prepare.placement import safe_label
from catdog_pl.data.prepare.relabel import COLUMNS, read_relabel, write_relabel
from catdog_pl.errors import CatDogError
from tests.conftest import Run
from tests.data.prepare.photographs import contents, counts, draw, kaggle, manifest, photos, picture, zipped

Capture = pytest.CaptureFixture[str]

CAT, DOG, THIRD = "photos/train/cat.3.jpg", "photos/train/dog.4.jpg", "photos/train/cat.5.jpg"


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def corrections(changes: dict[str, str], name: str = "mistakes.csv") -> Path:
    """A table that gives each of these files its change."""
    rows = "".join(f"{sha256(path)},{change}\n" for path, change in changes.items())
    Path(name).write_text(f"sha256,change\n{rows}", encoding="utf-8")
    return Path(name)


def accept(path: Path) -> None:
    """Take every suggestion of a model's, as a person may in a spreadsheet."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(row | {"change": row["suggestion"]} for row in rows)


def listed(root: str = "data") -> dict[str, dict[str, str]]:
    """The rows of the manifest, by the name of the source's file."""
    return {row["source"].rpartition("/")[2]: row for row in manifest(Path(root))}


@pytest.fixture
def twenty() -> Path:
    return kaggle(Path("photos"), 20)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_photographs_change_their_class_or_are_left_out(
    twenty: Path, run: Run, capsys: Capture, packed: bool
) -> None:
    source = zipped(twenty, Path("photos.zip")) if packed else twenty
    corrections({CAT: "dog", DOG: "drop"})
    assert run(f"prepare {source} --fractions 0.6 0.2 0.2") == 0
    before = listed()
    capsys.readouterr()
    assert run(f"prepare {source} --fractions 0.6 0.2 0.2 --overwrite --relabel mistakes.csv") == 0
    said = capsys.readouterr().out
    assert "Found 40 photographs (19 cat, 21 dog), used 39." in said
    assert "       1  relabelled       used, in the class that --relabel gives\n" in said
    assert "       1  dropped          as --relabel asks\n" in said
    after = listed()
    changed = after.pop("cat.3.jpg")
    assert changed["split"] == before["cat.3.jpg"]["split"]
    assert (changed["class"], changed["verdict"]) == ("dog", "relabelled")
    assert changed["reason"] == "cat in its source, dog in mistakes.csv"
    assert changed["file"] == f"{changed['split']}/dog/cat.3.jpg"
    assert sha256(Path("data", changed["file"])) == sha256(CAT)
    dropped = after.pop("dog.4.jpg")
    assert (dropped["file"], dropped["split"]) == ("", "")
    assert (dropped["verdict"], dropped["reason"]) == ("dropped", "drop in mistakes.csv")
    assert after.items() <= before.items()
    report = Path("data/report.md").read_text(encoding="utf-8")
    assert "## relabelled: 1\n\nUsed: in the class that --relabel gives.\n" in report
    assert "## dropped: 1\n\nLeft out: as --relabel asks.\n" in report


def test_with_sizes_every_photograph_that_is_used_again_keeps_its_split(twenty: Path, run: Run) -> None:
    corrections({CAT: "dog", DOG: "drop", THIRD: "dog"})
    assert run("prepare photos") == 0
    before = listed()
    assert run("prepare photos --overwrite --relabel mistakes.csv") == 0
    used = {name: row["split"] for name, row in listed().items() if row["split"]}
    assert len(used) == 35  # 18 cats are left, of which one does not fit into the smaller test split
    assert used.items() <= {name: row["split"] for name, row in before.items()}.items()


def test_the_same_corrections_again_are_nothing_to_do_and_others_are(
    twenty: Path, run: Run, capsys: Capture
) -> None:
    line = "prepare photos --relabel mistakes.csv"
    corrections({CAT: "dog"})
    assert run(line) == 0
    before = contents(Path("data"))
    corrections({CAT: "Dog"}, "copy.csv")
    assert run("prepare photos --relabel copy.csv") == 0
    assert "nothing to do" in capsys.readouterr().out
    corrections({CAT: "dog", DOG: "drop"})
    assert run(line) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run("prepare photos") == 1
    assert contents(Path("data")) == before
    assert run(f"{line} --overwrite") == 0
    assert listed()["dog.4.jpg"]["verdict"] == "dropped"


def test_a_receipt_without_corrections_is_as_it_was_before_there_were_any(twenty: Path, run: Run) -> None:
    assert run("prepare photos") == 0
    assert "relabel" not in json.loads(Path("data/prepare.json").read_text(encoding="utf-8"))["asked"]


def test_a_prepared_folder_can_be_corrected_into_another(twenty: Path, run: Run, capsys: Capture) -> None:
    assert run("prepare photos") == 0
    name = next(name for name in photos(Path("data")) if name.startswith("test/cat"))
    other = next(name for name in photos(Path("data")) if name.startswith("train/dog"))
    corrections({f"data/{name}": "dog", f"data/{other}": "drop"})
    assert run("prepare data --root data2 --strict --relabel mistakes.csv") == 0
    assert {row["verdict"] for row in manifest(Path("data2"))} == {"ok", "relabelled", "dropped"}
    expected = photos(Path("data"))
    expected[name.replace("test/cat", "test/dog")] = expected.pop(name)
    del expected[other]
    assert photos(Path("data2")) == expected
    capsys.readouterr()
    assert run("prepare --check data2") == 0
    assert run("prepare data2 --root data3") == 0  # the folder counts, not the name cat.N.jpg
    assert photos(Path("data3")) == expected


def test_a_photograph_in_both_classes_is_used_when_its_class_is_given(twenty: Path, run: Run) -> None:
    shutil.copy(CAT, "photos/train/dog.77.jpg")
    picture(5).resize((130, 100)).save("photos/train/dog.78.jpg")  # looks like cat.5.jpg
    assert run("prepare photos --fractions 0.6 0.2 0.2") == 0
    before = listed()
    names = ("cat.3.jpg", "dog.77.jpg", "cat.5.jpg", "dog.78.jpg")
    assert {before[name]["verdict"] for name in names} == {"two classes"}
    corrections({CAT: "cat", "photos/train/dog.78.jpg": "cat"})
    assert run("prepare photos --fractions 0.6 0.2 0.2 --overwrite --relabel mistakes.csv") == 0
    after = listed()
    assert [after[name]["verdict"] for name in names] == [
        "ok", "duplicate", "near duplicate", "relabelled",
    ]  # fmt: skip
    assert after["dog.78.jpg"]["reason"] == (
        "dog in its source, cat in mistakes.csv; looks like photos/train/cat.5.jpg: kept in one split"
    )
    assert after["cat.5.jpg"]["split"] == after["dog.78.jpg"]["split"]


def test_a_new_label_can_bring_a_photograph_into_both_classes(twenty: Path, run: Run) -> None:
    picture(5).resize((130, 100)).save("photos/train/cat.78.jpg")
    corrections({"photos/train/cat.78.jpg": "dog"})
    assert run("prepare photos --relabel mistakes.csv") == 0
    assert {listed()[name]["verdict"] for name in ("cat.5.jpg", "cat.78.jpg")} == {"two classes"}


def test_strict_takes_what_was_corrected(twenty: Path, run: Run) -> None:
    corrections({CAT: "dog", DOG: "drop"})
    assert run("prepare photos --strict --relabel mistakes.csv") == 0


def test_photographs_that_are_not_there_are_counted(twenty: Path, run: Run, capsys: Capture) -> None:
    draw(Path("elsewhere/a.jpg"), 400)
    draw(Path("elsewhere/b.jpg"), 401)
    corrections({CAT: "dog", "elsewhere/a.jpg": "cat", "elsewhere/b.jpg": "drop"})
    assert run("prepare photos --relabel mistakes.csv") == 0
    assert "Not in the source: 2 of 3 photographs in mistakes.csv.\n" in capsys.readouterr().out


def test_a_damaged_photograph_stays_what_it_is(twenty: Path, run: Run) -> None:
    Path(CAT).write_bytes(b"\xff\xd8 damaged")
    Path(DOG).write_bytes(b"\xff\xd8 damaged, too")
    corrections({CAT: "dog", DOG: "drop"})
    assert run("prepare photos --relabel mistakes.csv") == 0
    for name in ("cat.3.jpg", "dog.4.jpg"):
        assert (listed()[name]["class"], listed()[name]["verdict"]) == (name[:3], "unreadable")


def test_a_wrong_extension_stays_known(twenty: Path, run: Run) -> None:
    picture(3).save(CAT, "PNG")
    corrections({CAT: "dog"})
    assert run("prepare photos --fractions 0.6 0.2 0.2 --relabel mistakes.csv") == 0
    row = listed()["cat.3.jpg"]
    assert (row["class"], row["verdict"]) == ("dog", "wrong extension")
    assert row["reason"] == (
        "its content is PNG; used under the ending .png; cat in its source, dog in mistakes.csv"
    )


def test_drop_may_be_the_name_of_a_class(run: Run) -> None:
    for number in range(6):
        draw(Path("photos/drop") / f"{number}.jpg", number)
        draw(Path("photos/leaf") / f"{number}.jpg", 100 + number)
    corrections({"photos/leaf/2.jpg": "drop"})
    assert run("prepare photos --sizes 2 2 1 --relabel mistakes.csv") == 0
    assert sum(row["class"] == "drop" for row in manifest(Path("data"))) == 7


@pytest.mark.parametrize(
    ("table", "code", "said"),
    [
        (None, 2, "--relabel mistakes.csv: there is no such file"),
        ("", 1, "mistakes.csv is no table of corrections: its first line must name the columns sha256 and"),
        ("file,sha256,class\na,b,c\n", 1, "is no table of corrections"),
        ("\0\1\2\xff" * 9999, 1, "is no table of corrections"),
        ("sha256,change\n\0\1\2\xff", 0, ""),
        ("sha256,change\n" + "a" * 200_000, 1, "mistakes.csv cannot be read as CSV: field larger"),
        (
            "sha256,change\nab,cta\n",
            1,
            "mistakes.csv: 'cta' is not a class; give a photograph cat or dog, drop to leave it out, or"
            " nothing to leave it as it is",
        ),
        (
            "file,sha256,change\na.jpg,ab,cat\nb.jpg,AB,cat\na.jpg,ab,drop\n",
            1,
            "mistakes.csv, line 4: the photograph a.jpg is to be cat and drop; keep one of its rows",
        ),
    ],
)
def test_tables_that_cannot_be_used_are_one_line(
    twenty: Path, run: Run, capsys: Capture, table: str | None, code: int, said: str
) -> None:
    if table is not None:
        Path("mistakes.csv").write_bytes(table.encode("latin-1"))
    assert run("prepare photos --relabel mistakes.csv") == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == (code > 0)
    assert Path("data").exists() == (code == 0)


def test_a_folder_is_no_table(twenty: Path, run: Run, capsys: Capture) -> None:
    assert run("prepare photos --relabel photos") == 2
    assert "--relabel photos: it is a folder\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "form",
    [
        'file;"sha256";class;change\r\nx;"{a}";cat;dog\r\n;{b};;\r\n;;;\r\n',
        "\ufeffchange,sha256\n dog ,{a}\n\n,{b}\n",
        "sha256\tchange\n{A}\tDOG\n{b}\n",
    ],
    ids=["semicolons", "byte order mark", "tabs"],
)
def test_tables_are_read_as_spreadsheets_save_them(form: str) -> None:
    text = form.format(a="ab" * 32, A="AB" * 32, b="cd" * 32)
    Path("mistakes.csv").write_text(text, encoding="utf-8", newline="")
    assert read_relabel(Path("mistakes.csv")) == {"ab" * 32: "dog"}


def answers(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["file", "true", "predicted"])
    return table.assign(probability=0.25, logit=-1.0)


ODD = ["a,b.jpg", "=1+1.jpg", "semi;colon.jpg"]
ODD += [] if sys.platform == "win32" else ['"quoted".jpg', "line\nbreak.jpg", "carriage\rreturn.jpg"]


def test_what_is_written_can_be_edited_and_read() -> None:
    for number, name in enumerate(ODD):
        draw(Path("data/test/cat/temporary.jpg"), number).rename(Path("data/test/cat", name))
    rows = [(f"test/cat/{name}", "cat", "dog") for name in ODD]
    path = Path("mistakes.csv")
    gone = ("test/cat/gone.jpg", "cat", "dog")
    assert write_relabel(path, Path("data"), answers([*rows, gone])) == len(ODD)
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    assert table == [
        dict(zip(COLUMNS, (name, sha256(Path("data", name)), "cat", "0.25", "dog", ""), strict=True))
        for name, *_ in rows
    ]
    assert read_relabel(path) == {}  # a suggestion is no change
    accept(path)
    assert read_relabel(path) == {sha256(Path("data", name)): "dog" for name, *_ in rows}
    before = path.read_bytes()
    with pytest.raises(CatDogError, match=r"^mistakes.csv exists already; it may hold your corrections; "):
        write_relabel(path, Path("data"), answers(rows))
    assert path.read_bytes() == before


def test_no_row_is_a_table_too() -> None:
    assert write_relabel(Path("new/mistakes.csv"), Path("data"), answers([])) == 0
    assert read_relabel(Path("new/mistakes.csv")) == {}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(names=st.lists(TEXT, min_size=1, max_size=4))
def test_any_class_survives(names: list[str]) -> None:
    rows = []
    for number, name in enumerate(names):
        Path(f"{number}.jpg").write_bytes(bytes([number]))
        rows.append((f"{number}.jpg", "cat", name))
    Path("mistakes.csv").unlink(missing_ok=True)
    write_relabel(Path("mistakes.csv"), Path(), answers(rows))
    accept(Path("mistakes.csv"))
    expected = {sha256(file): safe_label(name.strip()) for file, _, name in rows if name.strip()}
    assert read_relabel(Path("mistakes.csv")) == expected


def test_what_a_model_wrote_is_taken_by_prepare(twenty: Path, run: Run) -> None:
    assert run("prepare photos") == 0
    names = [name for name in photos(Path("data")) if name.startswith(("test/", "validation/"))][::3]
    classes = [name.split("/")[1] for name in names]
    rows = [(n, c, "dog" if c == "cat" else "cat") for n, c in zip(names, classes, strict=True)]
    write_relabel(Path("mistakes.csv"), Path("data"), answers(rows))
    accept(Path("mistakes.csv"))
    assert run("prepare data --root data2 --relabel mistakes.csv") == 0
    assert counts(Path("data")) != counts(Path("data2"))
    for name, old, new in rows:
        assert Path("data2", name.replace(f"/{old}/", f"/{new}/", 1)).is_file()
