"""A map of the field of distillation: four questions, and what the known answers to each are called."""

from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ctsl_lib.plots.style import COLOURS, GREY, style


class Answer(NamedTuple):
    """One answer to a question of the map."""

    name: str
    how: str
    """In a few words, with line breaks."""
    works: str
    """One or two works that stand for it; the reading list of notebook 20 has them."""
    here: str
    """The notebooks of this course that train it, or draw it; empty if none does."""


FIELD = {
    "What is handed over?": (
        Answer("response", "the answer:\nprobabilities of all classes", "Hinton 2015, DKD 2022", "01, 01b, 02"),
        Answer("feature", "an inner layer's numbers,\nthrough a learned map", "FitNets 2015, attention 2017", "01b"),
        Answer("relation", "how images lie relative\nto one another", "FSP 2017, RKD 2019", "03, 05"),
        Answer("contrast", "which answers of two networks\nare about one image", "CRD 2020", ""),
    ),
    "Who teaches?": (
        Answer("a larger network", "trained before, then fixed", "Hinton 2015, assistant 2020", "01b"),
        Answer("peers (online, mutual)", "trained together,\nteaching one another", "DML 2018, ONE 2018", "02, 03, 05"),
        Answer("oneself", "an earlier copy\nof the same network", "born-again 2018, Tf-KD 2020", "04, 05"),
        Answer("nobody", "a made-up answer:\nlabel smoothing", "Müller 2019", "01b, 04"),
    ),
    "On which inputs?": (
        Answer("the training images", "as they are, or cropped\nthe same for both", "Beyer 2022", "all"),
        Answer("no data at all", "images made up\nfrom the teacher", "Lopes 2017, Yin 2020", ""),
        Answer("the teacher's own text", "off-policy: the student\nreads what it wrote", "sequence-level 2016", ""),
        Answer("the student's own text", "on-policy: the teacher\nmarks what it wrote", "GKD 2024, MiniLLM 2024", ""),
    ),
    "How is agreement measured?": (
        Answer("forward KL", "KL(teacher || student):\nleave out nothing", "Hinton 2015", "01 to 05"),
        Answer("reverse KL", "KL(student || teacher):\nadd nothing of your own", "MiniLLM 2024", "02 (picture)"),
        Answer("in between", "a mixture of both\n(Jensen-Shannon)", "GKD 2024", ""),
        Answer("distance", "of logits, features,\nor pairs of them", "Ba 2014, RKD 2019", "01b, 03"),
    ),
}  # fmt: skip
"""Question -> its answers. A method chooses at least one answer to each question."""


def field_map() -> Figure:
    """The map: a row for each question, a box for each answer; solid blue frames are what this course trains.

    Returns: a figure with one panel.
    """
    with style():
        figure, axes = plt.subplots(figsize=(10, 7.6))
        axes.set(xlim=(0, 4), ylim=(-len(FIELD) * 1.42, 0.05))
        axes.set_axis_off()
        for row, (question, answers) in enumerate(FIELD.items()):
            top = -1.42 * row
            axes.text(0.02, top - 0.08, question, fontsize=12, fontweight="bold", va="center")
            for column, answer in enumerate(answers):
                _box(axes, column, top - 0.2, answer)
        return figure


def _box(axes: Axes, column: int, top: float, answer: Answer) -> None:
    """A box of one answer; dashed and grey where the course has nothing of it."""
    colour, line = (COLOURS[0], "-") if answer.here else (GREY, "--")
    frame = FancyBboxPatch(
        (column + 0.04, top - 1.08), 0.92, 1.06, boxstyle="round,pad=0,rounding_size=0.05", mutation_aspect=1.5,
        edgecolor=colour, linestyle=line, facecolor="white", linewidth=1.8,
    )  # fmt: skip
    axes.add_patch(frame)
    middle = column + 0.5
    axes.text(middle, top - 0.17, answer.name, ha="center", va="center", fontsize=10.5, fontweight="bold")
    axes.text(middle, top - 0.46, answer.how, ha="center", va="center", fontsize=9)
    axes.text(middle, top - 0.74, answer.works, ha="center", va="center", fontsize=8.5, style="italic")
    where = f"here: {answer.here}" if answer.here else "not in this course"
    axes.text(
        middle, top - 0.95, where, ha="center", va="center", fontsize=9, color=colour if answer.here else GREY
    )
