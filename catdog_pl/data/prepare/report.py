"""What ``prepare`` tells when it is done: on the screen, on a page, and in one picture of photographs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from catdog_pl.data.images import decode
from catdog_pl.data.prepare.manifest import MANIFEST, Counts
from catdog_pl.data.prepare.photo import FAULTS, USABLE, Photo, Verdict
from catdog_pl.data.prepare.splits import SPLITS
from catdog_pl.errors import ImageError

REPORT = "report.md"
CONTACT_SHEET = "contact_sheet.png"

MEANINGS: Mapping[Verdict, str] = {
    Verdict.WRONG_EXTENSION: "used, under the ending that its content asks for",
    Verdict.NEAR_DUPLICATE: "kept in the same split as their original",
    Verdict.UNSAFE: "a link, a device, or a path that leads out of the archive",
    Verdict.UNREADABLE: "it cannot be decoded",
    Verdict.EMPTY: "0 bytes",
    Verdict.NOT_AN_IMAGE: "something else under an image's name",
    Verdict.TRUNCATED: "its end is missing",
    Verdict.TOO_LARGE: "more pixels or bytes than the limit",
    Verdict.ANIMATED: "several pictures in one file",
    Verdict.TOO_SMALL: "a side is shorter than --min_side",
    Verdict.ONE_COLOUR: "nothing to see",
    Verdict.DUPLICATE: "the same photograph is there already",
    Verdict.TWO_CLASSES: "the same photograph lies in both classes",
    Verdict.NO_CLASS: "neither folder nor name tells what it is",
    Verdict.NOT_NEEDED: "the splits are full",
    Verdict.PASSED_BY: "neither name nor content is that of a photograph",
}
"""What each verdict means, in the order in which they are listed."""

# Photographs named on the page for each verdict; the manifest has them all.
_NAMED = 8

# The contact sheet, in pixels and tiles.
_COLUMNS = 8
_TILE = 150
_GAP = 12
_CAPTION = 44
_HEADING = 40
_WIDTH = _COLUMNS * (_TILE + _GAP) + _GAP
_ALIKE_ROWS = 2
_LEFT_OUT_ROWS = 4
_PAPER, _INK, _FAINT, _BLANK = "#ffffff", "#202020", "#606060", "#e4e4e4"


def count_table(counts: Counts, corner: str) -> list[str]:
    """Return the lines of a table: the photographs in each split, a column for each class.

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


def summary(photos: Sequence[Photo], counts: Counts, corner: str) -> list[str]:
    """Return the lines that are printed: found, verdicts, splits."""
    verdicts = Counter(photo.verdict for photo in photos)
    labels = Counter(p.label or "of no class" for p in photos if p.verdict is not Verdict.PASSED_BY)
    found = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    used = sum(photo.split is not None for photo in photos)
    return [
        f"Found {labels.total()} photographs ({found}), used {used}.",
        *(f"{verdicts[v]:>8}  {v:<16} {meaning}" for v, meaning in MEANINGS.items() if verdicts[v]),
        *count_table(counts, corner),
    ]


def page(photos: Sequence[Photo], counts: Counts, sources: Sequence[str], notes: Sequence[str]) -> str:
    """Return the report in Markdown.

    Args:
        photos: all that were found.
        counts: split -> class -> photographs.
        sources: as the user named them.
        notes: sentences to add, such as a licence.
    """
    classes = sorted({label for split in counts.values() for label in split})
    lines = [
        "# Prepared photographs",
        "",
        f"From {', '.join(sources)}.",
        "",
        *(f"- {note}" for note in notes),
        "",
    ]
    lines += [f"| split | {' | '.join(classes)} |", f"|---|{'--:|' * len(classes)}"]
    for split in SPLITS:
        row = counts.get(split, {})
        lines.append(f"| {split} | {' | '.join(str(row.get(label, 0)) for label in classes)} |")
    lines += ["", f"![A few photographs, and what was left out]({CONTACT_SHEET})", ""]
    lines += [line for verdict in MEANINGS for line in _section(photos, verdict)]
    lines += [f"Every photograph has a row in `{MANIFEST}`.", ""]
    return "\n".join(lines)


