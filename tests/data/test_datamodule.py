import os
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.transforms import AffineRanges
from catdog_pl.errors import CatDogError, DatasetError, ImageError, UsageError


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """A copy of the photographs, to be spoilt."""
    return shutil.copytree(photos, tmp_path / "data")


def batches(module: CatDogDataModule, split: str = "train") -> list[tuple[Tensor, Tensor, Tensor]]:
    loader = module.train_dataloader() if split == "train" else module.val_dataloader()
    return [module.on_after_batch_transfer(batch, 0) for batch in loader]


def test_it_says_what_it_found_as_keras_does(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CatDogDataModule(photos, image_size=16).setup("fit")
    assert capsys.readouterr().out.splitlines() == [
        "Found 16 images belonging to 2 classes.",
        "Found 8 images belonging to 2 classes.",
        "Class Indices : {'cat': 0, 'dog': 1}",
    ]


def test_it_says_how_far_it_is_where_no_bar_is_drawn(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catdog_pl.data.dataset.SILENCE", 0)
    CatDogDataModule(photos, image_size=16).setup("fit")
    said = capsys.readouterr()
    assert f"decoding {photos / 'train'}: 7 of 16 images\n" in said.out
    assert said.err == ""


@pytest.mark.parametrize("cache_gib", [4.0, 0.0])
@pytest.mark.parametrize("num_workers", [None, 2])
def test_pixels_are_pillows_and_labels_the_folders(
    photos: Path, cache_gib: float, num_workers: int | None
) -> None:
    module = CatDogDataModule(
        photos, image_size=16, batch_size=3, cache_gib=cache_gib, num_workers=num_workers
    )
    module.setup("fit")
    answers = batches(module, "validation")
    assert [len(labels) for _, labels, _ in answers] == [3, 3, 2]
    assert all(pixels.is_contiguous(memory_format=torch.channels_last) for pixels, *_ in answers)
    indices = torch.cat([indices for *_, indices in answers])
    assert indices.tolist() == list(range(8))
    assert torch.cat([labels for _, labels, _ in answers]).tolist() == [0] * 4 + [1] * 4
    for file, ours in zip(
        module.files("validation"), torch.cat([pixels for pixels, *_ in answers]), strict=True
    ):
        resized = Image.open(file).convert("RGB").resize((16, 16), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(resized))


def test_training_is_shuffled_by_seed_and_epoch_and_nothing_is_lost(photos: Path) -> None:
    module = CatDogDataModule(photos, image_size=16, batch_size=5)
    module.setup("fit")
    loader = module.train_dataloader()

    def order(epoch: int) -> list[int]:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return torch.cat([indices for *_, indices in loader]).tolist()

    assert sorted(order(0)) == list(range(16))
    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != list(range(16))


def test_views_may_be_set_until_training_starts(photos: Path) -> None:
    module = CatDogDataModule(photos, image_size=16)
    module.setup("fit")
    module.views = 2
    ranges, device = AffineRanges(), torch.device("cpu")
    first, second, third = (module._parameters(ranges, epoch, device) for epoch in range(3))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_what_is_computed_once_an_epoch_changes_no_pixel(photos: Path) -> None:
    module = CatDogDataModule(photos, image_size=16)
    module.setup("fit")
    pixels, _, indices = next(iter(module.train_dataloader()))
    ranges = AffineRanges()
    rows = module._parameters(ranges, 1, torch.device("cpu"))[indices]
    expected = ranges.apply(pixels, ranges.sample(module.seed, 1, 16)[indices])
    assert torch.equal(ranges.apply(pixels, rows), expected)


def test_files_come_in_keras_order_and_hidden_ones_do_not(data: Path) -> None:
    cats = data / "train" / "cat"
    source = cats / "cat.0.jpg"
    for name in (
        "cat.1029.jpg",
        "cat.103.jpg",
        "._cat.9.jpg",
        "Thumbs.db",
        "sub/cat.0.jpg",
        "sub-2/cat.0.jpg",
        "sub/more/cat.0.jpg",
        ".hidden/cat.jpg",
        "@eaDir/cat.0.jpg",
        "sub/__MACOSX/cat.0.jpg",
    ):
        (cats / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, cats / name)
    (data / "train" / ".ipynb_checkpoints").mkdir()
    (data / "train" / "__MACOSX").mkdir()
    folder = CachedImageFolder(data / "train", 16)
    assert folder.classes == ["cat", "dog"]
    names = [Path(path).relative_to(cats).as_posix() for path, label in folder.samples if label == 0]
    assert "._cat.9.jpg" not in names
    assert "Thumbs.db" not in names
    assert names.index("cat.1029.jpg") < names.index("cat.103.jpg") < names.index("cat.2.jpg")
    # Plain string order of the folders' paths, in which "-" comes before "/".
    assert names[-3:] == ["sub/cat.0.jpg", "sub-2/cat.0.jpg", "sub/more/cat.0.jpg"]
    assert len(names) == 8 + 2 + 3


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights on Windows")
def test_links_to_folders_are_not_followed(data: Path) -> None:
    (data / "train" / "cat" / "loop").symlink_to(data / "train")
    assert len(CachedImageFolder(data / "train", 16)) == 16


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights on Windows")
def test_a_class_folder_may_be_a_link(data: Path) -> None:
    (data / "train" / "cat").rename(data / "elsewhere")
    (data / "train" / "cat").symlink_to(data / "elsewhere")
    folder = CachedImageFolder(data / "train", 16)
    assert folder.classes == ["cat", "dog"]
    assert len(folder) == 16


def test_a_single_sample_is_torchvisions(photos: Path) -> None:
    image, label = CachedImageFolder(photos / "train", 16)[-1]
    assert image.tobytes() == Image.open(photos / "train" / "dog" / "dog.7.jpg").convert("RGB").tobytes()
    assert label == 1


def spoil_empty(data: Path) -> str:
    shutil.rmtree(data / "train" / "dog")
    (data / "train" / "dog").mkdir()
    return "dog holds no image"


def spoil_missing(data: Path) -> str:
    shutil.rmtree(data / "validation")
    return "data has no folder validation, only test, train; move photographs of each class there"


def spoil_one_class(data: Path) -> str:
    shutil.rmtree(data / "validation" / "cat")
    return r"has 1 class folder \(dog\), but two are needed, such as cat and dog$"


def spoil_three_classes(data: Path) -> str:
    (data / "train" / "horse").mkdir()
    return r"has 3 class folders \(cat, dog, horse\), but two are needed, .* move the others elsewhere$"


def spoil_no_classes(data: Path) -> str:
    shutil.rmtree(data / "train")
    (data / "train").mkdir()
    return "train has no class folders, but two are needed"


def spoil_split(data: Path) -> str:
    (data / "validation").rename(data / "Val")
    return f"data has no folder validation, but Val; rename it: mv {data}/Val {data}/validation$"


def spoil_splits(data: Path) -> str:
    for split in ("test", "validation"):
        shutil.rmtree(data / split)
    (data / "train").rename(data / "pets")
    return (
        f"has no folder train, only pets; split .*: python -m catdog_pl prepare {data} --root {data}-split$"
    )


def spoil_root(data: Path) -> str:
    shutil.rmtree(data)
    return f"There is no folder {data}; make it with .* prepare SOURCE --root {data}, or give another --root$"


def spoil_root_into_file(data: Path) -> str:
    shutil.rmtree(data)
    data.touch()
    return f"{data} is not a folder; give one that holds train, validation and test by --root$"


def spoil_everything(data: Path) -> str:
    shutil.rmtree(data)
    data.mkdir()
    return (
        f"{data} has no folder train; make it with .* prepare SOURCE --root {data}, or give another --root$"
    )


def spoil_other_classes(data: Path) -> str:
    (data / "validation" / "cat").rename(data / "validation" / "kitten")
    return "holds the classes dog, kitten, .* holds cat, dog"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_empty,
        spoil_missing,
        spoil_one_class,
        spoil_three_classes,
        spoil_no_classes,
        spoil_split,
        spoil_splits,
        spoil_root,
        spoil_root_into_file,
        spoil_everything,
        spoil_other_classes,
    ],
)
def test_a_wrong_layout_is_named_in_one_line(data: Path, spoil: "object") -> None:
    message = spoil(data)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message) as error:
        CatDogDataModule(data, image_size=16).setup("fit")
    assert "\n" not in str(error.value)


