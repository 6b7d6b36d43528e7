"""What ``prepare`` tells when it is done: on the screen, on a page, and in one picture of photographs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from catdog_pl.data.images import decode
from catdog_pl.data.prepare.manifest import CONTACT_SHEET, MANIFEST, Counts, counts
from catdog_pl.data.prepare.photo import FAULTS, USABLE, Photo, Verdict
from catdog_pl.data.prepare.photos import Photos
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


def summary(photos: Photos, counts: Counts, corner: str) -> list[str]:
    """Return the lines that are printed: found, verdicts, splits."""
    verdicts = _verdicts(photos)
    of_label = f"SELECT label, count(*) FROM photos WHERE verdict != '{Verdict.PASSED_BY}' GROUP BY label"
    labels = Counter({label or "of no class": count for label, count in photos.query(of_label)})
    found = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    used = photos.count("split IS NOT NULL")
    return [
        f"Found {labels.total()} photographs ({found}), used {used}.",
        *(f"{verdicts[v]:>8}  {v:<16} {v.meaning}" for v in verdicts),
        *count_table(counts, corner),
    ]


def _verdicts(photos: Photos) -> dict[Verdict, int]:
    """Count the photographs of each verdict that is listed."""
    found = dict(photos.query("SELECT verdict, count(*) FROM photos GROUP BY verdict"))
    return {verdict: found[verdict] for verdict in Verdict if verdict.meaning and verdict in found}


def _classes(counts: Counts) -> list[str]:
    return sorted({label for split in counts.values() for label in split})


def page(photos: Photos, counts: Counts, sources: Sequence[str], notes: Sequence[str]) -> str:
    """Return the report in Markdown, with ``notes`` to add, such as a licence."""
    classes = _classes(counts)
    lines = ["# Prepared photographs", "", f"From {', '.join(sources)}.", ""]
    lines += [*(f"- {note}" for note in notes), ""]
    lines += [f"| split | {' | '.join(classes)} |", f"|---|{'--:|' * len(classes)}"]
    for split in SPLITS:
        row = counts.get(split, {})
        lines.append(f"| {split} | {' | '.join(str(row.get(label, 0)) for label in classes)} |")
    lines += ["", f"![A few photographs, and what was left out]({CONTACT_SHEET})", ""]
    for verdict, count in _verdicts(photos).items():
        lines += _section(verdict, count, photos.select("verdict = ?", verdict, limit=_NAMED))
    lines += [f"Every photograph has a row in `{MANIFEST}`.", ""]
    return "\n".join(lines)


def _section(verdict: Verdict, count: int, first: Iterable[Photo]) -> list[str]:
    what = "Used" if verdict in USABLE else "Left out"
    meaning = verdict.meaning.removeprefix("used, ")
    lines = [f"## {verdict}: {count}", "", f"{what}: {meaning}.", ""]
    if verdict is not Verdict.NOT_NEEDED:
        lines += [f"- `{photo.name}`: {photo.inspection.reason}" for photo in first]
        lines += [f"- and {count - _NAMED} more"] if count > _NAMED else []
        lines.append("")
    return lines


def contact_sheet(photos: Photos) -> Image.Image:
    """Draw some photographs of each class, some that look alike and some left out; RGB, 1308 pixels wide."""
    sections = list(_sections(photos, counts(photos)))
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


def _sections(photos: Photos, counts: Counts) -> Iterator[tuple[str, list[Photo]]]:
    for label in _classes(counts):
        of_splits = [counts.get(split, {}).get(label, 0) for split in SPLITS]
        tiles: list[Photo] = []
        for split, here, count in zip(SPLITS, of_splits, (4, 2, 2), strict=True):
            for number in range(min(here, count)):  # evenly from first to last
                offset = number * max(1, here // count)
                tiles += photos.select("split = ? AND label = ?", split, label, limit=1, offset=offset)
        yield f"{label}: {sum(of_splits)} photographs", tiles
    is_alike = '"group" IS NOT NULL AND split IS NOT NULL'
    if count := photos.count(is_alike):
        tiles = list(photos.select(is_alike, order='"group", number', limit=2 * _COLUMNS))
        yield f"look alike, kept in one split: {count}", tiles
    is_left_out = f"verdict IN {tuple(map(str, FAULTS))} AND split IS NULL"
    if count := photos.count(is_left_out):
        most = 4 * _COLUMNS
        found = _verdicts(photos)
        verdicts = [photos.select(f"{is_left_out} AND verdict = ?", v, limit=most) for v in found]
        # A few of every verdict, those of one verdict side by side.
        in_turn = [photo for turn in zip_longest(*verdicts) for photo in turn if photo][:most]
        yield f"left out: {count}", sorted(in_turn, key=lambda photo: list(Verdict).index(photo.verdict))


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
