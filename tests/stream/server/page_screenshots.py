"""Take the README's pictures of the page from a real run: python tests/stream/server/page_screenshots.py [FOLDER].

Chromium watches the theatre clip as its camera, the real server answers with pocket; docs/images/ is written.
"""

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from page_house import House, chromium, write_clip
from PIL import Image

IMAGES = Path(__file__).parents[3] / "docs" / "images"
QUESTIONS = ("What was next to the monkey?", "Was there an elephant?", "When did you see the pencil?")
PAIR_S, SNAIL_S = 36, 43.6  # the flower and the monkey, then the snail, are there for the second time


def wait_until_covered(page: Any, least_s: float) -> None:
    page.wait_for_function(
        "least => Number(document.getElementById('timeline').ariaValueMax ?? 0) >= least", arg=least_s, timeout=120_000
    )


def ask(page: Any, question: str) -> None:
    before = page.locator(".entry[data-status=completed]").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.locator(".entry[data-status=completed]").nth(before).wait_for()


def shoot(page: Any, path: Path) -> None:
    """Write a picture of the page with a palette, which is a third as large."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def stage(page: Any, house: House) -> None:
    """Bring the page to where it shows everything."""
    page.goto(house.url)
    page.locator("#state[data-tone=idle]").wait_for()
    page.fill("#condition", "Is there a monkey?")
    page.press("#condition", "Enter")
    page.locator(".watch").wait_for()
    page.click("#use-camera")
    wait_until_covered(page, 15.5)
    page.fill("#mark-label", "curtain")
    page.press("#mark-label", "Enter")
    for question in QUESTIONS:
        ask(page, question)
    wait_until_covered(page, PAIR_S)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # the clip's path is the camera's name
        house = House({"stage": "theatre:7"})
        try:
            with chromium(write_clip(Path("theatre.y4m"))) as browser:
                wide = {"viewport": {"width": 1360, "height": 850}, "device_scale_factor": 2, "permissions": ["camera"]}
                page = browser.new_context(**wide, color_scheme="dark").new_page()
                stage(page, house)
                shoot(page, folder / "page-dark.png")
                page.emulate_media(color_scheme="light")
                wait_until_covered(page, SNAIL_S)
                shoot(page, folder / "page-light.png")
                page.emulate_media(color_scheme="dark")
                page.set_viewport_size({"width": 390, "height": 844})
                page.wait_for_timeout(500)
                page.evaluate("scrollTo(0, 0)")
                shoot(page, folder / "page-phone.png")
                page.close()
        finally:
            house.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else IMAGES)
