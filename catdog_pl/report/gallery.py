"""The sections of photographs: mistakes, doubts, labels, duplicates, and what augmentation makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from scipy import special

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.images import load_pixels
from catdog_pl.data.layout import Split
from catdog_pl.data.prepare.duplicates import near_duplicates
from catdog_pl.errors import CatDogError, UsageError, one_line
from catdog_pl.models.classifier import Classifier
from catdog_pl.prediction.explain import grad_cam, overlay
from catdog_pl.report.answers import Answers
from catdog_pl.report.label_errors import likely_label_errors
from catdog_pl.report.page import Gallery, Picture, Section, Text, Tile
from catdog_pl.report.subject import Subject

SHOWN = 12
"""Photographs in a gallery."""

VIEWS = 5
"""Epochs from which the section on augmentation shows each photograph."""

MOST = 99.9
"""Percent that are not rounded to 100: no answer is quite certain."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Pixels = npt.NDArray[np.uint8]
"""A photograph, (S, S, 3)."""


def section(title: str, text: str, tiles: Sequence[Tile]) -> Section:
    """Return a section of pictures; without any, it says so."""
    return Section(title, [Text(text), Gallery(tiles) if tiles else Text("There are none.")])


def mistakes(model: Classifier, test: Answers) -> Section:
    """Return the most certain of the wrong answers."""
    wrong = test.table[test.table["true"] != test.table["predicted"]]
    text = (
        f"{len(wrong):,} of {len(test.table):,} answers are wrong. These are the most certain of them; "
        "beside each photograph, bright, is what counted for the answer (Grad-CAM)."
    )
    rows = wrong["logit"].abs().sort_values(ascending=False).index[:SHOWN]
    return section("Most certain mistakes", text, tiles(model, test, rows, "mistake"))


def doubts(model: Classifier, test: Answers) -> Section:
    """Return the answers that are nearest to neither."""
    rows = test.table["logit"].abs().sort_values().index[:SHOWN]
    text = "The photographs whose probability is nearest to 0.5, right or wrong."
    return section("Least certain answers", text, tiles(model, test, rows, "doubt"))


def suspects(answers: Mapping[Split, Answers]) -> pd.DataFrame:
    """Return the rows of photographs whose class is likely wrong, the most certain first.

    Their index is that of the answers to their ``split``, a further column.
    """
    found = [
        likely_label_errors(one.table, one.class_names).assign(split=split) for split, one in answers.items()
    ]
    if not found:
        raise CatDogError("no answers to photographs are known")
    return pd.concat(found).sort_values("logit", key=abs, ascending=False, kind="stable")


def label_errors(model: Classifier, answers: Mapping[Split, Answers]) -> Section:
    """Return the photographs that likely lie in the wrong folder.

    Raises:
        CatDogError: there are no answers.
    """
    found = suspects(answers)
    shown = [
        tile
        for number, (split, row) in enumerate(zip(found["split"], found.index, strict=True), start=1)
        if number <= SHOWN
        for tile in tiles(model, answers[split], [row], f"label-{number}", f"{split}/")
    ]
    text = (
        f"{len(found):,} photographs of validation and test get the other class, with at least the certainty "
        "that photographs of that class get on average (confident learning). Some are mislabelled, some are "
        "mistakes of the model: look at each."
    )
    return section("Likely label errors", text, shown)


def duplicates(subject: Subject) -> Section:
    """Return the photographs that lie in more than one split, or look like one that does.

    Raises:
        DatasetError: a split's folder is missing.
    """
    folders = {str(split): subject.photographs(split) for split in SPLITS}
    groups = near_duplicates(
        {split: [Path(path) for path, _ in folder.samples] for split, folder in folders.items()}
    )
    shown = []
    for number, group in enumerate(groups[:SHOWN], start=1):
        pictures = []
        for i, (split, path) in enumerate(group[:2], start=1):
            folder = folders[split]
            image = Image.fromarray(load_pixels(path, folder.size, folder.resize))
            name = one_line(f"{split}/{path.relative_to(folder.root).as_posix()}")
            pictures.append(Picture(f"same-{number}-{i}", image, name))
        shown.append(Tile(pictures, [picture.alt for picture in pictures]))
    text = (
        f"Groups of photographs that look alike and lie in more than one split: {len(groups):,}. A model "
        "answers a photograph too well that it has seen in training."
    )
    return section("The same photograph in two splits", text, shown)


