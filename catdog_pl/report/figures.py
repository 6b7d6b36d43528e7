"""The report's figures, drawn by matplotlib without a display."""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn import metrics

from catdog_pl.io.files import atomic_write
from catdog_pl.report.metrics import BINS, Bin, Labels, Values

INK, PAPER = "#24292f", "#ffffff"
COLOURS = ("#2f7fd1", "#e0752d", "#3aa076", "#b45cc4", "#9a8a16", "#d1495b", "#5f7d8c", "#8a5a3b")
"""The first stands for the first class and for training, the second for the second class and for validation.

All of them can be told apart on white and on black.
"""

STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters, in the page's own font
    "svg.hashsalt": "catdog_pl",  # the same figure has the same names inside
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def plain(name: str) -> str:
    """Return a user's name as matplotlib shows it: no formula, and not hidden from a legend."""
    return f" {name}".replace("$", r"\$")


styled = mpl.rc_context(STYLE)
"""Decorates what draws, so that nobody else's figures change."""


def panels(count: int, width: float = 4.2, height: float = 3.1) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many plots side by side; width and height of each are in inches."""
    figure = Figure(figsize=(count * width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


@styled
def inline_svg(figure: Figure) -> str:
    """Return a figure as the SVG element of a page, transparent, with the page's colour for its ink."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


@styled
def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a file for slides, on white, 160 dots an inch."""
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=160, facecolor=PAPER)


PANELS = {"loss": "loss", "acc": "accuracy", "learning_rate": "learning rate"}
"""What the learning curves show, and how it is called."""


@styled
def learning_curves(rows: pd.DataFrame, best: int | None = None) -> Figure:
    """Return loss, accuracy and learning rate of a run by epoch.

    Args:
        rows: of its ``metrics.csv``.
        best: the epoch of its best checkpoint, which is marked.
    """
    figure, axes = epoch_panels([rows])
    end = rows["epoch"].iloc[-1]
    for ax, metric in zip(axes, PANELS, strict=False):
        for number, (name, label) in enumerate({"train": "training", "val": "validation"}.items()):
            if f"{name}_{metric}" in rows:
                ax.plot(rows["epoch"], rows[f"{name}_{metric}"], ".-", color=COLOURS[number], label=label)
        if metric in rows:
            ax.plot(rows["epoch"], rows[metric], ".-", color=INK)
        elif best is not None:
            mark(ax, best, "best, end" if best == end else "best")
            if best != end:
                mark(ax, end, "end")
    axes[0].legend(fontsize=8)
    return figure


@styled
def compared_curves(runs: Mapping[str, pd.DataFrame], best: Mapping[str, int | None]) -> Figure:
    """Return the curves of several runs in one figure; the loss, which may differ much, as a logarithm.

    Args:
        runs: the rows of ``metrics.csv`` by the run's title.
        best: the epoch of each run's best checkpoint, which gets a ring.
    """
    figure, axes = epoch_panels(runs.values())
    labels = {plain(title): None for title in runs}
    for colour, (title, rows) in zip(cycle(COLOURS), runs.items(), strict=False):
        for ax, metric in zip(axes, PANELS, strict=False):
            for name, style in ((f"train_{metric}", ".--"), (f"val_{metric}", ".-"), (metric, ".-")):
                if name in rows:
                    ax.plot(rows["epoch"], rows[name], style, color=colour, label=plain(title), alpha=0.9)
            chosen = rows[rows["epoch"] == best[title]]
            if f"val_{metric}" in rows:
                ax.plot(
                    chosen["epoch"],
                    chosen[f"val_{metric}"],
                    "o",
                    color=colour,
                    markersize=9,
                    fillstyle="none",
                )
    axes[0].set(yscale="log")
    lines = {str(line.get_label()): line for line in axes[0].get_lines() if line.get_label() in labels}
    figure.legend(lines.values(), lines, loc="outside lower left", fontsize=8)
    return figure


def epoch_panels(runs: Iterable[pd.DataFrame]) -> tuple[Figure, list[Axes]]:
    """Return the plots by epoch; that of the learning rate only where one of the runs has noted it."""
    has_rates = any("learning_rate" in rows and rows["learning_rate"].notna().any() for rows in runs)
    figure, axes = panels(3 if has_rates else 2)
    for ax, name in zip(axes, PANELS.values(), strict=False):
        ax.set(title=name, xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def mark(ax: Axes, epoch: float, word: str) -> None:
    """Draw a line at an epoch, with a word along it."""
    ax.axvline(epoch, color=INK, linewidth=1, linestyle=":")
    place = ("data", "axes fraction")
    ax.annotate(word, (epoch, 0.5), xycoords=place, va="center", ha="right", rotation=90, fontsize=8)


@styled
def save_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the curves of a fit so far into a file."""
    save_png(learning_curves(pd.DataFrame(rows)), path)


