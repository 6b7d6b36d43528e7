"""Pages from checkpoints: one model's report, and the comparison of several."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from catdog_pl.data.layout import Split
from catdog_pl.data.prepare.manifest import MANIFEST, read_manifest
from catdog_pl.data.prepare.relabel import write_relabel
from catdog_pl.errors import CatDogError, one_line
from catdog_pl.models.checkpoint import store_temperature
from catdog_pl.report import figures, gallery, sections
from catdog_pl.report.answers import Answers
from catdog_pl.report.page import Block, Page, Plot, Section, Table, Text
from catdog_pl.report.subject import Subject, warn

PAGE, COMPARISON = "report.html", "comparison.html"
"""The files, beside the checkpoint."""


def known_answers(subject: Subject, test: Answers | None = None) -> dict[Split, Answers]:
    """Return the answers to validation and test; those that cannot be had are missing, with a warning.

    ``test`` are those to the test, where they are known already.
    """
    known: dict[Split, Answers] = {}
    for split in gallery.SPLITS[1:]:
        try:
            known[split] = test if test and split == "test" else subject.answers(split)
        except CatDogError as error:
            warn(str(error))
    return known


def report(subject: Subject, answers: dict[Split, Answers]) -> Page:
    """Return the page about one model; a section that cannot be made says why, and the others stay."""
    test, validation = answers.get("test"), answers.get("validation")
    makers: dict[str, Callable[[], Section]] = {"How it learned": lambda: learning(subject)}
    if test:
        makers["What it answers"] = partial(sections.mistakes, test, validation)
        makers["How sure it is"] = partial(sections.calibration, test, validation)
        makers["Most certain mistakes"] = partial(gallery.mistakes, subject.model, test)
        makers["Least certain answers"] = partial(gallery.doubts, subject.model, test)
    makers["Likely label errors"] = partial(gallery.label_errors, subject.model, answers)
    makers["The same photograph in two splits"] = partial(gallery.duplicates, subject)
    makers["What the data look like"] = partial(data, subject)
    makers["How it was made"] = partial(making, subject)
    answer = sections.answer(test) if test else "Not tested: no answers to test photographs are known"
    return Page(
        f"Report on {subject.title}", answer, [attempt(title, make) for title, make in makers.items()]
    )


def attempt(title: str, make: Callable[[], Section]) -> Section:
    """Return a section, or in its place the reason why it cannot be made."""
    try:
        return make()
    except CatDogError as error:
        warn(f"{title}: {error}")
        return Section(title, [Text(f"Left out: {error}")])


def learning(subject: Subject) -> Section:
    """Return the learning curves of the subject's run."""
    return sections.learning(subject.history(), subject.epoch)


def data(subject: Subject) -> Section:
    """Return how many photographs there are, how large, and what augmentation makes of them.

    Raises:
        DatasetError: a split's folder is missing.
    """
    folders = {split: subject.photographs(split) for split in gallery.SPLITS}
    names = subject.model.data_spec.class_names
    rows = []
    for split, folder in folders.items():
        counts = [folder.targets.count(label) for label in (0, 1)]
        rows.append((split, *(f"{count:,}" for count in counts), f"{sum(counts):,}"))
    size = subject.model.data_spec.image_size
    samples = gallery.augmented(subject.datamodule(), subject.model, folders["train"])
    text = f"The model sees each photograph squashed to {size} x {size} pixels. {samples.alt}:"
    blocks: list[Block] = [Table(("", *names, "all"), rows), Text(text), samples]
    manifest = list(read_manifest(subject.root))
    if used := [row for row in manifest if row["split"]]:
        try:
            sides = [[int(row[side]) for row in used] for side in ("width", "height")]
        except ValueError as error:
            raise CatDogError(
                f"{subject.root / MANIFEST} has a size that is no number; prepare again"
            ) from error
        alt = f"Width and height of {len(used):,} photographs"
        blocks.append(Plot("sizes", figures.sizes(*sides), alt))
        left_out = len(manifest) - len(used)
        blocks.append(
            Text(f"When they were prepared, {left_out:,} photographs were left out; manifest.csv says why.")
        )
    return Section("What the data look like", blocks)


def making(subject: Subject) -> Section:
    """Return how the model was made."""
    try:
        rows: pd.DataFrame | None = subject.history()
    except CatDogError:  # the section on learning has said so
        rows = None
    return sections.making(subject.model, subject.contents, rows, subject.checkpoint.parent / "config.yaml")


def compare(subjects: Sequence[Subject]) -> Page:
    """Return the page that lays several models over each other.

    Raises:
        CatDogError: one of them has no answers to the test, or they were tested on different photographs.
    """
    titles = [f"{number}: {subject.title}" for number, subject in enumerate(subjects, start=1)]
    answers = [subject.answers("test") for subject in subjects]
    best = max(range(len(subjects)), key=lambda i: answers[i].right / len(answers[i].table))
    parts = [
        sections.comparison(titles, answers),
        attempt("How they learned", partial(learning_together, titles, subjects)),
    ]
    answer = f"{titles[best]}: {sections.answer(answers[best])}"
    return Page(f"Comparison of {len(subjects)} models", answer, parts)


def learning_together(titles: Sequence[str], subjects: Sequence[Subject]) -> Section:
    """Return the learning curves of several runs in one figure."""
    runs = {title: subject.history() for title, subject in zip(titles, subjects, strict=True)}
    best = {title: subject.epoch for title, subject in zip(titles, subjects, strict=True)}
    alt = f"Learning curves of {', '.join(titles)}"
    return Section("How they learned", [Plot("curves", figures.compared_curves(runs, best), alt)])


def relabel(subject: Subject, answers: dict[Split, Answers], path: Path) -> str:
    """Write the likely label errors as a file for ``prepare --relabel``; return a line that says so."""
    found = gallery.suspects(answers)
    count = write_relabel(path, subject.root, found.assign(file=found["split"] + "/" + found["file"]))
    return f"{count:,} likely label errors written to {one_line(str(path))}"


def save_temperature(subject: Subject, answers: dict[Split, Answers]) -> str:
    """Keep the temperature of the validation photographs in the checkpoint; return a line that says so.

    Raises:
        CatDogError: there are no answers to them.
    """
    if "validation" not in answers:
        raise CatDogError("--save_temperature needs the validation photographs; give their folder by --root")
    temperature = sections.fitted_temperature(answers["validation"])
    store_temperature(subject.checkpoint, temperature)
    return (
        f"Temperature {temperature:.4g} kept in {one_line(str(subject.checkpoint))}, for predict --calibrated"
    )


def publish(page: Page, path: Path) -> None:
    """Write a page; print what it says first, and where it is."""
    page.write(path)
    print(page.answer)
    print(f"{page.title}: {one_line(str(path))}")
