"""The report's figures, drawn by matplotlib without a display."""

import io
from collections.abc import Mapping, Sequence
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


@styled
def curves(runs: Mapping[str, pd.DataFrame], best: Mapping[str, int | None]) -> Figure:
    """Return loss, accuracy and learning rate by epoch.

    Args:
        runs: the rows of ``metrics.csv`` by the run's title.
        best: the epoch of each run's best checkpoint, which is marked.
    """
    has_rates = any("learning_rate" in rows and rows["learning_rate"].notna().any() for rows in runs.values())
    figure, axes = panels(3 if has_rates else 2)
    for number, (title, rows) in enumerate(runs.items()):
        for ax, metric in zip(axes, ("loss", "acc"), strict=False):
            for side, style in (("train", "--" if len(runs) > 1 else "-"), ("val", "-")):
                colour = COLOURS[number % len(COLOURS)] if len(runs) > 1 else COLOURS[side == "val"]
                label = (
                    f"{title} ({side})" if len(runs) > 1 else {"train": "training", "val": "validation"}[side]
                )
                if f"{side}_{metric}" in rows:
                    ax.plot(
                        rows["epoch"], rows[f"{side}_{metric}"], style, color=colour, label=label, marker="."
                    )
            if epoch := best.get(title):
                ax.axvline(epoch, color=INK, linewidth=1, linestyle=":")
                if len(runs) == 1:
                    end = float(rows["epoch"].iloc[-1])
                    mark(ax, epoch, "best, end" if epoch == end else "best")
                    mark(ax, end, "" if epoch == end else "end")
        if has_rates and "learning_rate" in rows:
            axes[2].plot(rows["epoch"], rows["learning_rate"], marker=".", label=title)
    for ax, name in zip(axes, ("loss", "accuracy", "learning rate"), strict=False):
        ax.set(title=name, xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(fontsize=8)
    return figure


def mark(ax: Axes, epoch: float, word: str) -> None:
    """Write a word before an epoch, along the edge of a plot."""
    place = ("data", "axes fraction")
    ax.annotate(word, (epoch, 0.98), xycoords=place, va="top", ha="right", rotation=90, fontsize=8)


@styled
def save_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the curves of a fit so far into a file."""
    save_png(curves({"": pd.DataFrame(rows)}, {}), path)


@styled
def ranking(true: Labels, logits: Values, second: str) -> Figure:
    """Return the ROC and the precision-recall curve of the second class; what chance gives is dotted."""
    figure, (roc, recall) = panels(2)
    false_positives, true_positives, _ = metrics.roc_curve(true, logits)
    roc.plot(false_positives, true_positives, color=COLOURS[0])
    roc.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    precisions, recalls, _ = metrics.precision_recall_curve(true, logits)
    recall.plot(recalls, precisions, color=COLOURS[0])
    recall.axhline(true.mean(), linestyle=":", color=INK, linewidth=1)
    recall.set(title=f"precision and recall of {second}", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    return figure


@styled
def probabilities(true: Labels, values: Values, names: Sequence[str], thresholds: pd.DataFrame) -> Figure:
    """Return a histogram of the probabilities by class, and the accuracy by threshold."""
    figure, (histogram, accuracy) = panels(2)
    parts = [values[true == label] for label in (0, 1)]
    histogram.hist(
        parts, bins=np.linspace(0, 1, 21).tolist(), stacked=True, label=list(names), color=COLOURS[:2]
    )
    histogram.set(title="answers", xlabel=f"probability of {names[1]}", ylabel="photographs", yscale="symlog")
    histogram.legend(fontsize=8)
    accuracy.plot(thresholds["threshold"], thresholds["accuracy"], color=INK, label="accuracy")
    for name, colour in zip(names, COLOURS, strict=False):
        accuracy.plot(thresholds["threshold"], thresholds[name], "--", color=colour, label=f"recall, {name}")
    accuracy.axvline(0.5, color=INK, linestyle=":", linewidth=1)
    accuracy.set(title="by threshold", xlabel=f"probability from which the answer is {names[1]}")
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
    ax.set_yticks(places, table["run"])
    ax.invert_yaxis()
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
