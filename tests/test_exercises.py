"""Every exercise: the solution passes, the stub fails with its hint, typical mistakes get the right diagnosis."""

import pytest

from ctsl_course.exercises.diagnose import own_records
from ctsl_course.exercises.engine import Exercise, check, find, hint, load, solution, verdict

EXERCISES = load()


@pytest.fixture(params=EXERCISES.values(), ids=EXERCISES.keys())
def exercise(request: pytest.FixtureRequest) -> Exercise:
    return request.param


def test_the_solution_passes(exercise: Exercise) -> None:
    right, words = verdict(exercise, exercise.right)
    assert right, words


def test_the_stub_fails_with_its_hint(exercise: Exercise) -> None:
    right, words = verdict(exercise, exercise.unfinished)
    assert not right and "Hint: " in words


def test_typical_mistakes_get_their_diagnosis(exercise: Exercise) -> None:
    assert len(exercise.wrong) >= 2
    for answer, part in exercise.wrong:
        right, words = verdict(exercise, answer)
        assert not right and part in words, f"{getattr(answer, '__name__', answer)}: {words}"
