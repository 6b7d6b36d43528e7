"""Pages: sections of text, tables, figures and pictures -> one HTML file, and its pictures beside it."""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from catdog_pl.io.files import atomic_write
from catdog_pl.report.figures import inline_svg, save_png

QUALITY = 85
"""Of the page's JPEG pictures."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be shown as they are; with a ``title`` they are folded away behind it."""

    kind: ClassVar[str] = "code"
    text: str
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under a head, which may be empty; numbers stand to the right."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[object]]

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers."""
        return any(str(row[column])[:1].isdigit() for row in self.rows) and column > 0


@dataclass(frozen=True)
class Plot:
    """A figure inside the page, kept as ``<name>.png``, too; ``alt`` says what it shows."""

    kind: ClassVar[str] = "plot"
    name: str
    figure: Figure
    alt: str

    @property
    def width(self) -> int:
        """In pixels, where the page is wide enough."""
        return round(self.figure.get_figwidth() * 80)

    @property
    def svg(self) -> Markup:
        """The figure as an element of the page."""
        return Markup(inline_svg(self.figure))  # drawn here


@dataclass(frozen=True)
class Picture:
    """A photograph or a grid of them, kept as ``<name>.jpg``."""

    kind: ClassVar[str] = "picture"
    name: str
    image: Image.Image
    alt: str

    @property
    def jpeg(self) -> bytes:
        """The content of the file."""
        file = io.BytesIO()
        self.image.save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode()}"


@dataclass(frozen=True)
class Tile:
    """A photograph in a gallery: as it is, perhaps what the model looked at, and lines below."""

    pictures: Sequence[Picture]
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Tiles in rows."""

    kind: ClassVar[str] = "gallery"
    tiles: Sequence[Tile]


Block = Text | Code | Table | Plot | Picture | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: what it is about.
        answer: the most important thing, in a sentence.
        sections: the rest.
    """

    title: str
    answer: str
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the page, which needs no other file and no network."""
        loader = PackageLoader("catdog_pl.report")
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        return environment.get_template("page.html").render(page=self)

    def write(self, path: Path) -> None:
        """Write the page, and its pictures as files into a folder of the page's name beside it."""
        folder = path.with_suffix("")
        for block in (block for section in self.sections for block in section.blocks):
            if isinstance(block, Plot):
                save_png(block.figure, folder / f"{block.name}.png")
            for picture in pictures(block):
                with atomic_write(folder / f"{picture.name}.jpg") as part:
                    part.write_bytes(picture.jpeg)
        with atomic_write(path) as part:
            part.write_text(self.html(), encoding="utf-8")


def pictures(block: Block) -> Sequence[Picture]:
    """Return the photographs of a block."""
    if isinstance(block, Gallery):
        return [picture for tile in block.tiles for picture in tile.pictures]
    return [block] if isinstance(block, Picture) else []
