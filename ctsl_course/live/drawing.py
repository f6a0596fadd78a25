"""What a live picture is made of: elements of HTML and SVG whose attributes follow named values."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Values = Mapping[str, float | str]
SLOT = re.compile(r"\{(\w+)(?::(\+?)(\d))?\}")
"""In a text: {name}, {name:2} with two decimals, {name:+2} with its sign as well."""


class Bind(NamedTuple):
    """An attribute that follows a value: scale * value + offset."""

    name: str
    scale: float = 1
    offset: float = 0


Attribute = str | float | Bind
Attributes = Mapping[str, Any]
"""Name -> `Attribute`."""


@dataclass(frozen=True)
class Element:
    """An element of HTML or SVG; an attribute or a text with slots, and a `Bind`, follow the values."""

    tag: str
    attributes: Attributes
    content: "str | tuple[Element, ...]" = ""


def el(tag: str, content: "str | Iterable[Element]" = "", **attributes: Any) -> Element:
    """An element.

    Args:
        tag: such as "rect".
        content: a text, which may have slots, or elements.
        attributes: `class_` stands for class, `stroke_width` for stroke-width.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    return Element(tag, named, content if isinstance(content, str) else tuple(content))


def panel(width: int, height: int, label: str, parts: Iterable[Element], *, role: str = "img") -> Element:
    """A drawing that grows and shrinks with the page.

    Args:
        width, height: its own units; text is 12 of them high.
        label: what is drawn, for a reader who hears it.
        parts: what is in it.
        role: "img", or "group" if it has handles.
    """
    box = f"0 0 {width} {height}"
    named = {"class": "panel", "viewBox": box, "role": role, "aria-label": label}
    return Element("svg", named, tuple(parts))


def text(x: Attribute, y: Attribute, words: str, kind: str = "") -> Element:
    """Words at a place.

    Args:
        x, y: where.
        words: may have slots.
        kind: classes, such as "middle" or "end".
    """
    return el("text", words, x=x, y=y, class_=kind)


def line(
    x1: Attribute, y1: Attribute, x2: Attribute, y2: Attribute, kind: str = "axis", **more: Any
) -> Element:  # fmt: skip
    """A line.

    Args:
        x1, y1, x2, y2: from where to where.
        kind: classes, such as "grid" or "line c0".
        more: further attributes.
    """
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind, **more)


def fill(words: str, values: Values) -> str:
    """A text with the values in its slots."""

    def word(found: re.Match[str]) -> str:
        name, sign, digits = found.groups()
        value = values[name]
        if digits is None:
            return str(value)
        number = f"{float(value):{sign}.{digits}f}"
        return number.lstrip("+-") if float(number) == 0 else number.replace("-", "−")

    return SLOT.sub(word, words)


def render(element: Element, values: Values, *, live: bool) -> str:
    """An element as text, drawn for some values.

    Args:
        element: what to draw.
        values: by name.
        live: whether it can be drawn again for other values, by the script of the page.
    """
    bound: dict[str, object] = {}
    written = []
    for name, value in element.attributes.items():
        if isinstance(value, Bind):
            bound[name] = list(value)
            value = _number(value.scale * float(values[value.name]) + value.offset)
        elif isinstance(value, str) and SLOT.search(value):
            bound[name] = value
            value = fill(value, values)
        written.append(f'{name}="{html.escape(value if isinstance(value, str) else _number(value))}"')
    if isinstance(element.content, str):
        if SLOT.search(element.content):
            bound["text"] = element.content
        inside = html.escape(fill(element.content, values))
    else:
        inside = "".join(render(part, values, live=live) for part in element.content)
    if bound and live:
        written.append(f'data-bind="{html.escape(json.dumps(bound, separators=(",", ":")))}"')
    start = " ".join([element.tag, *(one for one in written if one != 'class=""')])
    return f"<{start}/>" if element.tag in ("input", "image", "img") else f"<{start}>{inside}</{element.tag}>"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
