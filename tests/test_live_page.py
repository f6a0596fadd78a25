"""Live pictures in a browser: drawn as Python draws them, moved by keys and mouse, and asking nobody for anything."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from ctsl_course.live.output import Picture, as_page, drawn
from scripts.chromium import CHROMIUM, browser
from tests.live_samples import PICTURES, STATES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def requests() -> list[str]:
    """The addresses that the page asks for."""
    return []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, requests: list[str]) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    folder = tmp_path_factory.mktemp("browser")
    bodies = "".join(f'<div id="{name}">{as_page(one)}</div>' for name, one in PICTURES.items())
    file = folder / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{bodies * 2}</body>", encoding="utf-8")
    with browser() as running:
        found = running.new_page()
        found.on("request", lambda request: requests.append(request.url))
        found.goto(file.as_uri())
        yield found


def bound(page: Page, name: str) -> list[dict[str, str]]:
    """What every part of the page that follows a value looks like."""
    script = """name => [...document.getElementById(name).querySelectorAll("[data-bind]")]
        .filter(part => !part.closest(".controls"))
        .map(part => ({
            ...Object.fromEntries([...part.attributes].map(one => [one.name, one.value])),
            text: part.children.length ? "" : part.textContent,
        }))"""
    return page.evaluate(script, name)


NUMBER = re.compile(r"[+−-]?\d+(?:\.\d+)?")


def numbers(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in NUMBER.findall(text)]


def same(found: list[dict[str, str]], picture: Picture, state: dict[str, float]) -> None:
    parsed = ET.fromstring(f"<div>{drawn(picture, state, live=True)}</div>")
    wanted = [{**part.attrib, "text": part.text or ""} for part in parsed.iter() if "data-bind" in part.attrib]
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert NUMBER.sub("#", one[key]) == NUMBER.sub("#", other[key]), key
            # half a unit of the last of two decimals, on either side
            assert numbers(one[key]) == pytest.approx(numbers(other[key]), abs=0.011), (key, one, other)


def select(page: Page, name: str, state: dict[str, float]) -> None:
    for control, value in state.items():
        page.evaluate(f"""(() => {{ const input = document.querySelector('#{name} [data-control="{control}"]');
            input.value = "{value}"; input.dispatchEvent(new Event("input", {{bubbles: true}})); }})()""")


@pytest.mark.parametrize("name", PICTURES)
def test_the_page_draws_what_python_draws(page: Page, name: str) -> None:
    picture = PICTURES[name]
    page.evaluate(f"document.querySelector('#{name} button').click()")
    same(bound(page, name), picture, picture.start)
    if name == "triangle":  # it has handles in place of controls; the next tests move them
        return
    for state in STATES[name]:
        select(page, name, state)
        same(bound(page, name), picture, state)


def press(page: Page, keys: str, times: int = 1) -> None:
    """Press keys as a person does, where the focus is."""
    for _ in range(times):
        page.keyboard.press(keys)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag with the left button from one point of the window to another."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end)
    page.mouse.up()


def test_sliders_follow_the_keys(page: Page) -> None:
    select(page, "tug_of_war", PICTURES["tug_of_war"].start)
    page.evaluate("""document.querySelector('#tug_of_war [data-control="steps"]').focus()""")
    press(page, "ArrowRight", 5)
    press(page, "ArrowLeft")
    same(bound(page, "tug_of_war"), PICTURES["tug_of_war"], {"sure": 0.96, "steps": 4, "both": 1})
    press(page, "End")
    same(bound(page, "tug_of_war"), PICTURES["tug_of_war"], {"sure": 0.96, "steps": 30, "both": 1})


def test_corners_follow_keys_and_mouse(page: Page) -> None:
    picture = PICTURES["triangle"]
    page.evaluate("document.querySelector('#triangle button').click()")
    page.evaluate("document.querySelectorAll('#triangle [data-drag]')[2].focus()")
    press(page, "Shift+ArrowRight", 3)
    press(page, "ArrowDown", 2)
    same(bound(page, "triangle"), picture, picture.start | {"Cx": 1.5, "Cy": 3.8})
    press(page, "Shift+Tab")
    press(page, "ArrowUp")
    same(bound(page, "triangle"), picture, picture.start | {"Cx": 1.5, "Cy": 3.8, "By": 0.1})
    page.evaluate("document.querySelector('#triangle button').click()")
    page.evaluate("document.querySelector('#triangle svg').scrollIntoView({block: 'center'})")
    middles = page.evaluate("""[...document.querySelectorAll("#triangle [data-drag]")]
        .map(part => part.getBoundingClientRect()).map(box => [box.x + box.width / 2, box.y + box.height / 2])""")
    unit = (middles[1][0] - middles[0][0]) / 3
    drag(page, tuple(middles[1]), (middles[1][0] + unit, middles[1][1] - 2 * unit))
    same(bound(page, "triangle"), picture, picture.start | {"Bx": 4.0, "By": 2.0})
    drag(page, (middles[1][0] + unit, middles[1][1] - 2 * unit), (middles[1][0] + 100 * unit, middles[1][1]))
    same(bound(page, "triangle"), picture, picture.start | {"Bx": 5.0, "By": 0.0})


def test_every_copy_on_a_page_moves_and_nothing_is_fetched(page: Page, requests: list[str]) -> None:
    assert page.evaluate("document.querySelectorAll('.ctsl-live[data-ready]').length") == 2 * len(PICTURES)
    assert page.evaluate("document.querySelectorAll('.ctsl-live img').length") == 0  # the first frame has gone
    assert [address for address in requests if not address.startswith(("data:", "file:"))] == []
    assert sum(address.startswith("file:") for address in requests) == 1


def test_print_shows_one_frame(page: Page) -> None:
    page.emulate_media(media="print")
    shown = "[...document.querySelectorAll('.controls')].map(c => getComputedStyle(c).display)"
    assert set(page.evaluate(shown)) == {"none"}
    page.emulate_media(media="screen")
    assert set(page.evaluate(shown)) == {"flex"}
