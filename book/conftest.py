"""A browser for the tests of the book, which run in the book's environment."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Skips the test where there is no Chromium."""
    if chromium.CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with chromium.browser() as running:
        yield running
