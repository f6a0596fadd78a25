"""The map of the field: every work on it stands in the reading list, every notebook it names exists."""

import re

import matplotlib.pyplot as plt
import nbformat

from ctsl_course.contents import NOTEBOOKS
from ctsl_course.field import FIELD, field_map

READING = nbformat.read(NOTEBOOKS / "20_claims.ipynb", as_version=4)
[LIST] = [cell.source for cell in READING.cells if "### A reading list" in cell.source]
ROWS = [row.split(" | ") for row in LIST.splitlines() if re.match(r"\| \d{4} \|", row)]


def test_the_reading_list_is_dated_in_order_and_says_what_each_work_added() -> None:
    years = [int(row[0].strip("| ")) for row in ROWS]
    assert len(ROWS) >= 25 and years == sorted(years) and years[0] == 2006
    assert all(len(row) == 3 and len(row[2]) > 20 for row in ROWS)
    for number, link in re.findall(r"\[(\d{4}\.\d{4,5})\]\((\S+)\)", LIST):
        assert link == f"https://arxiv.org/abs/{number}"


def test_every_work_on_the_map_is_in_the_reading_list() -> None:
    known = {"DKD": "Decoupled", "attention": "Attention", "FSP": "A Gift", "RKD": "Relational", "CRD": "Contrastive",
             "assistant": "Assistant", "DML": "Mutual", "ONE": "Native Ensemble", "born-again": "Born-Again",
             "Tf-KD": "Tf-KD", "sequence-level": "Sequence-Level", "GKD": "On-Policy", "Ba": "Ba, Caruana"}  # fmt: skip
    for answer in (answer for answers in FIELD.values() for answer in answers):
        for work in answer.works.split(", "):
            name, year = work.rsplit(" ", 1)
            found = [row for row in ROWS if known.get(name, name) in row[1] + row[2]]
            assert any(year in row[0] for row in found), work


def test_every_notebook_on_the_map_exists() -> None:
    there = {path.name.partition("_")[0] for path in NOTEBOOKS.glob("*.ipynb")}
    named = {n for answers in FIELD.values() for a in answers for n in re.findall(r"\d\d[a-z]?", a.here)}
    assert named <= there and {"01b", "02", "03", "04"} <= named


def test_the_map_has_a_box_for_each_answer() -> None:
    figure = field_map()
    assert len(figure.axes[0].patches) == sum(map(len, FIELD.values()))
    plt.close(figure)
