"""The built book in a browser: every page, at a desk and on a phone, in light and in dark, served and unpacked.

`make book-test` runs it. It needs Chromium; without one it is skipped.
"""

import runpy
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "book" / "_build" / "html"
OTHER = {"_static", "slides"}  # slides are no pages: test_slides.py
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if not OTHER & set(path.parts))
WIDTHS = {"desk": 1280, "phone": 390}
WORDS = {
    "temperature": "notebooks/01_dark_knowledge",
    "angle_loss": "api/ctsl_lib/losses",
    "papermill": "guides",
    "Bonferroni": "notebooks/06_ablation",
    "dropout": "",
    "Market-1501": "guides/real-images",
}
"""What a reader may look for -> how the address of one page that is found begins."""

pytestmark = pytest.mark.skipif(not PAGES, reason="the book is not built: make book")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    yield context.new_page()
    context.close()


FAULTS = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const shown = element => element.getClientRects().length > 0;
  const name = image => image.getAttribute('src').split('/').pop();
  const images = [...document.querySelectorAll('img')].filter(shown);
  const faults = [];
  for (const error of document.querySelectorAll('mjx-merror, [data-mjx-error]'))
    faults.push('formula: ' + (error.getAttribute('data-mjx-error') || error.textContent));
  if (document.querySelector('.math') && !document.querySelector('mjx-container'))
    faults.push('formulas are not typeset');
  for (const image of images) {
    if (!(image.getAttribute('alt') || '').trim()) faults.push('no alt text: ' + name(image));
    if (image.naturalWidth === 0) faults.push('picture does not load: ' + name(image));
  }
  for (const cell of document.querySelectorAll('article :is(td, th) p'))
    if (getComputedStyle(cell).overflowWrap !== 'normal') faults.push('a table breaks words: ' + cell.textContent);
  return faults;
}"""
"""What is wrong with a page at any width, in words."""

WIDE = """() => {
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  if (wide <= 1) return [];
  const out = [...document.querySelectorAll('main *')].filter(
    element => element.getBoundingClientRect().right > window.innerWidth + 1
      && !element.closest('mjx-assistive-mml'));
  return ['the page scrolls sideways by ' + wide + ' px: ' + (out.length ? out[0].outerHTML.slice(0, 120) : '?')];
}"""

UNREADABLE = """(dark) => {
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  document.documentElement.dataset.mode = dark ? 'dark' : 'light';
  const luminance = ([r, g, b]) => {
    const part = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      if (colour[3] > 127) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faults = [];
  for (const image of document.querySelectorAll('article img')) {
    if (!image.getClientRects().length || !image.naturalWidth) continue;
    canvas.canvas.width = canvas.canvas.height = 1;
    canvas.clearRect(0, 0, 1, 1);
    canvas.drawImage(image, 0, 0, 1, 1, 0, 0, 1, 1);
    const corner = [...canvas.getImageData(0, 0, 1, 1).data];
    const ground = corner[3] > 127 ? corner : behind(image);
    if (luminance(ground) < 0.5) faults.push('black on dark: ' + image.getAttribute('src').split('/').pop());
  }
  for (const element of document.querySelectorAll('article p, article td, article th, article li, article pre span')) {
    if (!element.getClientRects().length || !element.textContent.trim()) continue;
    const [text, ground] = [rgba(getComputedStyle(element).color), behind(element)].map(luminance);
    const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    if (contrast < 3) {
      faults.push(`contrast ${contrast.toFixed(1)}: ` + element.textContent.trim().slice(0, 60));
      break;
    }
  }
  return faults;
}"""


@pytest.mark.parametrize("place", PAGES)
def test_a_page_is_whole(page: Page, address: str, place: str) -> None:
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("response", lambda answer: answer.status >= 400 and faults.append(f"{answer.status} {answer.url}"))
    page.set_viewport_size({"width": WIDTHS["desk"], "height": 900})
    page.goto(address + place, wait_until="load")
    faults += page.evaluate(FAULTS)
    for name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        faults += [f"{name}: {fault}" for fault in page.evaluate(WIDE)]
    for dark in (False, True):
        faults += [f"{'dark' if dark else 'light'}: {fault}" for fault in page.evaluate(UNREADABLE, dark)]
    faults += [f"asks another host: {url}" for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert faults == []


@pytest.mark.parametrize("word", WORDS)
def test_the_search_finds(page: Page, address: str, word: str) -> None:
    page.goto(f"{address}search.html?q={word}")
    results = page.locator("#search-results ul.search li a").first
    results.wait_for(timeout=20_000)
    page.wait_for_function("document.querySelector('#search-results p.search-summary')?.innerText.length > 0")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any(link.removeprefix(address).startswith(WORDS[word]) for link in found), found


def test_the_search_works_from_an_unpacked_folder(page: Page) -> None:
    page.goto(f"{SITE.as_uri()}/search.html?q=temperature")
    page.locator("#search-results ul.search li a").first.wait_for(timeout=20_000)


def test_launch_buttons_would_lead_to_the_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "https://github.com/OWNER/NAME")
    options = runpy.run_path(str(ROOT / "book" / "conf.py"))["html_theme_options"]
    assert options["launch_buttons"] and options["repository_branch"] == "main"
    pages = [page.relative_to(SITE).with_suffix(".ipynb") for page in (SITE / "notebooks").glob("*.html")]
    assert pages and all((ROOT / options.get("path_to_docs", "") / page).exists() for page in pages)


def test_what_a_reader_can_press(page: Page, address: str) -> None:
    page.goto(f"{address}notebooks/02_response_knowledge.html")
    assert page.locator("button.copybtn").count() > 5
    assert page.locator("a[href$='.ipynb']").count() >= 1  # the notebook can be downloaded
    assert page.locator("a[href*='colab']").count() == 0  # nothing to launch: no repository is set
    for mode in ("dark", "light"):
        page.locator("button.theme-switch-button:visible").first.click()
        page.locator(f"button.theme-change-button[data-mode={mode}]:visible").first.click()
        assert page.locator("html").get_attribute("data-theme") == mode
