"""Take the picture of a report for README: ``python -m benchmarks.picture results/onecycle/report.html``.

It is the first screen at 1000 pixels, the width of a README, in ``docs/report.png``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT, SCALE = 1000, 620, 2
CHROMIUM = "/usr/bin/chromium"


def take(page: Path, picture: Path) -> None:
    """Save the first screen of a page as PNG."""
    with sync_playwright() as playwright:
        own = CHROMIUM if Path(CHROMIUM).is_file() else None
        browser = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, color_scheme="light"
        )
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(__file__).parents[1] / "docs" / "report.png")
