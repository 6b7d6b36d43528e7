"""One page of pictures: a few photographs of each class, some that look alike, some that were left out."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from catdog_pl.data.images import decode
from catdog_pl.data.prepare.contents import ContentError, read
from catdog_pl.data.prepare.photo import Photo, Verdict
from catdog_pl.data.prepare.splits import SPLITS
from catdog_pl.errors import ImageError

_COLUMNS = 8
_TILE = 150
_GAP = 12
_CAPTION = 44
_HEADING = 40
_WIDTH = _COLUMNS * (_TILE + _GAP) + _GAP
_ALIKE_ROWS = 2
_LEFT_OUT_ROWS = 4

_PAPER, _INK, _FAINT, _BLANK = "#ffffff", "#202020", "#606060", "#e4e4e4"


def contact_sheet(photos: Sequence[Photo]) -> Image.Image:
    """Draw the sheet.

    Args:
        photos: all that were found; their files are still where `Photo.content` says.

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
    """Headings and what to show under them, in the order of the page."""
    for label in sorted({photo.label for photo in photos if photo.split and photo.label}):
        members = [[p for p in photos if p.split == split and p.label == label] for split in SPLITS]
        spread = [_spread(photos, count) for photos, count in zip(members, (4, 2, 2), strict=True)]
        yield f"{label}: {sum(map(len, members))} photographs", [photo for some in spread for photo in some]
    alike = sorted((p for p in photos if p.group is not None and p.split), key=lambda photo: photo.group or 0)
    if alike:
        yield f"look alike, kept in one split: {len(alike)}", alike[: _ALIKE_ROWS * _COLUMNS]
    left_out = [photo for photo in photos if not photo.split and photo.verdict is not Verdict.NOT_NEEDED]
    if left_out:
        yield f"left out: {len(left_out)}", _of_each_verdict(left_out, _LEFT_OUT_ROWS * _COLUMNS)


def _of_each_verdict(photos: Sequence[Photo], count: int) -> list[Photo]:
    """A few of every verdict, those of one verdict side by side."""
    verdicts = [[photo for photo in photos if photo.verdict is verdict] for verdict in Verdict]
    in_turn = [photo for turn in zip_longest(*verdicts) for photo in turn if photo][:count]
    return sorted(in_turn, key=lambda photo: list(Verdict).index(photo.verdict))


def _spread(photos: Sequence[Photo], count: int) -> Iterable[Photo]:
    """So many photographs, evenly from first to last."""
    step = max(1, len(photos) // count)
    return photos[::step][:count]


def _rows(tiles: Sequence[Photo]) -> int:
    return -(-len(tiles) // _COLUMNS)


def _draw_tile(sheet: Image.Image, photo: Photo, left: int, top: int) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    picture = _picture(photo)
    if picture:
        corner = (left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2)
        sheet.paste(picture, corner)
        pen.rectangle(
            (*corner, corner[0] + picture.width - 1, corner[1] + picture.height - 1), outline=_BLANK
        )
    else:
        pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_BLANK)
        words = "\n".join(wrap(photo.reason, 19)[:8])
        pen.multiline_text((left + 8, top + 8), words, _FAINT, font)
    place = "/".join(photo.origin.split("/")[-2:])
    for line, (text, colour) in enumerate(((photo.split or photo.verdict, _INK), (place, _FAINT))):
        pen.text((left, top + _TILE + 3 + 16 * line), _fitting(text, font), colour, font)


def _picture(photo: Photo) -> Image.Image | None:
    """The photograph at the size of a tile; None where there is nothing that can be shown."""
    if not photo.content:
        return None
    try:
        picture = decode(read(photo.content), photo.origin).image
    except (ContentError, ImageError):
        return None  # its tile holds the reason
    picture.thumbnail((_TILE, _TILE))
    return picture


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its middle left out where it is wider than a tile."""
    short, keep = text, len(text)
    while font.getlength(short) > _TILE and keep > 2:
        keep -= 1
        short = f"{text[: keep // 2]}...{text[len(text) - keep // 2 :]}"
    return short