def test_an_unreadable_photograph_is_named_before_training_starts(data: Path) -> None:
    (data / "train" / "dog" / "dog.3.jpg").write_bytes(b"<html>no photo</html>")
    with pytest.raises(ImageError, match=r"dog\.3\.jpg"):
        CatDogDataModule(data, image_size=16).setup("fit")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_named_like_a_photograph_does_not_hang(data: Path) -> None:
    os.mkfifo(data / "train" / "dog" / "dog.99.jpg")
    with pytest.raises(CatDogError, match=r"dog\.99\.jpg"):
        CatDogDataModule(data, image_size=16).setup("fit")


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"image_size": 1}, {"num_workers": -1}, {"zoom": 1.0}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, int]) -> None:
    (name,) = arguments
    with pytest.raises(UsageError, match=f"{name} is"):
        CatDogDataModule(**arguments)  # type: ignore[arg-type]


class Model(LightningModule):
    """What the datamodule reads of a model."""

    augment = "none"
    data_spec = SimpleNamespace(image_size=20, resize="bicubic")


def test_what_it_is_not_told_the_model_says(photos: Path) -> None:
    module = CatDogDataModule(photos)
    module.trainer = Trainer(logger=False, accelerator="cpu")
    module.trainer.strategy.connect(Model())
    module.setup("fit")
    expected = {
        "class_names": ("cat", "dog"),
        "image_size": 20,
        "resize": "bicubic",
        "predict_resize": "bicubic",
    }
    assert module.data_spec == expected
    module.trainer.training = True
    batch = next(iter(module.train_dataloader()))
    assert module.on_after_batch_transfer(batch, 0) is batch

    module.image_size, module.resize, module.augment = 16, "nearest", "keras"
    module.setup("fit")
    assert module.data_spec == expected | {"image_size": 16, "resize": "nearest", "predict_resize": "lanczos"}
    batch = next(iter(module.train_dataloader()))
    assert module.on_after_batch_transfer(batch, 0)[0].dtype == torch.float32


