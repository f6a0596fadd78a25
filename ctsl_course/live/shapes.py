"""A live picture of relations: three images whose places the reader moves."""

import math

import torch
import torch.nn.functional as F

from ctsl_course.live.drawing import Bind, Element, el, line, panel, text
from ctsl_course.live.output import Control, Picture, State
from ctsl_lib.losses.functional import angle_loss, cosines, distance_loss, relative_distances

PLACES = {"A": (0.0, 0.0), "B": (3.0, 0.0), "C": (0.0, 4.0)}
TARGET = {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (0.5, math.sqrt(0.75))}
SIDES = {"AB": (0, 1), "AC": (0, 2), "BC": (1, 2)}
CORNERS = {"A": (0, 1, 2), "B": (1, 0, 2), "C": (2, 0, 1)}
"""Index [v, u, w] in `cosines`."""


def triangle() -> Picture:
    """The triangle of sides 3, 4 and 5 of peer k, whose corners can be dragged, beside peer j's equilateral one."""
    target = torch.tensor(list(TARGET.values()), dtype=torch.float64)

    def values(state: State) -> dict[str, float | str]:
        own = torch.tensor([[state[f"{name}x"], state[f"{name}y"]] for name in PLACES], dtype=torch.float64)
        found: dict[str, float | str] = {}
        for psi, places in ((relative_distances, SIDES), (cosines, CORNERS)):
            for name, place in places.items():
                k, j = psi(own)[place], psi(target)[place]
                huber = F.huber_loss(k, j)
                found |= {f"k_{name}": k.item(), f"j_{name}": j.item(), f"h_{name}": huber.item()}
        return {**found, "L_DD": distance_loss(own, target).item(), "L_AD": angle_loss(own, target).item()}

    controls = []
    for name, place in PLACES.items():
        for axis, low, high, value in (("x", -2, 5, place[0]), ("y", -3, 5, place[1])):
            label = f"{name}, f{'₁' if axis == 'x' else '₂'} = {{{name}{axis}:1}}"
            controls.append(Control(f"{name}{axis}", label, low, high, 0.1, value, handle=True))
    return Picture(
        title="A triangle to move",
        about="Images A, B, C as the corners of a triangle for peer k, which can be moved, and of an equilateral "
        "triangle for peer j; a table of relative distances, cosines and both losses.",
        caption="A at ({Ax:1}, {Ay:1}), B at ({Bx:1}, {By:1}), C at ({Cx:1}, {Cy:1}): distance loss {L_DD:4}, "
        "angle loss {L_AD:4}.",
        controls=tuple(controls),
        panels=(_places(), _table()),
        values=values,
        script="triangle.js",
        data={"target": TARGET},
        hint="Drag A, B or C; or choose one with Tab and move it with the arrow keys (with Shift: farther).",
    )


def _places() -> Element:
    scale, left, low = 33, 96, 194

    def across(name: str) -> Bind:
        return Bind(f"{name}x", scale, left)

    def up(name: str) -> Bind:
        return Bind(f"{name}y", -scale, low)

    parts = []
    for x in range(-2, 6):
        parts += [
            line(left + scale * x, 16, left + scale * x, 308, "grid"),
            text(left + scale * x, 322, f"{x}".replace("-", "−"), "middle"),
        ]
    for y in range(-3, 6):
        parts += [
            line(20, low - scale * y, 272, low - scale * y, "grid"),
            text(16, low - scale * y + 4, f"{y}".replace("-", "−"), "end"),
        ]
    parts += [line(across(side[0]), up(side[0]), across(side[1]), up(side[1]), "line c0") for side in SIDES]
    small = [(300 + 36 * right, 60 - 36 * above) for right, above in TARGET.values()]
    parts += [line(*small[u], *small[v], "line c1 dashed") for u, v in SIDES.values()]
    parts += [
        text(x, y + (14 if y == 60 else -6), name, "middle") for name, (x, y) in zip("ABC", small, strict=True)
    ]
    parts.append(text(318, 92, "peer j", "middle c1"))
    for name in PLACES:
        where = {"cx": across(name), "cy": up(name), "r": 8, "class": "handle filled c0", "tabindex": "0"}
        words = f"{name} at {{{name}x:1}}, {{{name}y:1}}"
        reader = {
            "role": "slider",
            "aria-label": f"image {name} of peer k, arrow keys move it",
            "aria-valuetext": words,
            "aria-valuemin": "-3",
            "aria-valuemax": "5",
            "aria-valuenow": Bind(f"{name}x"),
        }
        parts.append(Element("circle", {**where, **reader, "data-drag": f"{name}x {name}y"}))
        across_label, up_label = Bind(f"{name}x", scale, left + 13), Bind(f"{name}y", -scale, low - 11)
        parts.append(text(across_label, up_label, name))
    return panel(
        345, 328, "Places of images A, B and C for peer k, and for peer j small beside them", parts, role="group"
    )


def _table() -> Element:
    def row(head: str, index: str, words: str, cells: list[str], kind: str = "") -> Element:
        named = el("th", [el("span", head), el("sub", index), el("span", words)], scope="row")
        return el("tr", [named, *(el("td", cell) for cell in cells)], class_=kind)

    rows = []
    for index, names, what in (("D", SIDES, "distance between"), ("A", CORNERS, "cosine at")):
        rows.append(el("tr", [el("th", word, scope="col") for word in (what, *names)]))
        for peer in "kj":
            rows.append(row("ψ", index, f", peer {peer}", [f"{{{peer}_{name}:3}}" for name in names]))
        rows.append(row("Huber", "", "", [f"{{h_{name}:4}}" for name in names]))
        rows.append(row("L", f"{index}D", ", their mean", ["", "", f"{{L_{index}D:4}}"], "sum"))
    return el("table", [el("tbody", rows)])
