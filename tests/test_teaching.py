"""The teacher's pack: cited numbers are the library's, sessions take 90 minutes, every question has one answer."""

import re

import pytest

from ctsl_lib import ROOT
from ctsl_lib.evidence.statistics import Interval, factorial_effects, mean_interval, paired_difference, pivot
from ctsl_lib.evidence.tables import frame_of
from ctsl_lib.experiments.grid import grid
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.losses.methods import ABLATIONS, METHODS
from teaching import cited

DECKS = sorted((ROOT / "teaching" / "slides").glob("session*.md"))
QUIZ = (ROOT / "teaching" / "quiz.md").read_text()


def as_text(interval: Interval, sign: bool = False) -> str:
    return (interval.signed() if sign else str(interval)).replace("-", "−")


def test_cited_numbers_are_those_of_the_library() -> None:
    records = [run(spec) for spec in grid(Spec(), METHODS, range(10))]
    for metric in ("top1", "ece", "agreement"):
        values = pivot(frame_of(records, METHODS), metric)
        for method in METHODS:
            assert cited.cite(f"mean {method} metric={metric}") == as_text(
                mean_interval(values[method].to_numpy())
            )
        gain = as_text(paired_difference(values, "tfkd"), sign=True)
        assert cited.cite(f"gain tfkd metric={metric}") == gain
        few = as_text(paired_difference(values.loc[:2], "dml"), sign=True)
        assert cited.cite(f"gain dml metric={metric} seeds=3") == few
        two = [f"{values['dml'][seed] - values['independent'][seed]:+.2f}".replace("-", "−") for seed in (0, 1)]
        assert cited.cite(f"gain dml metric={metric} seeds=2 part=each") == " and ".join(two)


def test_cited_effects_are_those_of_the_library() -> None:
    records = [run(spec) for spec in grid(Spec(), ABLATIONS, range(10))]
    effects = factorial_effects(frame_of(records, ABLATIONS))
    for name, row in effects.iterrows():
        wanted = as_text(Interval(row["effect"], row["low"], row["high"], 10), sign=True)
        assert cited.cite(f"effect {str(name).replace(' × ', ' ')}") == wanted


def test_weights_of_the_cited_methods_are_the_kits() -> None:
    for name, method in METHODS.items():
        weights = method.model_dump(by_alias=True)
        cells = [f"{weights[term]:g}" if weights[term] else "–" for term in cited.TERMS]
        assert cited.cite(f"weights {name}") == " | ".join(cells)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mean dmll", "method must be one of"),
        ("mean dml nois=0", "options are"),
        ("mean dml part=means", "part must be one of"),
        ("mean dml @lnog", "mean takes 1 of the methods, got dml, @lnog"),
        ("diff dml", "diff takes 2 of the methods, got dml"),
        ("mean dml label_noise=0.3", "records of 0 seeds"),
        ("meen dml", "a citation is"),
        ('printed 01 "no such words"', "does not print"),
    ],
)
def test_what_cannot_be_cited_ends_the_build(words: str, message: str) -> None:
    with pytest.raises((ValueError, LookupError), match=message):
        cited.fill(f"about {{{{ {words} }}}} points")


@pytest.mark.parametrize("deck", DECKS, ids=[deck.stem for deck in DECKS])
def test_every_slide_has_notes_and_a_session_takes_90_minutes(deck) -> None:
    slides = re.split(r"^#{1,2} ", deck.read_text(), flags=re.MULTILINE)[1:]
    assert 10 <= len(slides) <= 18
    minutes = [re.search(r"\{revealjs-notes\}\n(\d+) minutes?\. Say: ", slide) for slide in slides]
    assert all(minutes)
    assert sum(int(found[1]) for found in minutes if found) == 90
    assert "Where it gets stuck: " in deck.read_text()


@pytest.mark.parametrize("deck", DECKS, ids=[deck.stem for deck in DECKS])
def test_every_vote_has_choices_and_then_its_answer(deck) -> None:
    slides = re.split(r"^## ", deck.read_text(), flags=re.MULTILINE)[1:]
    votes = [i for i, slide in enumerate(slides) if slide.startswith("Vote")]
    assert votes
    for i in votes:
        assert all(f"({letter}) " in slides[i] for letter in "abc")
        assert any(slide.startswith("Answer") for slide in slides[i + 1 : i + 3])


def test_the_quiz_has_thirty_questions_with_one_right_choice_each() -> None:
    sessions = QUIZ.split("\n## ")[1:]
    assert len(sessions) == 6
    questions = [part for session in sessions for part in session.split("\n### ")[1:]]
    assert [int(question.split("\n")[0]) for question in questions] == list(range(1, 31))
    letters = []
    for question in questions:
        assert re.findall(r"^- \(([a-d])\) ", question, flags=re.MULTILINE) == list("abcd")
        answer = re.search(r"<summary>Answer</summary>\n\n\(([a-d])\)[.,:]", question)
        assert answer and question.rstrip().endswith("</details>")
        letters.append(answer[1])
    assert min(letters.count(letter) for letter in "abcd") >= 3


def test_quiz_and_guides_can_be_filled() -> None:
    for page in (ROOT / "teaching").glob("*.md"):
        assert "{{" not in cited.fill(page.read_text())