@styled
def ranking(true: Labels, logits: Values, second: str) -> Figure:
    """Return the ROC and the precision-recall curve of the second class; what chance gives is dotted."""
    figure, (roc, recall) = panels(2)
    second = plain(second)
    false_positives, true_positives, _ = metrics.roc_curve(true, logits)
    roc.plot(false_positives, true_positives, color=COLOURS[0])
    roc.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    precisions, recalls, _ = metrics.precision_recall_curve(true, logits)
    recall.plot(recalls, precisions, color=COLOURS[0])
    recall.axhline(true.mean(), linestyle=":", color=INK, linewidth=1)
    recall.set(title=f"precision and recall of{second}", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    return figure


@styled
def probabilities(true: Labels, values: Values, names: Sequence[str], thresholds: pd.DataFrame) -> Figure:
    """Return a histogram of the probabilities by class, and the accuracy by threshold."""
    figure, (histogram, accuracy) = panels(2)
    names = [plain(name) for name in names]
    parts = [values[true == label] for label in (0, 1)]
    histogram.hist(
        parts, bins=np.linspace(0, 1, 21).tolist(), stacked=True, label=list(names), color=COLOURS[:2]
    )
    histogram.set(title="answers", xlabel=f"probability of{names[1]}", ylabel="photographs", yscale="symlog")
    histogram.legend(fontsize=8)
    accuracy.plot(thresholds["threshold"], thresholds["accuracy"], color=INK, label="accuracy")
    for column, name, colour in zip(("first", "second"), names, COLOURS, strict=False):
        accuracy.plot(thresholds["threshold"], thresholds[column], "--", color=colour, label=f"recall,{name}")
    accuracy.axvline(0.5, color=INK, linestyle=":", linewidth=1)
    accuracy.set(title="by threshold", xlabel=f"probability from which the answer is{names[1]}")
    accuracy.legend(fontsize=8)
    return figure


@styled
def reliability(bins: Mapping[str, Sequence[Bin]]) -> Figure:
    """Return a reliability diagram: the share that is right by certainty, with Wilson's intervals.

    Args:
        bins: by the title of each set of answers, such as those before and after calibration.
    """
    figure, (diagram, counts) = panels(2)
    diagram.plot([0.5, 1], [0.5, 1], ":", color=INK, linewidth=1)
    for number, (title, ones) in enumerate(bins.items()):
        certainty = np.array([one.certainty for one in ones])
        right = np.array([one.right for one in ones])
        low, high = np.array([one.interval for one in ones]).T
        errors = np.maximum(0, np.stack([right - low, high - right]))
        diagram.errorbar(certainty, right, errors, marker="o", markersize=4, capsize=2, label=title)
        edges, photographs = [one.edge for one in ones], [one.photographs for one in ones]
        counts.bar(edges, photographs, 0.5 / BINS, align="edge", alpha=0.5, color=COLOURS[number])
    diagram.set(title="reliability", xlabel="certainty of the answer", ylabel="share that is right")
    diagram.legend(fontsize=8)
    counts.set(title="how many", xlabel="certainty of the answer", ylabel="photographs")
    return figure


@styled
def accuracies(table: pd.DataFrame) -> Figure:
    """Return the accuracy of several runs with its interval; ``table`` has run, accuracy, low and high."""
    figure, (ax,) = panels(1, width=7, height=0.6 + 0.35 * len(table))
    places = range(len(table))
    errors = np.stack([table["accuracy"] - table["low"], table["high"] - table["accuracy"]])
    ax.errorbar(table["accuracy"], places, xerr=errors, fmt="o", color=COLOURS[0], capsize=3)
    ax.set_yticks(places, [plain(run) for run in table["run"]])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set(xlabel="test accuracy, 95 % interval")
    return figure


@styled
def sizes(widths: Sequence[int], heights: Sequence[int]) -> Figure:
    """Return how large the photographs are, in pixels."""
    figure, (ax,) = panels(1)
    ax.scatter(widths, heights, s=6, alpha=0.4, color=COLOURS[0], linewidths=0)
    ax.set(title="sizes of the photographs", xlabel="width in pixels", ylabel="height in pixels")
    ax.set(xlim=(0, None), ylim=(0, None))
    return figure
