"""What ``prepare`` tells when it is done: on the screen, on a page, and in one picture of photographs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from catdog_pl.data.images import decode
from catdog_pl.data.prepare.manifest import CONTACT_SHEET, MANIFEST, Counts
from catdog_pl.data.prepare.photo import FAULTS, USABLE, Photo, Verdict
from catdog_pl.data.prepare.splits import SPLITS
from catdog_pl.errors import ImageError

# Photographs named on the page for each verdict; the manifest has them all.
_NAMED = 8

# The contact sheet, in pixels and tiles.
_COLUMNS = 8
_TILE = 150
_GAP = 12
_CAPTION = 44
_HEADING = 40
_WIDTH = _COLUMNS * (_TILE + _GAP) + _GAP
_PAPER, _INK, _FAINT, _BLANK = "#ffffff", "#202020", "#606060", "#e4e4e4"


def count_table(counts: Counts, corner: str) -> list[str]:
    """Return the lines of a table: the photographs in each split, a column for each class."""
    classes = _classes(counts)
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
        *(f"{verdicts[v]:>8}  {v:<16} {v.meaning}" for v in Verdict if v.meaning and verdicts[v]),
        *count_table(counts, corner),
    ]


def _classes(counts: Counts) -> list[str]:
    return sorted({label for split in counts.values() for label in split})


def page(photos: Sequence[Photo], counts: Counts, sources: Sequence[str], notes: Sequence[str]) -> str:
    """Return the report in Markdown, with ``notes`` to add, such as a licence."""
    classes = _classes(counts)
    lines = ["# Prepared photographs", "", f"From {', '.join(sources)}.", ""]
    lines += [*(f"- {note}" for note in notes), ""]
    lines += [f"| split | {' | '.join(classes)} |", f"|---|{'--:|' * len(classes)}"]
    for split in SPLITS:
        row = counts.get(split, {})
        lines.append(f"| {split} | {' | '.join(str(row.get(label, 0)) for label in classes)} |")
    lines += ["", f"![A few photographs, and what was left out]({CONTACT_SHEET})", ""]
    for verdict in Verdict:
        members = [photo for photo in photos if photo.verdict is verdict]
        lines += _section(verdict, members) if members and verdict.meaning else []
    lines += [f"Every photograph has a row in `{MANIFEST}`.", ""]
    return "\n".join(lines)


def _section(verdict: Verdict, members: Sequence[Photo]) -> list[str]:
    what = "Used" if verdict in USABLE else "Left out"
    meaning = verdict.meaning.removeprefix("used, ")
    lines = [f"## {verdict}: {len(members)}", "", f"{what}: {meaning}.", ""]
    if verdict is not Verdict.NOT_NEEDED:
        lines += [f"- `{photo.name}`: {photo.inspection.reason}" for photo in members[:_NAMED]]
        lines += [f"- and {len(members) - _NAMED} more"] if len(members) > _NAMED else []
        lines.append("")
    return lines


def contact_sheet(photos: Sequence[Photo]) -> Image.Image:
    """Draw some photographs of each class, some that look alike and some left out; RGB, 1308 pixels wide."""
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
    for label in sorted({photo.label for photo in photos if photo.split and photo.label}):
        members = [[p for p in photos if p.split == split and p.label == label] for split in SPLITS]
        tiles = []
        for some, count in zip(members, (4, 2, 2), strict=True):
            tiles += some[:: max(1, len(some) // count)][:count]  # evenly from first to last
        yield f"{label}: {sum(map(len, members))} photographs", tiles
    alike = sorted((p for p in photos if p.group is not None and p.split), key=lambda photo: photo.group or 0)
    if alike:
        yield f"look alike, kept in one split: {len(alike)}", alike[: 2 * _COLUMNS]
    left_out = [photo for photo in photos if photo.verdict in FAULTS and not photo.split]
    if left_out:
        yield f"left out: {len(left_out)}", _of_each_verdict(left_out, 4 * _COLUMNS)


def _of_each_verdict(photos: Sequence[Photo], count: int) -> list[Photo]:
    """Return a few of every verdict, those of one verdict side by side."""
    verdicts = [[photo for photo in photos if photo.verdict is verdict] for verdict in Verdict]
    in_turn = [photo for turn in zip_longest(*verdicts) for photo in turn if photo][:count]
    return sorted(in_turn, key=lambda photo: list(Verdict).index(photo.verdict))


def _rows(tiles: Sequence[Photo]) -> int:
    return -(-len(tiles) // _COLUMNS)


def _draw_tile(sheet: Image.Image, photo: Photo, left: int, top: int) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    try:
        picture = decode(photo.source.read(), photo.name).image
    except ImageError:
        pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_BLANK)
        words = "\n".join(wrap(photo.inspection.reason, 19)[:8])
        pen.multiline_text((left + 8, top + 8), words, _FAINT, font)
    else:
        picture.thumbnail((_TILE, _TILE))
        x, y = left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2
        sheet.paste(picture, (x, y))
        pen.rectangle((x, y, x + picture.width - 1, y + picture.height - 1), outline=_BLANK)
    place = "/".join(photo.name.split("/")[-2:])
    for line, (text, colour) in enumerate(((photo.split or photo.verdict, _INK), (place, _FAINT))):
        pen.text((left, top + _TILE + 3 + 16 * line), _fitting(text, font), colour, font)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, its middle left out where it is wider than a tile."""
    short, keep = text, len(text)
    while font.getlength(short) > _TILE and keep > 2:
        keep -= 1
        short = f"{text[: keep // 2]}...{text[len(text) - keep // 2 :]}"
    return short
