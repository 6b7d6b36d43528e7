"""What ``prepare`` says when it is done: on the screen, and on a page beside the splits."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from catdog_pl.data.prepare.photo import USABLE, Photo, Verdict
from catdog_pl.data.prepare.splits import SPLITS

REPORT = "report.md"
CONTACT_SHEET = "contact_sheet.png"

MEANINGS: Mapping[Verdict, str] = {
    Verdict.WRONG_EXTENSION: "used, under the ending that its content asks for",
    Verdict.NEAR_DUPLICATE: "used, in the split of the photograph that it looks like",
    Verdict.UNSAFE: "a link, a device, or a path that leads out of the archive",
    Verdict.UNREADABLE: "it cannot be decoded",
    Verdict.EMPTY: "0 bytes",
    Verdict.NOT_AN_IMAGE: "something else under an image's name",
    Verdict.TRUNCATED: "its end is missing",
    Verdict.TOO_LARGE: "more pixels or bytes than the limit",
    Verdict.ANIMATED: "several pictures in one file",
    Verdict.TOO_SMALL: "a side is shorter than --min-side",
    Verdict.ONE_COLOUR: "nothing to see",
    Verdict.DUPLICATE: "the same photograph is there already",
    Verdict.TWO_CLASSES: "the same photograph lies in both classes",
    Verdict.NO_CLASS: "neither folder nor name tells what it is",
    Verdict.NOT_NEEDED: "the splits are full",
}
"""What each verdict means, in the order in which they are listed."""

# Photographs named on the page for each verdict; the manifest has them all.
_NAMED = 8

Counts = Mapping[str, Mapping[str, int]]


def count_table(counts: Counts, corner: str) -> list[str]:
    """The photographs in each split, a column for each class.

    Args:
        counts: split -> class -> photographs.
        corner: what stands in the upper left.
    """
    classes = sorted({label for split in counts.values() for label in split})
    width = max(12, len(corner) + 2)
    lines = [f"{corner:<{width}}" + "".join(f"{label:>8}" for label in classes)]
    for split in SPLITS:
        row = counts.get(split, {})
        lines.append(f"{split:<{width}}" + "".join(f"{row.get(label, 0):>8}" for label in classes))
    return lines


def verdict_table(photos: Iterable[Photo]) -> list[str]:
    """The verdicts other than ok: how many photographs have each, and what it means."""
    found = Counter(photo.verdict for photo in photos)
    return [
        f"{found[verdict]:>8}  {verdict:<16} {meaning}"
        for verdict, meaning in MEANINGS.items()
        if found[verdict]
    ]


def summary(photos: Sequence[Photo], counts: Counts, corner: str) -> list[str]:
    """What is printed: found, verdicts, splits."""
    labels = Counter(photo.label or "of no class" for photo in photos)
    found = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    used = sum(photo.split is not None for photo in photos)
    lines = [f"Found {len(photos)} photographs ({found}), used {used}."]
    return [*lines, *verdict_table(photos), *count_table(counts, corner)]


def page(photos: Sequence[Photo], counts: Counts, sources: Sequence[str], notes: Sequence[str]) -> str:
    """The report in Markdown.

    Args:
        photos: all that were found.
        counts: split -> class -> photographs.
        sources: as the user named them.
        notes: sentences to add, such as a licence.
    """
    classes = sorted({label for split in counts.values() for label in split})
    lines = ["# Prepared photographs", "", f"From {', '.join(sources)}.", *notes, ""]
    lines += [f"| split | {' | '.join(classes)} |", f"|---|{'--:|' * len(classes)}"]
    for split in SPLITS:
        row = counts.get(split, {})
        lines.append(f"| {split} | {' | '.join(str(row.get(label, 0)) for label in classes)} |")
    lines += ["", f"![A few photographs, and what was left out]({CONTACT_SHEET})", ""]
    lines += [line for verdict in MEANINGS for line in _section(photos, verdict)]
    lines += ["Every photograph has a row in `manifest.csv`.", ""]
    return "\n".join(lines)


def _section(photos: Sequence[Photo], verdict: Verdict) -> Iterator[str]:
    """The part of the page on one verdict; nothing where no photograph has it."""
    members = [photo for photo in photos if photo.verdict is verdict]
    if not members:
        return
    what = "Used" if verdict in USABLE else "Left out"
    yield f"## {verdict}: {len(members)}"
    yield ""
    yield f"{what}: {MEANINGS[verdict].removeprefix('used, ')}."
    yield ""
    if verdict is not Verdict.NOT_NEEDED:
        for photo in members[:_NAMED]:
            yield f"- `{photo.origin}`: {photo.reason}"
        if len(members) > _NAMED:
            yield f"- and {len(members) - _NAMED} more"
        yield ""