def _section(photos: Sequence[Photo], verdict: Verdict) -> Iterator[str]:
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
            yield f"- `{photo.name}`: {photo.inspection.reason}"
        if len(members) > _NAMED:
            yield f"- and {len(members) - _NAMED} more"
        yield ""


def contact_sheet(photos: Sequence[Photo]) -> Image.Image:
    """Draw a few photographs of each class, some that look alike, and some that were left out.

    Args:
        photos: all that were found; they can still be read.

    Returns:
        RGB, 1308 pixels wide.
    """
    sections = list(_sections(photos))
    height = _GAP + sum(_HEADING + _rows(tiles) * (_TILE + _CAPTION) for _, tiles in sections)
    sheet = Image.new("RGB", (_WIDTH, height), _PAPER)
    top = _GAP
    for heading, tiles in sections:
        ImageDraw.Draw(sheet).text((_GAP, top), heading, _INK, ImageFont.load_default(20))
        top += _HEADING
        for number, tile in enumerate(tiles):
            column, row = number % _COLUMNS, number // _COLUMNS
            _draw_tile(sheet, tile, _GAP + column * (_TILE + _GAP), top + row * (_TILE + _CAPTION))
        top += _rows(tiles) * (_TILE + _CAPTION)
    return sheet


def _sections(photos: Sequence[Photo]) -> Iterator[tuple[str, list[Photo]]]:
    """Yield headings and what to show under them, in the order of the page."""
    for label in sorted({photo.label for photo in photos if photo.split and photo.label}):
        members = [[p for p in photos if p.split == split and p.label == label] for split in SPLITS]
        spread = [_spread(photos, count) for photos, count in zip(members, (4, 2, 2), strict=True)]
        yield f"{label}: {sum(map(len, members))} photographs", [photo for some in spread for photo in some]
    alike = sorted((p for p in photos if p.group is not None and p.split), key=lambda photo: photo.group or 0)
    if alike:
        yield f"look alike, kept in one split: {len(alike)}", alike[: _ALIKE_ROWS * _COLUMNS]
    left_out = [photo for photo in photos if photo.verdict in FAULTS and not photo.split]
    if left_out:
        yield f"left out: {len(left_out)}", _of_each_verdict(left_out, _LEFT_OUT_ROWS * _COLUMNS)


def _of_each_verdict(photos: Sequence[Photo], count: int) -> list[Photo]:
    """Return a few of every verdict, those of one verdict side by side."""
    verdicts = [[photo for photo in photos if photo.verdict is verdict] for verdict in Verdict]
    in_turn = [photo for turn in zip_longest(*verdicts) for photo in turn if photo][:count]
    return sorted(in_turn, key=lambda photo: list(Verdict).index(photo.verdict))


def _spread(photos: Sequence[Photo], count: int) -> Iterable[Photo]:
    """Return so many photographs, evenly from first to last."""
    step = max(1, len(photos) // count)
    return photos[::step][:count]


def _rows(tiles: Sequence[Photo]) -> int:
    return -(-len(tiles) // _COLUMNS)


def _draw_tile(sheet: Image.Image, photo: Photo, left: int, top: int) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    if picture := _thumbnail(photo):
        x, y = left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2
        sheet.paste(picture, (x, y))
        pen.rectangle((x, y, x + picture.width - 1, y + picture.height - 1), outline=_BLANK)
    else:
        pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_BLANK)
        words = "\n".join(wrap(photo.inspection.reason, 19)[:8])
        pen.multiline_text((left + 8, top + 8), words, _FAINT, font)
    place = "/".join(photo.name.split("/")[-2:])
    for line, (text, colour) in enumerate(((photo.split or photo.verdict, _INK), (place, _FAINT))):
        pen.text((left, top + _TILE + 3 + 16 * line), _fitting(text, font), colour, font)


def _thumbnail(photo: Photo) -> Image.Image | None:
    """Return the photograph at the size of a tile; None where it cannot be shown and its reason is."""
    try:
        picture = decode(photo.source.read(), photo.name).image
    except ImageError:
        return None
    picture.thumbnail((_TILE, _TILE))
    return picture


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, its middle left out where it is wider than a tile."""
    short, keep = text, len(text)
    while font.getlength(short) > _TILE and keep > 2:
        keep -= 1
        short = f"{text[: keep // 2]}...{text[len(text) - keep // 2 :]}"
    return short
