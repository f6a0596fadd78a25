"""Live pictures of answers: the temperature of a network's answer, and two peers that pull at each other."""

import base64
import io
import math
from collections.abc import Sequence

import PIL.Image
import torch
from torch import Tensor

from ctsl_course.live.drawing import Attributes, Bind, Element, el, line, panel, text
from ctsl_course.live.output import Control, Picture, State
from ctsl_lib.losses.functional import response_loss


def temperature(images: Tensor, logits: Tensor, class_names: Sequence[str], titles: Sequence[str]) -> Picture:
    """Answers to some images, softened by one temperature that the reader chooses.

    Args:
        images: (N, 1, height, width) uint8.
        logits: (N, C) a network's answers to them.
        class_names: what class 0, 1, ... means.
        titles: N texts, one for each image.
    """
    z = logits.detach().double().cpu()

    def values(state: State) -> dict[str, float | str]:
        t = 2.0 ** state["log2_t"]
        p = (z / t).softmax(dim=1)
        shares = {f"p{i}_{c}": p[i, c].item() for i in range(len(z)) for c in range(z.shape[1])}
        entropy = {f"H{i}": torch.special.entr(one).sum().item() for i, one in enumerate(p)}
        return {"t": t, **shares, **entropy}

    panels = [_answer(i, images[i], class_names, title) for i, title in enumerate(titles)]
    words = "; ".join(f"{title} {{H{i}:2}} nats" for i, title in enumerate(titles))
    return Picture(
        title="One temperature for several answers",
        about="Test images with bars for the probability of each class; a slider changes the temperature t.",
        caption=f"At t = {{t:2}} the entropy of the answers is: {words} of at most {math.log(z.shape[1]):.2f}.",
        controls=(Control("log2_t", "temperature t = {t:2}", -3, 5, 0.25, 0),),
        panels=tuple(panels),
        values=values,
        script="temperature.js",
        data={"logits": z.tolist()},
    )


