"""Pages of the book: the exercises of a notebook, blank and solved."""

from collections.abc import Iterable
from pathlib import Path

import nbformat

from ctsl_course.exercises.cells import STARS, exercises_of, number_of
from ctsl_course.exercises.engine import Exercise

BLANK, SOLVED = "", "_solved"
"""What the name of a page's file ends with."""


def page(path: Path, *, solved: bool) -> str:
    """One page in MyST Markdown; empty if the notebook has no exercises.

    Args:
        path: of the notebook.
        solved: with solutions and what they teach, or with empty answers and hints.
    """
    exercises = exercises_of(number_of(path))
    if not exercises:
        return ""
    title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ").partition(":")[0]
    other = f"{path.stem}{BLANK if solved else SOLVED}.md"
    lead = (
        f"Try them first: the [blank exercises]({other}) fold two hints under each."
        if solved
        else f"`check` tells you in the [notebook](../notebooks/{path.name}) what is wrong with an answer. "
        f"There are also [solutions]({other})."
    )
    body = _solved if solved else _blank
    return (
        "\n\n".join([f"# {'Solutions' if solved else 'Exercises'} {title}", lead, *map(body, exercises)]) + "\n"
    )


def _head(exercise: Exercise) -> str:
    return (
        f"## {exercise.number} {exercise.title}\n\n*{STARS[exercise.difficulty]}, {exercise.minutes} minutes*\n\n"
        f"{exercise.text}"
    )


def _blank(exercise: Exercise) -> str:
    hints = [f":::{{dropdown}} Hint {level}\n{hint}\n:::" for level, hint in enumerate(exercise.hints, start=1)]
    return "\n\n".join([_head(exercise), _code(exercise.stub), *hints])


def _solved(exercise: Exercise) -> str:
    said = "\n".join(f"- {words}" for words in dict.fromkeys(words for _, words in exercise.wrong))
    wrong = f":::{{dropdown}} What `check` says to typical wrong answers\n{said}\n:::"
    return "\n\n".join(filter(None, [_head(exercise), _code(exercise.solution), exercise.why, wrong]))


def _code(source: str) -> str:
    return f"```python\n{source}\n```"


def write_pages(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Write both pages of each notebook that has exercises.

    Args:
        paths: the notebooks.
        folder: is made if it is missing.

    Returns: the new files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in paths:
        for ending in (BLANK, SOLVED):
            text = page(path, solved=ending == SOLVED)
            if text:
                target = folder / f"{path.stem}{ending}.md"
                target.write_text(text, encoding="utf-8")
                written.append(target)
    return written
