"""The map of the field: every work on it stands in the reading list, every notebook it names exists."""

import re

import matplotlib.pyplot as plt
import nbformat

from ctsl_course.contents import NOTEBOOKS
from ctsl_course.field import FIELD, field_map

READING = nbformat.read(NOTEBOOKS / "20_claims.ipynb", as_version=4)
[LIST] = [cell.source for cell in READING.cells if "### A reading list" in cell.source]
ROWS = re.findall(r"^- \*\*(\d{4})\*\* (.+) → (.+)$", LIST, re.MULTILINE)
"""(year, work, what it added)."""


def test_the_reading_list_is_dated_in_order_and_says_what_each_work_added() -> None:
    years = [int(year) for year, _, _ in ROWS]
    assert len(ROWS) >= 25 and years == sorted(years) and years[0] == 2006
    assert LIST.count("- **") == len(ROWS) and all(len(added) > 15 for _, _, added in ROWS)
    for number, link in re.findall(r"\[(\d{4}\.\d{4,5})\]\((\S+)\)", LIST):
        assert link == f"https://arxiv.org/abs/{number}"


def test_every_work_on_the_map_is_in_the_reading_list() -> None:
    known = {"DKD": "Decoupled", "attention": "Attention", "FSP": "A Gift", "RKD": "Relational", "CRD": "Contrastive",
             "assistant": "Assistant", "DML": "Mutual", "ONE": "Native Ensemble", "born-again": "Born-Again",
             "Tf-KD": "Tf-KD", "sequence-level": "Sequence-Level", "GKD": "On-Policy", "Ba": "Ba, Caruana"}  # fmt: skip
    for answer in (answer for answers in FIELD.values() for answer in answers):
        for named in answer.works.split(", "):
            name, year = named.rsplit(" ", 1)
            assert any(when == year and known.get(name, name) in work + added for when, work, added in ROWS), (
                named
            )


def test_every_notebook_on_the_map_exists() -> None:
    there = {path.name.partition("_")[0] for path in NOTEBOOKS.glob("*.ipynb")}
    named = {n for answers in FIELD.values() for a in answers for n in re.findall(r"\d\d[a-z]?", a.here)}
    assert named <= there and {"01b", "02", "03", "04"} <= named


def test_the_map_has_a_box_for_each_answer() -> None:
    figure = field_map()
    assert len(figure.axes[0].patches) == sum(map(len, FIELD.values()))
    plt.close(figure)