def _answer(i: int, image: Tensor, class_names: Sequence[str], title: str) -> Element:
    """An image and a bar for each class."""
    picture, bottom, full, left = io.BytesIO(), 160, 130, 70
    grey = image[0].cpu().float()
    dark = (255 * (1 - grey / grey.max().clamp(min=1))).round().to(torch.uint8)
    PIL.Image.fromarray(dark.numpy()).save(picture, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    place = {"x": 0, "y": 40, "width": 56, "height": 56, "style": "image-rendering: pixelated"}
    parts = [text(0, 16, title), Element("image", {"href": address, **place})]
    for share in (0, 0.5, 1):
        y = bottom - full * share
        parts += [line(left + 24, y, 340, y, "grid"), text(left + 20, y + 4, f"{share:g}", "end")]
    step = (340 - left - 24) / len(class_names)
    for c, name in enumerate(class_names):
        x = left + 24 + step * c
        height, top = Bind(f"p{i}_{c}", full), Bind(f"p{i}_{c}", -full, bottom)
        bar: Attributes = {"x": x + 0.15 * step, "y": top, "width": 0.7 * step, "height": height}
        parts += [el("rect", class_=f"filled c{i}", **bar), text(x + step / 2, bottom + 15, name, "middle")]
    parts.append(text((left + 364) / 2, bottom + 32, "class", "middle"))
    return panel(340, 198, f"Image and answer: {title}", parts)


def tug_of_war(other: Sequence[float] = (0.2, 0.6, 0.2)) -> Picture:
    """Two peers' answers to one image, three classes; each step moves the logits against the gradient of the KL.

    Args:
        other: the answer that peer j starts with, three probabilities above 0 with sum 1.

    Raises: ValueError that names `other` if it is something else.
    """
    if len(other) != 3 or min(other) <= 0 or abs(sum(other) - 1) > 1e-9:
        raise ValueError(f"other must be three probabilities above 0 with sum 1, got {list(other)}")

    def values(state: State) -> dict[str, float | str]:
        rest = (1 - state["sure"]) / 2
        k = torch.tensor([[state["sure"], rest, rest]], dtype=torch.float64).log()
        j = torch.tensor([list(other)], dtype=torch.float64).log()
        for _ in range(int(state["steps"])):
            both = _against(k, j), _against(j, k)
            k, j = both if state["both"] else (both[0], j)
        p_k, p_j = k.softmax(dim=1)[0].tolist(), j.softmax(dim=1)[0].tolist()
        found: dict[str, float | str] = {
            "k_from_j": response_loss(k, j).item(), "j_from_k": response_loss(j, k).item()
        }  # fmt: skip
        for c, (own, target) in enumerate(zip(p_k, p_j, strict=True)):
            seen = float(abs(own - target) > 0.02)
            found |= {f"k{c}": own, f"j{c}": target, f"g{c}": own - target}
            found |= {f"pull_k{c}": seen, f"pull_j{c}": seen * state["both"]}
        return found

    return Picture(
        title="A tug-of-war between two answers",
        about="Bars for the answers of peers k and j to one image with three classes; arrows show how each is pulled "
        "to the other. Sliders change the first answer of peer k and the number of steps.",
        caption="pₖ = ({k0:2}, {k1:2}, {k2:2}), pⱼ = ({j0:2}, {j1:2}, {j2:2}). KL(pⱼ ‖ pₖ) = {k_from_j:3} nats is "
        "the loss of peer k, KL(pₖ ‖ pⱼ) = {j_from_k:3} nats that of peer j.",
        controls=(
            Control("sure", "first pₖ of class 0: {sure:2}", 0.02, 0.98, 0.02, 0.96),
            Control("steps", "steps taken: {steps:0}", 0, 30, 1, 0),
            Control("both", "who learns", 0, 1, 1, 1, ("peer k alone, j is a fixed target", "both peers")),
        ),
        panels=(_rope(),),
        values=values,
        script="tug_of_war.js",
        data={"other": list(other)},
    )


def _against(own: Tensor, target: Tensor) -> Tensor:
    """The logits after a step against the gradient of the response loss, with a learning rate of 1."""
    z = own.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(response_loss(z, target.detach()), z)
    return own - gradient


def _rope() -> Element:
    bottom, full, step = 190, 160, 92
    head = el("path", d="M0 0 L8 4 L0 8 z", class_="filled")
    mark = {"id": "ctsl-live-arrow", "viewBox": "0 0 8 8", "refX": 8, "refY": 4, "markerWidth": 8, "markerHeight": 8,
            "orient": "auto", "markerUnits": "userSpaceOnUse"}  # fmt: skip
    parts = [el("defs", [Element("marker", mark, (head,))])]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - full * share
        parts += [line(68, y, 346, y, "grid"), text(64, y + 4, f"{share:g}", "end")]
    for c in range(3):
        for i, (peer, other) in enumerate((("k", "j"), ("j", "k"))):
            x, own, goal = 76 + step * c + 42 * i, f"{peer}{c}", f"{other}{c}"
            top, aim = Bind(own, -full, bottom), Bind(goal, -full, bottom)
            bar: Attributes = {"x": x, "y": top, "width": 26, "height": Bind(own, full)}
            kind = "filled" if i == 0 else "hollow"
            parts.append(el("rect", class_=f"{kind} c{i}", **bar))
            arrow = {"opacity": Bind(f"pull_{own}"), "marker_end": "url(#ctsl-live-arrow)"}
            parts += [line(x + 33, top, x + 33, aim, "line", **arrow), text(x + 13, bottom + 15, peer, "middle")]
        parts.append(text(110 + step * c, bottom + 34, f"class {c}", "middle"))
        parts.append(text(110 + step * c, bottom + 54, f"{{g{c}:+2}}", "middle"))
    parts += [text(0, 14, "probability"), text(0, bottom + 15, "peer"), text(0, bottom + 54, "pₖ − pⱼ")]
    words = "Answers of peer k (filled) and peer j (outlined); arrows from each to the other."
    return panel(350, 250, words, parts)