def tiles(
    model: Classifier, answers: Answers, rows: Iterable[int], name: str, prefix: str = ""
) -> list[Tile]:
    """Return photographs with what the model looked at, their file, class and answer."""
    rows = list(rows)
    if answers.folder is None or not rows:
        return []
    photographs = pixels(answers.folder, rows)
    heats = heat_maps(model, photographs)
    made = []
    for number, (row, photograph) in enumerate(zip(rows, photographs, strict=True), start=1):
        line = answers.table.loc[row]
        certainty = 100 * special.expit(abs(line["logit"]))
        shown = f"{certainty:.1f} %" if certainty < MOST else f"more than {MOST} %"
        said = f"{line['true']}, answered {line['predicted']}: {shown} certain"
        picture = Image.fromarray(photograph)
        pictures = [Picture(f"{name}-{number}", picture, f"{prefix}{line['file']}")]
        if heats is not None:
            alt = "what counted for the answer, bright"
            pictures.append(Picture(f"{name}-{number}-explained", overlay(picture, heats[number - 1]), alt))
        made.append(Tile(pictures, [said, f"{prefix}{line['file']}"]))
    return made


def heat_maps(model: Classifier, photographs: Pixels) -> npt.NDArray[np.float32] | None:
    """Return Grad-CAM's heat (N, S, S) for photographs (N, S, S, 3); None where the model has no maps."""
    device = next(model.parameters()).device
    batch = torch.from_numpy(photographs).permute(0, 3, 1, 2).to(device)
    try:
        return np.asarray(grad_cam(model, batch)[0].cpu())
    except UsageError:
        return None


def pixels(folder: CachedImageFolder, rows: Sequence[int]) -> Pixels:
    """Return photographs as the model sees them, (N, S, S, 3)."""
    return np.ascontiguousarray(folder.__getitems__(rows)[0].permute(0, 2, 3, 1).cpu().numpy())


def augmented(datamodule: CatDogDataModule, model: Classifier, folder: CachedImageFolder) -> Picture:
    """Return a grid: training photographs, and each as the model sees it in some epochs.

    Args:
        datamodule: how photographs are augmented.
        model: whose augmentation is taken where the datamodule leaves it open.
        folder: the training photographs.
    """
    rows = np.linspace(0, len(folder) - 1, min(SHOWN // 2, len(folder))).astype(int).tolist()
    kind = datamodule.augment or model.augment
    augmentation = datamodule.augmentations[kind]
    if augmentation is None:
        return Picture(
            "augmentation", grid(pixels(folder, rows)[None]), "Training photographs; none is augmented"
        )
    batch = folder.__getitems__(rows)[0]
    columns = [pixels(folder, rows)]
    for epoch in range(VIEWS):
        changed = augmentation.apply(batch, augmentation.sample(datamodule.seed, epoch, len(folder))[rows])
        columns.append(changed.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    alt = f"Training photographs, left, and the same ones augmented by {kind} in {VIEWS} epochs"
    return Picture("augmentation", grid(np.stack(columns, axis=1)), alt)


def grid(pictures: Pixels, gap: int = 4) -> Image.Image:
    """Return pictures (rows, columns, S, S, 3) as one, on white."""
    framed = np.pad(pictures, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = framed.shape
    whole = framed.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return Image.fromarray(np.ascontiguousarray(whole[:-gap, :-gap]))
