"""Screenshots of the page for the docs: each tab at a desk and on a phone, light and dark, on one sheet a tab.

python -m benchmarks.page_pictures RUN INDEX docs

The run and the index must be of drawn images (``alexnet demo``'s): photos of others have no place in the docs. Needs
Chromium, as ``make test-browser`` does.
"""

import io
import shutil
from pathlib import Path

from PIL import Image

from benchmarks import harness
from benchmarks.serve import Server

DESK, PHONE, GAP = (1180, 900), (390, 900), 16
TABS = {"predict": "predict", "inside": "conv2", "similar": "similar", "run": "run", "api": "api"}
COLORS = 128  # of a sheet, which saves two thirds of its bytes


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = harness.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with Server(options.run, "--index", str(options.index)) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shots: dict[str, list[Image.Image]] = {name: [] for name in TABS}
        for scheme in ("light", "dark"):
            for width, height in (DESK, PHONE):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(f"http://127.0.0.1:{server.port}/")
                page.wait_for_selector("html[data-ready]")
                page.locator("#examples button").nth(0).click()
                page.wait_for_selector("#bars li")
                for name, address in TABS.items():
                    page.evaluate("address => { location.hash = address }", address)
                    page.wait_for_timeout(2500)
                    page.mouse.move(1, 1)
                    page.evaluate("scrollTo(0, 0)")
                    content = page.screenshot()
                    shots[name].append(Image.open(io.BytesIO(content)).convert("RGB"))
                page.close()
        browser.close()
    for name, pictures in shots.items():
        sheet = Image.new("RGB", (DESK[0] + GAP + PHONE[0], 2 * DESK[1] + GAP), "#808890")
        for place, picture in enumerate(pictures):
            sheet.paste(picture, (place % 2 * (DESK[0] + GAP), place // 2 * (DESK[1] + GAP)))
        small = sheet.resize((6 * sheet.width // 10, 6 * sheet.height // 10), Image.Resampling.LANCZOS)
        small.quantize(COLORS).save(options.folder / f"page-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
