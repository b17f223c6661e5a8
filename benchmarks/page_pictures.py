"""Screenshots of the page for the docs: each tab at a desk and on a phone, light and dark, on one sheet a tab.

python -m benchmarks.page_pictures RUN INDEX docs

The run and the index must be of drawn images (``alexnet demo``'s): photos of others have no place in the docs. Needs
Chromium, as ``make test-browser`` does.
"""

import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import harness
from benchmarks.serve import Server

DESK, PHONE, GAP = (1180, 900), (390, 900), 16
SHEETS = {"predict": "predict", "inside": "conv2", "unit": "conv5", "compare": "conv2", "similar": "similar",
          "run": "run", "api": "api"}  # addresses that are shown, by name of the sheet  # fmt: skip
SECOND = 4  # example beside the first on the sheet that compares
COLORS = 128  # of a sheet, which saves two thirds of its bytes


def shot(page: Any, name: str, address: str) -> Image.Image:
    """What a window shows at an address: of a unit what drives it, on a phone all but the first from the tabs on."""
    page.evaluate("address => { location.hash = address }", address)
    if name == "compare":
        page.get_by_label("Compare with").select_option("photo")
        page.locator("#examples button").nth(SECOND).click()
    if name == "similar":
        page.get_by_label("Compare with").select_option("")
        page.get_by_role("switch", name="binary code").click()
        page.wait_for_selector("#neighbors h2", timeout=120_000)
    if name == "unit":  # the one that responds most
        page.wait_for_function("document.getElementById('layer-name').textContent === 'conv5'")
        page.wait_for_timeout(2500)
        page.locator("#maps .map").first.click()
        page.wait_for_selector("#top .nine", timeout=120_000)
        page.wait_for_selector("#top .made img", timeout=120_000)
    if name == "run":
        page.wait_for_selector("#errors table", timeout=120_000)
    page.wait_for_timeout(2500)
    page.mouse.move(1, 1)
    narrow = page.viewport_size["width"] == PHONE[0]
    start = {"predict": "what", "unit": "top"}.get(name, "tabs" if narrow else "what")
    top = page.evaluate("name => document.getElementById(name).getBoundingClientRect().top + scrollY", start)
    page.evaluate("top => scrollTo(0, top)", 0 if start == "what" else top - 8)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = harness.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with Server(options.run, "--index", str(options.index)) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shots: dict[str, list[Image.Image]] = {name: [] for name in SHEETS}
        for scheme in ("light", "dark"):
            for width, height in (DESK, PHONE):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(f"http://127.0.0.1:{server.port}/")
                page.wait_for_selector("html[data-ready]")
                page.locator("#examples button").nth(0).click()
                page.wait_for_selector("#bars li")
                for name, address in SHEETS.items():
                    shots[name].append(shot(page, name, address))
                page.close()
        browser.close()
    for name, pictures in shots.items():
        sheet = Image.new("RGB", (DESK[0] + GAP + PHONE[0], 2 * DESK[1] + GAP), "#808890")
        for number, picture in enumerate(pictures):
            sheet.paste(picture, (number % 2 * (DESK[0] + GAP), number // 2 * (DESK[1] + GAP)))
        small = sheet.resize((6 * sheet.width // 10, 6 * sheet.height // 10), Image.Resampling.LANCZOS)
        small.quantize(COLORS).save(options.folder / f"page-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
