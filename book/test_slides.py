"""The built decks in a browser: nothing is cut off, no formula fails, no other host is asked; what ends a build.

`make book-test` runs it. It needs Chromium; without one it is skipped.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "book" / "_build" / "html" / "slides"
DECKS = sorted(SITE.glob("session*.html"))

HEIGHT = 720
"""Of a slide, in the settings of the slides."""

FAULTS = """async () => {
  await MathJax.startup.promise;
  const faults = [];
  for (const error of document.querySelectorAll('mjx-merror, [data-mjx-error]'))
    faults.push('formula: ' + (error.getAttribute('data-mjx-error') || error.textContent));
  if (document.querySelector('.math') && !document.querySelector('mjx-container'))
    faults.push('formulas are not typeset');
  const slides = [...document.querySelectorAll('.pdf-page > section')];
  if (slides.length < 10) faults.push(slides.length + ' slides');
  for (const slide of slides) {
    const title = slide.querySelector('h1, h2').textContent;
    if (slide.scrollHeight > HEIGHT) faults.push(title + ': ' + slide.scrollHeight + ' px high');
    const right = slide.getBoundingClientRect().right;
    for (const part of slide.querySelectorAll('p, pre, table, mjx-container')) {
      const wide = part.tagName === 'PRE' && part.firstChild.scrollWidth > part.firstChild.clientWidth;
      if (wide || part.getBoundingClientRect().right > right)
        faults.push(title + ': cut off on the right: ' + part.textContent.slice(0, 40));
    }
    for (const image of slide.querySelectorAll('img')) {
      if (!image.alt.trim()) faults.push(title + ': no alt text');
      if (!image.naturalWidth) faults.push(title + ': a picture does not load');
    }
  }
  return faults;
}""".replace("HEIGHT", str(HEIGHT))
"""What is wrong with the slides of a deck as they are printed, in words."""


@pytest.mark.skipif(not DECKS, reason="the slides are not built: make slides")
@pytest.mark.parametrize("deck", DECKS, ids=[deck.stem for deck in DECKS])
def test_a_deck_is_whole(browser: Browser, deck: Path) -> None:
    page = browser.new_page()
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.goto(f"{deck.as_uri()}?print-pdf", wait_until="load")
    page.wait_for_selector(".pdf-page", state="attached")
    faults += page.evaluate(FAULTS)
    faults += [f"asks another host: {url}" for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    page.close()
    assert faults == []


def test_the_speaker_sees_notes_on_a_screen(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{(SITE / 'session1.html').as_uri()}#/1", wait_until="load")
    assert page.locator("section.present h2").last.inner_text() == "One question"
    assert "4 minutes. Say: " in page.evaluate("Reveal.getSlideNotes()")
    page.keyboard.press("ArrowRight")
    assert page.locator("section.present h2").last.inner_text() == "What size buys"
    page.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```{notebook-figure} 02 A picture that nobody drew\n```", "0 pictures of notebook 02 begin with"),
        ("```{notebook-figure} 02 Test\n```\n{{ mean dmll }}", "method must be one of"),
    ],
)
def test_what_is_missing_ends_the_build(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "index.md").write_text(f"# A deck\n\n## A slide\n\n{text}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "revealjs", "-c", ROOT / "teaching" / "slides"]
    built = subprocess.run([*command, tmp_path, tmp_path / "out"], capture_output=True, text=True)
    assert built.returncode != 0 and message in built.stderr
