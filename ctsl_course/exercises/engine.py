"""An exercise, the register of all of them, and the functions that a notebook calls: check, hint, solution."""

import inspect
import pkgutil
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pprint import pformat
from typing import Any, Literal

from ctsl_course.exercises.diagnose import Function, WrongAnswer, pencil_equals, require, told
from ctsl_course.exercises.tried import Tried, time_limit

Difficulty = Literal["*", "**", "***"]
REGISTER: dict[str, "Exercise"] = {}
"""Number -> exercise, in the order of the course once `load` was called."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: all that the notebooks, the check and the tests need."""

    number: str
    """Such as "02.3": the third exercise of notebook 02."""
    title: str
    minutes: int
    difficulty: Difficulty
    text: str
    """Markdown."""
    hints: tuple[str, str]
    """Markdown; the second says more than the first."""
    name: str
    """Of the student's function or number."""
    kind: Literal["code", "pencil"]
    stub: str
    """Source of the cell that the student fills in."""
    solution: str
    """Source of the same cell, filled in."""
    why: str
    """Markdown: what the solution teaches."""
    right: Any
    """The solution itself: a function or numbers."""
    unfinished: Any
    """The stub itself."""
    checks: Mapping[str, Function]
    """What is checked -> a function of the answer that raises AssertionError with words if it is wrong."""
    wrong: Sequence[tuple[Any, str]]
    """Typical wrong answers, and a part of what the check must say to each."""
    shown: tuple[Function, ...] = ()
    """What the notebook shows in full before the exercise: a check that stops the mistake."""

    @property
    def notebook(self) -> str:
        """The number of its notebook."""
        return self.number.partition(".")[0]


def code(
    number: str,
    title: str,
    *,
    minutes: int,
    difficulty: Difficulty,
    text: str,
    hints: tuple[str, str],
    stub: Function,
    solution: Function,
    wrong: Mapping[Function, str],
    checks: Mapping[str, Function],
    why: str = "",
    shown: tuple[Function, ...] = (),
) -> None:
    """Register an exercise whose answer is a function.

    Args:
        number, title, minutes, difficulty, text, hints, why, checks, shown: see `Exercise`.
        stub: what the student starts from; its name is the one that the notebook uses.
        solution: a right function of any name.
        wrong: typical wrong functions -> a part of the diagnosis of each.
    """
    name = stub.__name__
    _add(
        Exercise(
            number, title, minutes, difficulty, _clean(text), (_clean(hints[0]), _clean(hints[1])), name, "code",
            _source(stub, name), _source(solution, name), _clean(why), solution, stub, checks,
            list(wrong.items()), shown,
        )
    )  # fmt: skip


def pencil(
    number: str,
    title: str,
    *,
    minutes: int,
    difficulty: Difficulty,
    text: str,
    hints: tuple[str, str],
    name: str,
    answer: Any,
    wrong: Sequence[tuple[Any, str]],
    why: str,
    tolerance: float = 0.01,
) -> None:
    """Register an exercise whose answer is a number, a tuple of numbers, or a dict from names to numbers.

    Args:
        number, title, minutes, difficulty, text, hints, name, why: see `Exercise`.
        answer: the right numbers.
        wrong: typical wrong numbers and the diagnosis of each; a wrong dict may hold only the wrong entries.
        tolerance: the relative difference that is allowed for rounding.
    """

    def numbers(found: Any) -> None:
        pencil_equals(found, answer, list(wrong), tolerance)

    whole = [(answer | given if isinstance(answer, dict) else given, words) for given, words in wrong]
    blank: Any = ...
    if isinstance(answer, dict | tuple):
        blank = dict.fromkeys(answer, ...) if isinstance(answer, dict) else (...,) * len(answer)
    stub, solved = (f"{name} = {_written(value)}" for value in (blank, answer))
    _add(
        Exercise(
            number, title, minutes, difficulty, _clean(text), (_clean(hints[0]), _clean(hints[1])), name, "pencil",
            stub, solved, _clean(why), answer, blank, {"your numbers": numbers}, whole,
        )
    )  # fmt: skip


def _add(exercise: Exercise) -> None:
    assert re.fullmatch(r"\d\d[a-z]?\.\d+", exercise.number), exercise.number
    assert exercise.number not in REGISTER, f"two exercises have the number {exercise.number}"
    REGISTER[exercise.number] = exercise


def _clean(text: str) -> str:
    return textwrap.dedent(text).strip()


def _written(value: Any) -> str:
    return pformat(value, sort_dicts=False, width=100).replace("Ellipsis", "...").replace("'", '"')


