"""Print the built decks as PDF with Chromium: `python teaching/slides/print.py book/_build/html/slides`."""

import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def print_pdf(browser: str, page: Path) -> Path:
    """One deck as PDF beside its page.

    Args:
        browser: name of the program.
        page: session1.html and so on.
    """
    out = page.with_suffix(".pdf").resolve()
    options = "--headless --no-sandbox --disable-gpu --virtual-time-budget=15000 --no-pdf-header-footer"
    url = f"{page.resolve().as_uri()}?print-pdf"
    subprocess.run(
        [browser, *options.split(), f"--print-to-pdf={out}", url], check=True, capture_output=True, timeout=120
    )
    return out


if __name__ == "__main__":
    found = next(filter(shutil.which, BROWSERS), None)
    if found is None:
        print(f"No PDF: none of {', '.join(BROWSERS)} is installed.")
        sys.exit(0)
    for one in sorted(Path(sys.argv[1]).glob("session*.html")):
        print(print_pdf(found, one))
