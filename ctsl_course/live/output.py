"""One output with three MIME types: a live widget, a page that needs no kernel, and a text.

JupyterLab shows the widget, whose numbers come from the library; the book shows the page, whose script computes the
same numbers in the browser. Both draw the same elements. Nothing asks another host for anything.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import ipywidgets
from IPython.display import display

from ctsl_course.live.drawing import Element, Values, el, fill, render

State = Mapping[str, float]


@dataclass(frozen=True)
class Control:
    """What a reader may change: a number within bounds."""

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    choices: tuple[str, ...] = ()
    """What the whole numbers from `low` on mean; without them the control is a slider."""
    handle: bool = False
    """Whether the page has a handle in the drawing for it, in place of a slider."""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high or self.step <= 0:
            raise ValueError(
                f"{self.name} must start within [{self.low}, {self.high}] and have a step above 0, "
                f"got {self.value} and step {self.step}"
            )


@dataclass(frozen=True)
class Picture:
    """A picture that a reader can change."""

    title: str
    about: str
    """What there is to see, for a reader who hears it."""
    caption: str
    """The values in words, with slots; it is read aloud when they change."""
    controls: tuple[Control, ...]
    panels: tuple[Element, ...]
    values: Callable[[State], dict[str, float | str]]
    """The numbers of a state, from the library; the state's own are added to them."""
    script: str
    """The file in this folder with the same numbers as a function of state and data in JavaScript."""
    data: Mapping[str, Any]
    """What the script needs to know."""
    hint: str = ""
    """How to move what has handles on the page."""

    @property
    def start(self) -> dict[str, float]:
        """The state that the picture begins with."""
        return {control.name: control.value for control in self.controls}

    def at(self, state: State) -> dict[str, float | str]:
        """All values of a state.

        Args:
            state: the value of each control, by name.
        """
        return {**state, **self.values(state)}


def source(name: str) -> str:
    """The text of a file in this folder."""
    return files("ctsl_course.live").joinpath(name).read_text(encoding="utf-8").strip()


def as_text(picture: Picture) -> str:
    """The picture in words."""
    return f"{picture.title}: {picture.about} {fill(picture.caption, picture.at(picture.start))}"


def drawn(picture: Picture, state: State, *, live: bool = False) -> str:
    """Title, panels and caption, without anything to change them by.

    Args:
        picture: what to draw.
        state: the value of each control, by name.
        live: whether the script of the page can draw them again.
    """
    values = picture.at(state)
    return "".join(render(part, values, live=live) for part in _parts(picture, picture.panels))


def _parts(picture: Picture, panels: Iterable[Element]) -> tuple[Element, ...]:
    return (
        el("p", picture.title, class_="title"),
        el("div", panels, class_="panels"),
        el("p", picture.caption, class_="caption", aria_live="polite"),
    )


def as_page(picture: Picture) -> str:
    """The picture as HTML with a script of its own.

    Where scripts do not run, as in a notebook that is not trusted, the first frame stands: the drawings as images,
    since untrusted SVG is taken apart there. What the script puts in its place waits in the page as plain text.
    """
    known = {
        "controls": {one.name: {"low": one.low, "high": one.high, "step": one.step, "value": one.value}
                     for one in picture.controls},
        "data": picture.data,
    }  # fmt: skip
    data = json.dumps(known, separators=(",", ":")).replace("<", "\\u003c")
    values = picture.at(picture.start)
    frame = _parts(picture, (_image(one, values) for one in picture.panels))
    still = "".join(render(part, values, live=False) for part in frame)
    live = drawn(picture, picture.start, live=True) + render(_controls(picture), values, live=True)
    script = f"{source('live.js')}({source(picture.script)});"
    key = hashlib.sha256(f"{live}{data}{script}".encode()).hexdigest()[:12]
    name = render(el("div", class_="ctsl-live", role="group", aria_label=picture.about), {}, live=False)
    return (
        f'{name.removesuffix("></div>")} data-key="{key}"><style>\n{source("live.css")}\n</style>'
        f'<div class="stage">{still}</div><script type="text/html" class="live">{live}</script>'
        f'<script type="application/json" class="data">{data}</script>'
        f"<script>\n{script.replace('KEY', key)}\n</script></div>"
    )


def _image(panel: Element, values: Values) -> Element:
    """A drawing as an image in the colours for a light page; anything else as it is."""
    if panel.tag != "svg":
        return panel
    colours = dict(re.findall(r"(--\w+): (#\w+);", source("live.css").partition("}")[0]))
    style = source("live.css").partition("/* drawings */")[2].partition("/* end */")[0].replace(".ctsl-live ", "")
    style = re.sub(r"var\((--\w+)\)", lambda found: colours[found[1]], " ".join(style.split()))
    _, _, width, height = str(panel.attributes["viewBox"]).split()
    svg = render(panel, values, live=False).replace(">", f"><style>{style}</style>", 1)
    size = f'width="{width}" height="{height}" style="background: #FFFFFF"'
    svg = svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {size} ', 1)
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return Element("img", {"src": address, "alt": panel.attributes["aria-label"], "width": width})


def _controls(picture: Picture) -> Element:
    hint = [el("p", picture.hint)] if picture.hint else []
    inputs = [_input(control) for control in picture.controls if not control.handle]
    reset = el("div", [el("button", "back to the start", type="button")])
    return el("div", [*hint, *inputs, reset], class_="controls")


def _input(control: Control) -> Element:
    name = Element("span", {}, control.label)
    if control.choices:
        numbered = enumerate(control.choices, start=int(control.low))
        options = tuple(el("option", words, value=number) for number, words in numbered)
        return el("label", [name, Element("select", {"data-control": control.name}, options)])
    bounds = {"min": f"{control.low}", "max": f"{control.high}", "step": f"{control.step}"}
    start = {"type": "range", "value": f"{control.value}", "data-control": control.name}
    return el("label", [name, Element("input", {**start, **bounds})])


def widget(picture: Picture) -> ipywidgets.VBox:
    """The picture as a widget: its numbers come from the library, in the kernel."""
    inputs = {control.name: _control(control) for control in picture.controls}
    shown = ipywidgets.HTML()

    def draw(_: object = None) -> None:
        state = {name: one.value for name, one in inputs.items()}
        for control in picture.controls:
            inputs[control.name].description = fill(control.label, picture.at(state))
        frame = drawn(picture, state)
        shown.value = f'<style>{source("live.css")}</style><div class="ctsl-live">{frame}</div>'

    for one in inputs.values():
        one.observe(draw, "value")
    draw()
    return ipywidgets.VBox([shown, *inputs.values()])


def _control(control: Control) -> Any:
    """A slider without a number of its own, since the label has it, or a list to choose from."""
    wide = {"style": {"description_width": "16em"}, "layout": {"width": "32em"}}
    if control.choices:
        options = [(words, number) for number, words in enumerate(control.choices, start=int(control.low))]
        return ipywidgets.Dropdown(options=options, value=control.value, **wide)
    bounds = {"min": control.low, "max": control.high, "step": control.step, "value": control.value}
    return ipywidgets.FloatSlider(readout=False, **bounds, **wide)


def forms(picture: Picture) -> dict[str, Any]:
    """The three forms of a picture, by MIME type."""
    live = widget(picture)._repr_mimebundle_()
    return {**live, "text/html": as_page(picture), "text/plain": as_text(picture)}


def show(picture: Picture) -> None:
    """Display a picture: a widget where a kernel runs, a page where none does, a text elsewhere."""
    display(forms(picture), raw=True)
