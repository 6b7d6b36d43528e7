"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from catdog_pl.io.source import WebOptions
from catdog_pl.models.basic import Basic
from catdog_pl.serve.app import Settings
from tests.report.test_browser import CHROMIUM, FLAGS
from tests.serve.conftest import Live, run_server
from tests.serve.test_app import image_host

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]

ANSWER = re.compile(r"^(cat|dog)$")

PASTE = """async (element, bytes) => {
    const data = new DataTransfer();
    if (typeof bytes === "string") data.setData("text/plain", bytes);
    else data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
    document.dispatchEvent(Object.assign(new Event("paste", { cancelable: true }), { clipboardData: data }));
}"""
"""Browsers let only people fill the clipboard; the event that a page gets is the same."""

DROP = """(element, bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
    for (const type of ["dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(type, { bubbles: true, dataTransfer: data }));
    }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """The page, opened; at the end, nothing was asked of others and no fault was seen."""
    page = browser.new_page()
    elsewhere: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(live.url)
    expect(page.locator("#model")).to_contain_text("Model: basic")
    yield page
    page.close()
    assert not faults
    assert [url for url in elsewhere if not url.startswith((live.url, "blob:"))] == []


def test_a_chosen_picture_is_answered_with_its_certainty(page: Page, photo_file: Path) -> None:
    page.set_input_files("#choose", photo_file)
    card = page.locator("article")
    expect(card.locator("h2")).to_have_text(ANSWER)
    expect(card.locator(".certainty")).to_have_text(re.compile(r"^[a-z, ]+ \(\d+\.\d %\)$"))
    expect(card.locator(".name")).to_have_text("photo.jpg")
    expect(page.locator("#status")).to_have_text(re.compile(r"^(cat|dog), .* percent$"))
    assert card.locator("img").evaluate("image => image.naturalWidth") == 50


def test_pasted_and_dropped_pictures_and_pasted_urls_are_answered(page: Page, photo: bytes) -> None:
    body = page.locator("body")
    body.evaluate(PASTE, list(photo))
    expect(page.locator("article h2")).to_have_text(ANSWER)
    body.evaluate(DROP, list(photo))
    expect(page.locator("article h2")).to_have_text([ANSWER, ANSWER])
    expect(page.locator("article .name")).to_have_text(["dropped.png", "image.png"])
    body.evaluate(PASTE, "https://localhost/cat.jpg")
    reason = "https://localhost/cat.jpg: localhost is not a public address, and only those are allowed here"
    expect(page.locator("article .certainty").first).to_have_text(reason)


def test_only_the_last_answers_stay(page: Page, photo_file: Path) -> None:
    for count in (*range(1, 7), 6):
        page.set_input_files("#choose", photo_file)
        expect(page.locator("article h2")).to_have_text([ANSWER] * count)


def test_an_error_is_said_in_the_words_of_predict(page: Page, tmp_path: Path) -> None:
    wrong = tmp_path / "notes.jpg"
    wrong.write_text("no picture")
    page.set_input_files("#choose", wrong)
    card = page.get_by_role("alert")
    expect(card.locator("h2")).to_have_text("No answer")
    expect(card.locator(".certainty")).to_contain_text("notes.jpg: it is damaged or not an image")
    expect(card.locator(".explain")).to_be_hidden()


def test_the_explanation_is_shown_and_taken_back(page: Page, photo_file: Path) -> None:
    page.set_input_files("#choose", photo_file)
    image, button = page.locator("article img"), page.locator(".explain")
    expect(button).to_have_text("Where did it look?")
    before = image.get_attribute("src")
    button.click()
    expect(button).to_have_text("Show the picture")
    expect(image).to_have_attribute("alt", re.compile("bright where the network saw (cat|dog)"))
    assert image.get_attribute("src") != before
    button.click()
    expect(button).to_have_text("Where did it look?")
    assert image.get_attribute("src") == before


def test_it_works_by_keyboard_alone(browser: Browser, network: Basic, photo: bytes) -> None:
    with image_host(photo) as url, run_server(network, Settings(web=WebOptions())) as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator("#model")).to_contain_text("Model")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "choose"
        page.keyboard.press("Tab")
        page.keyboard.type(url)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("article h2")).to_have_text(ANSWER)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".explain")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("document.activeElement.className") == "explain"
        page.close()


def test_a_token_is_asked_for_once(browser: Browser, network: Basic, photo_file: Path) -> None:
    with run_server(network, Settings(token="geheim", web=None)) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_label("This server asks for its token").fill("geheim")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_contain_text("Model: basic")
        expect(page.locator("#by-url")).to_be_hidden()
        page.set_input_files("#choose", photo_file)
        expect(page.locator("article h2")).to_have_text(ANSWER)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_a_phone_and_a_screen_in_light_and_dark(
    width: int, scheme: Literal["light", "dark"], browser: Browser, live: Live, photo_file: Path
) -> None:
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width == 390
    )
    page.goto(live.url)
    long_name = photo_file.rename(photo_file.with_name("a" * 120 + ".jpg"))
    page.set_input_files("#choose", long_name)
    expect(page.locator("article h2")).to_have_text(ANSWER)
    expect(page.get_by_text("Take a photo")).to_be_visible(visible=width == 390)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).color"))[:3]
    )
    assert (red + green + blue > 384) == (scheme == "dark")  # the ink
    page.close()


def test_the_api_has_a_page_of_its_own(browser: Browser, live: Live) -> None:
    page = browser.new_page()
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(f"{live.url}/docs")
    expect(page.get_by_text("/v1/predict")).to_be_visible()
    assert [url for url in elsewhere if not url.startswith((live.url, "data:"))] == []
    page.close()


@pytest.fixture
def photo_file(photo: bytes, tmp_path: Path) -> Path:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo)
    return file
