"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from catdog_pl.__main__ import main

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]


@pytest.fixture(scope="module")
def pages(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its report and its comparison with itself."""
    folder = tmp_path_factory.mktemp("pages")
    words = "fit --max_epochs 2 --image_size 32 --batch_size 4 --trainer.default_root_dir"
    assert main([*words.split(), str(folder), "--root", str(photos)]) == 0
    (run,) = folder.glob("basic/*")
    assert main(["report", str(run)]) == 0
    assert main(["report", str(run), str(run / "last.ckpt")]) == 0
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_the_page_asks_for_nothing_and_fits(
    name: str, width: int, scheme: Literal["light", "dark"], pages: Path, browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    address = (pages / f"{name}.html").as_uri()
    page.goto(address)
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert faults == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    paper = np.asarray(Image.open(tmp_path / "page.png").convert("L"))[2, 2]
    assert (paper > 200) == (scheme == "light")
    page.close()


def test_the_ink_of_figures_can_be_read_on_both_papers(pages: Path, browser: Browser) -> None:
    inks = []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page = browser.new_page(color_scheme=scheme)
        page.goto((pages / "report.html").as_uri())
        inks.append(page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill"))
        page.close()
    assert inks[0] != inks[1]


def test_every_link_leads_to_its_section_by_keyboard(pages: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 800, "height": 600})
    page.goto((pages / "report.html").as_uri())
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#part2")
    assert page.evaluate("scrollY") > 0
    page.close()


def test_the_printed_page_is_a_pdf_of_some_pages(pages: Path, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto((pages / "report.html").as_uri())
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.close()
