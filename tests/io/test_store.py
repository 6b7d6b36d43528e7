"""Pictures in an S3 server of this machine, and what a store may hold of ill will."""

import hashlib
import importlib
import logging
import pickle
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
import s3fs
import torch
from moto.server import ThreadedMotoServer

from catdog_pl.errors import CatDogError, ImageError, UsageError
from catdog_pl.io import store
from catdog_pl.io.inputs import expand
from catdog_pl.io.source import WebOptions
from catdog_pl.io.store import download_file, download_pictures, open_store, read_store
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import save_checkpoint
from tests.conftest import Run, draw_layout
from tests.data.prepare.photographs import draw, kaggle

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, photos: Path) -> Any:
    """A bucket ``pets`` with a prepared folder's test photographs."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = s3fs.S3FileSystem()
    if not bucket.exists("pets"):
        bucket.mkdir("pets")
        bucket.put(str(photos / "test"), "pets/photos", recursive=True)
        bucket.pipe("pets/photos/.hidden/cat.1.jpg", b"x")
        bucket.pipe("pets/photos/notes.txt", b"x")
        bucket.pipe("pets/empty.jpg", b"")
    return bucket


def names(*inputs: str) -> list[str]:
    return [source.name for source in expand(inputs, WebOptions())]


def test_a_folder_of_a_bucket_is_walked_as_one_of_a_disk(bucket: Any, photos: Path) -> None:
    found = list(expand(["s3://pets/photos/"], WebOptions()))
    expected = sorted(path.relative_to(photos / "test").as_posix() for path in photos.glob("test/*/*.jpg"))
    assert [source.name for source in found] == [f"s3://pets/photos/{name}" for name in expected]
    first = pickle.loads(pickle.dumps(found[0]))  # worker processes read it too
    assert first.read() == (photos / "test" / expected[0]).read_bytes()
    assert names("s3://pets/photos/cat/cat.0.jpg") == ["s3://pets/photos/cat/cat.0.jpg"]


def test_predict_answers_a_bucket_as_the_folder_itself(
    bucket: Any, photos: Path, run: Run, own_folder: Path, capsys: Capture
) -> None:
    torch.manual_seed(0)
    save_checkpoint(Basic(image_size=32), own_folder / "best.ckpt")
    for source in ("s3://pets/photos", photos / "test"):
        assert run("predict --format csv --ckpt_path best.ckpt", source) == 0
    out = capsys.readouterr().out
    assert out.replace("s3://pets/photos", str(photos / "test")).splitlines()[:7] == out.splitlines()[7:]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://pets/nothing", "there are no images in this folder"),
        ("s3://nobody/photos", "there are no images in this folder"),
        ("s3://pets/empty.jpg", "it is empty"),
    ],
)
def test_what_is_not_there_is_a_row_with_its_reason(
    url: str, reason: str, bucket: Any, run: Run, own_folder: Path, capsys: Capture
) -> None:
    save_checkpoint(Basic(image_size=32), own_folder / "best.ckpt")
    assert run("predict --ckpt_path best.ckpt", url) == 1
    line = capsys.readouterr().out
    assert reason in line
    assert line.count("\n") == 1


def test_a_store_that_refuses_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def isfile(self, _: str) -> bool:
            raise PermissionError("Forbidden")

    monkeypatch.setattr(store, "open_store", lambda _: (Refusing(), "pets"))
    (source,) = expand(["s3://pets"], WebOptions())
    with pytest.raises(ImageError, match="s3://pets: the store cannot be read: Forbidden"):
        source.read()


def test_prepare_takes_a_bucket(
    bucket: Any, run: Run, own_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    bucket.put(str(draw_layout(tmp_path / "raw", {"pets": 20}) / "pets"), "pets/raw", recursive=True)
    bucket.pipe("pets/raw/more.tar", b"")  # where there are pictures, archives are passed by
    assert run("prepare s3://pets/raw --root data") == 0
    assert len(list((own_folder / "data").glob("train/*/*.jpg"))) == 20
    for missing in ("s3://pets/none", "s3://nobody/pets.zip"):
        assert run(f"prepare {missing} --root other") == 1
        said = (
            f"{missing} cannot be read: there is no such file or folder, or these credentials may not see it"
        )
        assert capsys.readouterr().err == f"[ERROR]    {said}\n"


def pack(folder: Path, archive: str) -> Path:
    form = {"tar": "tar", "zip": "zip"}[archive.rpartition(".")[2]]
    return Path(shutil.make_archive(archive.rpartition(".")[0], form, folder))


@pytest.mark.parametrize("archive", ["pets.zip", "pets.tar"])
def test_prepare_takes_an_archive_of_a_bucket(
    archive: str, bucket: Any, run: Run, own_folder: Path, capsys: Capture
) -> None:
    packed = pack(kaggle(own_folder / "raw", 3), archive)
    bucket.put(str(packed), f"pets/{archive}")
    assert run(f"prepare s3://pets/{archive} --sha256", "0" * 64) == 1
    sha256 = hashlib.sha256(packed.read_bytes()).hexdigest()
    said = f"[ERROR]    s3://pets/{archive}: its SHA-256 is {sha256}, not {'0' * 64}\n"
    assert capsys.readouterr().err == said
    assert not (own_folder / "data").exists()
    assert run(f"prepare s3://pets/{archive} --sha256", sha256) == 0
    assert len(list(Path("data").glob("*/*/*.jpg"))) == 6
    assert f",s3://pets/{archive}/train/cat.0.jpg," in Path("data/manifest.csv").read_text("utf-8")
    assert not Path("data/.prepare").exists()
    assert run(f"prepare s3://pets/photos --root other --sha256 {sha256}") == 2
    assert "s3://pets/photos is a folder; --sha256 is that of one archive" in capsys.readouterr().err


def test_prepare_takes_the_shards_of_a_bucket(bucket: Any, run: Run, own_folder: Path) -> None:
    for number in range(12):
        draw(
            own_folder / ("train", "test")[number // 6] / f"{('cat', 'dog')[number % 2]}.{number}.jpg", number
        )
    for split in ("train", "test"):
        packed = pack(own_folder / split, f"{split}-000000.tar")
        bucket.put(str(packed), f"pets/shards/{packed.name}")
    bucket.pipe("pets/shards/README.md", b"about")
    assert run("prepare s3://pets/shards") == 0
    assert len(list(Path("data").glob("test/*/*.jpg"))) == 6
    assert len(list(Path("data").glob("*/*/*.jpg"))) == 12


class Breaking:
    """A bucket whose file breaks off at a place, once."""

    def __init__(self, bucket: Any, place: int) -> None:
        self.bucket, self.place, self.starts = bucket, place, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bucket, name)

    def open(self, *words: Any, **options: Any) -> Any:
        file, fetch = self.bucket.open(*words, **options), None
        fetch = file.read

        def read(size: int) -> bytes:
            self.starts.append(file.tell())
            if file.tell() >= self.place:
                self.place = 2**60
                raise ConnectionError("the line is dead")
            return bytes(fetch(size))

        file.read = read
        return file


def test_a_copy_goes_on_where_it_broke_off(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = random.Random(0).randbytes(2_500_000)
    bucket.pipe("pets/a.tar", content)
    breaking = Breaking(bucket, 2**20)
    monkeypatch.setattr(store, "open_store", lambda _: (breaking, "pets/a.tar"))
    copy = partial(download_file, "s3://pets/a.tar", tmp_path / "new" / "a", free_bytes=10**7, digest=None)
    with pytest.raises(CatDogError, match=r"the line is dead; 1,048,576 bytes are kept, run the same comm"):
        copy()
    copy()
    assert (tmp_path / "new" / "a").read_bytes() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]
    assert breaking.starts == [0, 2**20, 2**20, 2 * 2**20, len(content)]


def test_a_copy_begins_anew_where_the_file_has_changed(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.pipe("pets/b.tar", bytes(2_000_000))
    breaking = Breaking(bucket, 2**20)
    monkeypatch.setattr(store, "open_store", lambda _: (breaking, "pets/b.tar"))
    copy = partial(download_file, "s3://pets/b.tar", tmp_path / "b", digest=None)
    with pytest.raises(CatDogError, match="are kept"):
        copy(free_bytes=10**7)
    bucket.pipe("pets/b.tar", b"\1" * 2_000_000)
    copy(free_bytes=10**7)
    assert (tmp_path / "b").read_bytes() == b"\1" * 2_000_000
    with pytest.raises(
        CatDogError, match=r"s3://pets/b\.tar: 2,000,000 bytes are more than the disk has free"
    ):
        copy(free_bytes=1_999_999)


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.pipe("pets/changing/c.tar", bytes(1000))
    bucket.ls("pets/changing")  # which is remembered
    read = s3fs.core.S3File.read

    def read_before_a_change(file: Any, length: int) -> bytes:
        chunk = bytes(read(file, length))
        s3fs.S3FileSystem(skip_instance_cache=True).pipe(file.path, b"\1" * 1000)
        return chunk

    monkeypatch.setattr(s3fs.core.S3File, "read", read_before_a_change)
    with pytest.raises(
        CatDogError, match=r"s3://pets/changing/c\.tar: it has changed while it was read; run the"
    ):
        download_file("s3://pets/changing/c.tar", tmp_path / "c", free_bytes=10**7, digest=None)
    assert not list(tmp_path.glob("c*"))


def test_a_store_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch, run: Run, capsys: Capture) -> None:
    class Refusing:
        def isfile(self, _: str) -> bool:
            raise PermissionError("Forbidden")

    monkeypatch.setattr(store, "open_store", lambda _: (Refusing(), "pets"))
    assert run("prepare s3://pets/a.zip") == 1
    assert capsys.readouterr().err == "[ERROR]    s3://pets/a.zip cannot be read: Forbidden\n"


URL = "s3://pets/x"
PATH = f"{URL} is a URL; give a path of this machine"
FOLDER = f"{URL} is a URL; give a folder of this machine"
CHECKPOINT = f"Checkpoint {URL}: only local files are read; download it first"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        *((f"{command} --ckpt_path {URL}", CHECKPOINT) for command in ("fit", "test", "validate", "report")),
        (f"predict cat.jpg --ckpt_path {URL}", CHECKPOINT),
        (f"serve --ckpt_path {URL}", CHECKPOINT),
        (f"export {URL} --output model.onnx", CHECKPOINT),
        (f"keras export {URL} --output model.keras", CHECKPOINT),
        (f"keras import {URL}", f"argument file: {PATH}"),
        (f"fit --root {URL}", f"root {FOLDER}, as prepare makes of it"),
        (f"fit --checkpoint.dirpath {URL}", f"--checkpoint.dirpath {FOLDER}"),
        (f"fit --trainer.default_root_dir {URL}", f"--trainer.default_root_dir {FOLDER}"),
        (f"fit --data.cache_dir {URL}", f"cache_dir {FOLDER}"),
        (f"prepare sample --root {URL}", f"argument --root: {PATH}"),
        (f"prepare --check {URL}", f"argument --check: {PATH}"),
        (f"report --root {URL}", f"argument --root: {PATH}"),
        (f"predict cat.jpg --output {URL}", f"argument --output: {PATH}"),
        (
            f"predict cat.jpg --output {URL}/",
            "argument --output: s3://pets/x/ is a URL; give a path of this m",
        ),
        (f"predict cat.jpg --explain {URL}", f"argument --explain: {PATH}"),
        (f"export best --output {URL}", f"argument --output: {PATH}"),
        (f"keras export best --output {URL}", f"argument --output: {PATH}"),
        (f"new {URL}", f"argument FOLDER: {PATH}"),
    ],
)
def test_what_a_store_does_not_take_is_one_line(line: str, said: str, run: Run, capsys: Capture) -> None:
    assert run(line) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith(f"[ERROR]    {said}")
    assert error.count("\n") == 1
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_a_configuration_that_a_store_does_not_have_is_one_line(
    bucket: Any, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("pets/fit.yaml", b"seed_everything: 7")
    with pytest.raises(SystemExit):
        run("fit --config s3://pets/fit.yaml --print_config")
    assert "\nseed_everything: 7\n" in capsys.readouterr().out

    async def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")  # botocore's own error is none of Python's either

    monkeypatch.setattr(s3fs.S3FileSystem, "_info", refuse)
    s3fs.S3FileSystem.clear_instance_cache()
    assert run("fit --config s3://pets/fit.yaml") == 2
    error = "--config s3://pets/fit.yaml cannot be read: no credentials; download it first"
    assert capsys.readouterr().err == f"[ERROR]    {error}\n"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        UsageError, match=r"gs needs gcsfs, which is not installed: pip install 'catdog_pl\[gs\]'"
    ):
        open_store("gs://bucket/photos")


def no_account(_: str) -> None:
    raise ValueError("Must provide an account\nor a key")


@pytest.mark.parametrize("url", ["s3://pets/photos", "s3://pets/a.zip"])
def test_a_store_without_its_settings_is_one_line(
    url: str, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsspec, "filesystem", no_account)
    assert run(f"prepare {url}") == 1
    assert capsys.readouterr().err == f"[ERROR]    {url} cannot be read: Must provide an account\n"


@pytest.mark.parametrize("logger", ["gcsfs", "azure"])
def test_what_a_store_logs_is_not_printed(logger: str) -> None:
    # Python prints what no handler takes.
    assert any(isinstance(one, logging.NullHandler) for one in logging.getLogger(logger).handlers)


class Hostile:
    """A store whose names lead elsewhere, or whose pictures have no end."""

    def __init__(self, name: str) -> None:
        self.name = name

    def walk(self, path: str, **_: object) -> Iterator[tuple[str, list[str], list[str]]]:
        yield path, [], [self.name]

    def get(self, *_: object) -> None:
        raise AssertionError

    def open(self, *_: object) -> Any:
        return open("/dev/zero", "rb")


@pytest.mark.parametrize("name", ["a/../../cat.jpg", "/../etc/cat.jpg"])
def test_a_name_that_leads_out_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "open_store", lambda _: (Hostile(name), "bucket"))
    with pytest.raises(CatDogError, match="s3://bucket: a name in it leads out of its folder; rename it"):
        download_pictures("s3://bucket", tmp_path)


def test_a_picture_without_end_is_refused() -> None:
    with pytest.raises(ImageError, match="1,001 bytes are more than 1,000, the limit"):
        read_store(Hostile("x"), "cat.jpg", limit=1000)