def _source(function: Function, name: str) -> str:
    """The source of a function under the name that the notebook uses."""
    return inspect.getsource(function).replace(f"def {function.__name__}(", f"def {name}(", 1).strip()


def load() -> dict[str, Exercise]:
    """All exercises by number, in the order of the course."""
    package = import_module("ctsl_course.exercises")
    for module in pkgutil.iter_modules(package.__path__):
        if re.match(r"e\d\d", module.name):
            import_module(f"{package.__name__}.{module.name}")
    order = sorted(REGISTER, key=lambda number: (number.partition(".")[0], int(number.partition(".")[2])))
    return {number: REGISTER[number] for number in order}


def find(number: str) -> Exercise:
    """The exercise with this number; ValueError with the nearest numbers if there is none."""
    exercises = load()
    if not isinstance(number, str):
        raise ValueError(f'the number of an exercise is a text in quotes, such as "02.1", got {number!r}')
    if number not in exercises:
        notebook, _, place = number.partition(".")
        padded = f"{notebook.zfill(2)}.{place}"
        near = [padded] if padded in exercises else get_close_matches(number, exercises, n=1)
        beside = [other for other in exercises if other.startswith(f"{notebook.zfill(2)}.")]
        has = f"Notebook {notebook.zfill(2)} has {beside[0]} to {beside[-1]}." if beside else ""
        meant = f'Did you mean "{near[0]}"?' if near else ""
        raise ValueError(" ".join(part for part in (f'there is no exercise "{number}".', has, meant) if part))
    return exercises[number]


def verdict(exercise: Exercise, answer: Any) -> tuple[bool, str]:
    """Whether an answer is right, and what to say of it.

    Args:
        exercise: the exercise.
        answer: a function, or numbers.

    Returns: right or not; what was checked, or what is wrong in words.
    """
    untouched = _is_untouched(exercise, answer)
    try:
        if exercise.kind == "code":
            require(callable(answer), f'give the function itself: check("{exercise.number}", {exercise.name})')
        elif untouched:
            raise NotImplementedError
        else:
            require(not callable(answer), f"{exercise.name} must be made of numbers, not a function")
        with time_limit():
            for check_it in exercise.checks.values():
                check_it(Tried(answer) if exercise.kind == "code" else answer)
    except NotImplementedError:
        return False, f"{_what_is_missing(answer)} Hint: {_flat(exercise.hints[0])}"
    except WrongAnswer as error:
        words = str(error)
    except AssertionError as error:
        words = str(error) or told(error, answer)
    except Exception as error:
        words = told(error, answer)
    else:
        return True, f"passed. Checked: {', '.join(exercise.checks)}."
    end = "" if words.endswith(("?", ".")) else "."
    return False, f"{words}{end}{f' Hint: {_flat(exercise.hints[0])}' if untouched else ''}"


def _is_untouched(exercise: Exercise, answer: Any) -> bool:
    """Whether the answer is still the stub."""
    if exercise.kind == "pencil":
        entries = (
            answer.values() if isinstance(answer, dict) else answer if isinstance(answer, tuple) else [answer]
        )
        return any(entry is ... for entry in entries)
    try:
        return inspect.getsource(answer).strip() == exercise.stub
    except (OSError, TypeError):
        return False


def _what_is_missing(answer: Any) -> str:
    """Of an answer that is not finished: nothing yet, or the entries that wait."""
    empty = [str(name) for name, entry in answer.items() if entry is ...] if isinstance(answer, dict) else []
    if not empty or len(empty) == len(answer):
        return "nothing is written yet."
    return f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} not filled in yet."


def _flat(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


def check(number: str, answer: Any) -> None:
    """Print whether an answer is right, or what is wrong with it; the right answer is not shown.

    Args:
        number: of the exercise, such as "02.3".
        answer: your function, or your numbers.

    Raises: ValueError if there is no such exercise; never because of a wrong answer.
    """
    exercise = find(number)
    right, words = verdict(exercise, answer)
    print(f"{'✓' if right else '✗'} {number} {exercise.title}: {words}")


def hint(number: str, level: int = 1) -> None:
    """Print a hint.

    Args:
        number: of the exercise, such as "02.3".
        level: 1, or 2 for the one that says more.
    """
    exercise = find(number)
    if level not in (1, 2):
        raise ValueError(f"level must be 1 or 2, got {level!r}")
    print(exercise.hints[level - 1])


def solution(number: str) -> None:
    """Print a worked answer and what it teaches."""
    exercise = find(number)
    print("\n\n".join(part for part in (exercise.solution, exercise.why) if part))
