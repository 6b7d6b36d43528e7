"""Draw the README's picture, the basic model's answers on the drawn sample; take its report and its page.

    pip install playwright && apt-get install chromium
    python docs/make_pictures.py            # prepares the sample, trains for a minute, draws
    python docs/make_pictures.py FOLDER     # draws from a folder in which that was done already

Shown are the first pictures of each class in the test folder, whatever the model answers.
"""

import csv
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Playwright, sync_playwright

REPOSITORY = Path(__file__).parents[1]
IMAGES = REPOSITORY / "docs" / "images"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
COLUMNS = 6
SIDE = 150
CAPTION = 28
GAP = 10
COLOURS = 256  # half the size of the file
RIGHT, WRONG = (26, 127, 55), (207, 34, 46)


def main() -> None:
    """Train where no folder is given, ask the model, and draw."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if sys.argv[1:] else temporary)
        if not sys.argv[1:]:
            catdog(folder, "prepare", "sample")
            catdog(folder, "fit", "--config", "sample")
        answers = list(csv.DictReader(io.StringIO(catdog(folder, "predict", "data/test", "--format", "csv"))))
        rows = [[row for row in answers if f"/test/{true}/" in row["source"]] for true in ("cat", "dog")]
        sheet = draw(folder, [row[:COLUMNS] for row in rows])
        catdog(folder, "report")
        page = take_page(*folder.glob("checkpoints/*/*/report.html"))
        served = take_served(folder)
    IMAGES.mkdir(exist_ok=True)
    save(sheet, IMAGES / "predictions.png")
    save(page, IMAGES / "report.png")
    save(served, IMAGES / "serve.png")


def save(picture: Image.Image, target: Path) -> None:
    """Write a picture in few colours."""
    colours = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE)
    picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)
    print(f"Written {target}, {target.stat().st_size / 1000:.0f} kB")


def take_page(page: Path) -> Image.Image:
    """Return how a page begins, and what its second gallery shows, in Debian's Chromium."""
    shown = []
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        tab = browser.new_page(viewport={"width": 960, "height": 528})
        tab.goto(page.resolve().as_uri())
        for place in ("h1", "h2:text('Least certain answers')"):
            tab.evaluate("element => element.scrollIntoView()", tab.locator(place).element_handle())
            shown.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        browser.close()
    whole = Image.new("RGB", (shown[0].width, sum(part.height for part in shown)))
    for i, part in enumerate(shown):
        whole.paste(part, (0, i * part.height))
    return whole


def take_served(folder: Path) -> Image.Image:
    """Return the page of ``serve`` with a cat and an explained dog of the test folder."""
    command = [sys.executable, "-m", "catdog_pl", "serve", "--port", "0"]
    pictures = [min((folder / "data" / "test" / name).iterdir()) for name in ("cat", "dog")]
    with (
        sync_playwright() as playwright,
        subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout
        browser = chromium(playwright)
        tab = browser.new_page(viewport={"width": 760, "height": 400})
        tab.goto(server.stdout.readline().split()[2])
        tab.set_input_files("#choose", pictures)
        tab.locator(".explain:not([hidden])").nth(1).wait_for()
        tab.locator(".explain").first.click()
        tab.locator("[aria-pressed=true]").wait_for()
        tab.mouse.click(0, 0)
        shown = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
        browser.close()
        server.terminate()
    return shown


def chromium(playwright: Playwright) -> Browser:
    """Return Debian's Chromium."""
    return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


def catdog(folder: Path, *words: str) -> str:
    """Run a command of the package in ``folder``; return what it prints."""
    command = [sys.executable, "-m", "catdog_pl", *words]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def draw(folder: Path, rows: list[list[dict[str, str]]]) -> Image.Image:
    """Return the pictures in rows, each above its answer, which is green if it is right."""
    width = COLUMNS * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, len(rows) * (SIDE + CAPTION + GAP) + GAP), "white")
    pencil = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=17)
    for y, row in enumerate(rows):
        for x, answer in enumerate(row):
            left, top = GAP + x * (SIDE + GAP), GAP + y * (SIDE + CAPTION + GAP)
            with Image.open(folder / answer["source"]) as picture:
                tile = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (left, top))
            dog = float(answer["probability"])
            text = f"{answer['label']} {max(dog, 1 - dog):.0%}"
            is_right = f"/{answer['label']}/" in answer["source"]
            place = (left + SIDE // 2, top + SIDE + CAPTION // 2)
            pencil.text(place, text, fill=RIGHT if is_right else WRONG, font=font, anchor="mm")
    return sheet


if __name__ == "__main__":
    main()
