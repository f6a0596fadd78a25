"""Pictures that move: one output in three forms; page, widget and library give the same numbers."""

import base64
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

import ipywidgets
import pandas as pd
import pytest
import torch

from ctsl_course import live
from ctsl_course.live.drawing import Bind, el, fill, render
from ctsl_course.live.output import Control, Picture, as_page, as_text, drawn, forms, source, widget
from ctsl_lib.losses.functional import angle_loss, distance_loss, response_loss
from tests.live_samples import PICTURES, STATES, accuracies

NODE = shutil.which("node")
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(params=PICTURES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def picture(name: str) -> Picture:
    return PICTURES[name]


# --- the three forms ---------------------------------------------------------------------------------------


def test_one_output_in_three_forms(picture: Picture) -> None:
    output = forms(picture)
    assert set(output) == {WIDGET, "text/html", "text/plain"}
    assert output["text/html"] == as_page(picture) and output["text/plain"] == as_text(picture)
    assert output[WIDGET]["model_id"]


def test_the_page_is_small_and_asks_nobody(picture: Picture) -> None:
    page = as_page(picture)
    assert len(page.encode()) < 60_000
    assert not re.search(r"https?:|@import|\bsrc=\"(?!data:)|url\((?!#)|href=\"(?!data:)|fetch|import\(", page)
    assert "@media print" in page


def test_there_is_a_text_for_everything(picture: Picture) -> None:
    words = as_text(picture)
    assert words.startswith(f"{picture.title}: {picture.about} ") and "{" not in words and len(words) > 120
    parsed = ET.fromstring(f"<div>{drawn(picture, picture.start)}</div>")
    for drawing in parsed.iter("svg"):
        assert drawing.get("class") != "panel" or len(drawing.get("aria-label", "")) >= 15
    for handle in (part for part in parsed.iter() if part.get("data-drag")):
        assert handle.get("role") == "slider" and handle.get("aria-valuetext") and handle.get("tabindex") == "0"
    assert parsed.find("p[@aria-live='polite']") is not None


def test_without_scripts_the_first_frame_stands(picture: Picture) -> None:
    still = re.search(r'<div class="stage">(.*)</div><script type="text/html"', as_page(picture)).group(1)
    parsed = ET.fromstring(f"<div>{still}</div>")
    images = list(parsed.iter("img"))
    assert len(images) == sum(panel.tag == "svg" for panel in picture.panels) > 0
    for image in images:
        svg = ET.fromstring(base64.b64decode(image.get("src", "").partition("base64,")[2]))
        assert svg.get("aria-label") == image.get("alt") and len(list(svg.iter())) > 20
        assert "var(" not in svg[0].text and "text {" in svg[0].text
    assert not list(parsed.iter("svg")) and not list(parsed.iter("input"))


def test_the_same_picture_makes_the_same_page(picture: Picture) -> None:
    assert as_page(picture) == as_page(picture)
    keys = {re.search(r'data-key="(\w+)"', as_page(one)).group(1) for one in PICTURES.values()}
    assert len(keys) == len(PICTURES)


def test_words_are_words_and_no_code() -> None:
    images, logits = torch.ones(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, 2)
    evil = '</script><img src=x onerror="alert(1)">&'
    page = as_page(live.temperature(images, logits, ["a", evil], [evil]))
    assert "<img src=x" not in page and page.count("</script>") == 3
    bad = Picture("t", evil, "c", (), (), lambda state: {}, "noise.js", {"levels": [evil]})
    page = as_page(bad)
    assert "<img src=x" not in page and page.count("</script>") == 3
    data = re.search(r'class="data">(.*?)</script>', page).group(1)
    assert json.loads(data)["data"] == {"levels": [evil]}


def test_slots_and_bound_attributes() -> None:
    assert fill("{a:2} {a:+1} {b} {b:0}", {"a": 0.256, "b": -3}) == "0.26 +0.3 -3 −3"
    assert fill("{a:+2} {b:1}", {"a": -0.001, "b": 0.04}) == "0.00 0.0"  # nothing has no sign
    part = el("rect", x=1, y=Bind("a", -10, 5), class_="{b}")
    assert render(part, {"a": 0.25, "b": "new"}, live=False) == '<rect x="1" y="2.5" class="new"></rect>'
    assert "data-bind" in render(part, {"a": 0.25, "b": "new"}, live=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: live.tug_of_war((0.5, 0.5, 0.0)), r"other must be three probabilities .*got \[0.5, 0.5, 0.0\]"),
        (lambda: live.noise({0.4: accuracies(0.4)}), "accuracies must be two levels or more"),
        (lambda: live.noise({0.4: accuracies(0.4), 0: accuracies(0)[["dml"]]}), "of the same methods"),
        (lambda: live.seeds(pd.DataFrame({"MLI": [1.0]})), "differences must have two seeds or more, got 1"),
        (lambda: Control("n", "n", 2, 10, 1, 11), r"n must start within \[2, 10\] .*got 11"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- the numbers -------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_library() -> None:
    state = {"Ax": 0.5, "Ay": 1.0, "Bx": 3.0, "By": -1.0, "Cx": 0.0, "Cy": 4.0}
    own = torch.tensor([[0.5, 1], [3, -1], [0, 4]], dtype=torch.float64)
    target = torch.tensor([[0, 0], [1, 0], [0.5, 0.75**0.5]], dtype=torch.float64)
    found = PICTURES["triangle"].at(state)
    assert found["L_DD"] == distance_loss(own, target).item() and found["L_AD"] == angle_loss(own, target).item()
    start = PICTURES["triangle"].at(PICTURES["triangle"].start)
    assert start["L_DD"] == pytest.approx(1 / 48) and start["L_AD"] == pytest.approx(7 / 120)
    pulled = PICTURES["tug_of_war"].at({"sure": 0.5, "steps": 0, "both": 1})
    k, j = (torch.tensor([p], dtype=torch.float64).log() for p in ((0.5, 0.25, 0.25), (0.2, 0.6, 0.2)))
    assert pulled["k_from_j"] == pytest.approx(response_loss(k, j).item(), abs=1e-12)


def test_peers_that_both_learn_meet_at_the_mean_of_their_logits() -> None:
    found = PICTURES["tug_of_war"].at({"sure": 0.96, "steps": 300, "both": 1})
    k, j = (torch.tensor(p, dtype=torch.float64).log() for p in ((0.96, 0.02, 0.02), (0.2, 0.6, 0.2)))
    middle = ((k + j) / 2).softmax(dim=0)
    assert [found[f"k{c}"] for c in range(3)] == pytest.approx(middle.tolist(), abs=1e-6)
    alone = PICTURES["tug_of_war"].at({"sure": 0.96, "steps": 300, "both": 0})
    assert [alone[f"k{c}"] for c in range(3)] == pytest.approx([0.2, 0.6, 0.2], abs=1e-6)


@pytest.mark.skipif(NODE is None, reason="node, which runs the page's script here, is not installed")
def test_the_script_computes_what_the_library_computes(name: str, picture: Picture) -> None:
    given = json.dumps({"states": STATES[name], "data": picture.data})
    answers = "JSON.stringify(given.states.map(state => formula(state, given.data)))"
    program = f"const formula = {source(picture.script)}, given = {given}; console.log({answers})"
    ran = subprocess.run([NODE or "", "-e", program], capture_output=True, text=True, check=True)
    for state, found in zip(STATES[name], json.loads(ran.stdout), strict=True):
        wanted = picture.values(state)
        assert found.keys() == wanted.keys()
        for value, number in wanted.items():
            if isinstance(number, str):
                assert found[value] == number
            else:
                assert found[value] == pytest.approx(number, abs=1e-6), (state, value)


def test_one_seed_has_no_interval_and_two_make_one_study() -> None:
    one = live.noise({noise: accuracies(noise)[:1] for noise in (0.0, 0.4)})
    values = one.at(one.start)
    assert values["top1_low0"] == values["top1_high0"] == values["top10"]
    assert "nan" not in as_page(one).lower()
    two = live.seeds(pd.DataFrame({"MLI": [1.0, 1.5]}))
    assert two.at(two.start)["studies"] == 1 and two.start["n"] == 2


# --- the widget --------------------------------------------------------------------------------------------


def test_the_widget_draws_what_is_chosen(name: str, picture: Picture) -> None:
    box = widget(picture)
    shown, *inputs = box.children
    assert isinstance(shown, ipywidgets.HTML) and len(inputs) == len(picture.controls)
    for state in STATES[name]:
        for control, one in zip(picture.controls, inputs, strict=True):
            one.value = state[control.name]
        assert drawn(picture, state) in shown.value and "<script" not in shown.value
        for control, one in zip(picture.controls, inputs, strict=True):
            assert one.description == fill(control.label, picture.at(state))