def test_fewer_photographs_than_devices_are_refused(photos: Path) -> None:
    module = CatDogDataModule(photos, image_size=16)
    module.trainer = Trainer(logger=False, accelerator="cpu", devices=9)
    with pytest.raises(DatasetError, match=r"validation holds 8 photographs, fewer than the 9 devices; "):
        module.setup("fit")


def test_without_a_model_it_gives_what_the_workshop_does(photos: Path) -> None:
    module = CatDogDataModule(photos)
    module.setup("fit")
    assert (module.data_spec["image_size"], module.data_spec["resize"]) == (150, "nearest")


def test_a_notebook_shows_photographs_of_each_class_and_how_many_there_are(data: Path) -> None:
    for split in ("train", "validation"):
        (data / split / "dog").rename(data / split / "<b>")
    shutil.rmtree(data / "test")
    html = CatDogDataModule(data)._repr_html_()
    assert html is not None
    head, first, second = html.removeprefix("<table>").removesuffix("</table>").split("</tr>")[:3]
    assert head == "<tr><th></th><th>train</th><th>validation</th>"
    assert first.startswith('<tr><th>&lt;b&gt;</th><td>8</td><td>4</td><td><img style="height: 96px;')
    assert second.startswith("<tr><th>cat</th><td>8</td><td>4</td><td><img ")


@pytest.mark.parametrize("spoil", [spoil_empty, spoil_one_class, spoil_three_classes])
def test_a_notebook_shows_no_pictures_of_folders_that_are_not_as_they_should_be(
    spoil: Callable[[Path], str], data: Path
) -> None:
    spoil(data)
    assert CatDogDataModule(data)._repr_html_() is None
    assert CatDogDataModule(data / "nothing")._repr_html_() is None


def test_it_knows_its_arguments(photos: Path) -> None:
    options = CatDogDataModule(photos, batch_size=7, zoom=0.1).options
    assert list(options) == list(signature(CatDogDataModule).parameters)
    assert (options["root"], options["batch_size"], options["zoom"], options["views"]) == (photos, 7, 0.1, 0)
