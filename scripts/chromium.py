"""The Chromium of this machine without a window, for tests of pages and pictures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Where it is; None if there is none."""


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser for the block; there must be a `CHROMIUM`."""
    with sync_playwright() as playwright:
        # Without a sandbox, so that it starts in containers as well: it opens our own pages only.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()
