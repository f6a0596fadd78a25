"""What an assignment is made of: tasks whose numbers are drawn from the course's seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from textwrap import dedent, indent
from typing import Any

Drawn = Mapping[str, Any]
Case = tuple[Any, ...]
"""Arguments of one call: nested lists become tensors, a tuple of them a list of tensors, all else stays as it is."""


def nothing(random: Random) -> Drawn:
    """A task without numbers of its own."""
    return {}


@dataclass(frozen=True)
class Task:
    """A function to write, or a number to find, with tests that are drawn anew for each seed.

    In all texts `<<name>>` stands for a number or a choice that `draw` has drawn.
    """

    name: str
    """Of the function or the variable that the tests look at."""
    title: str
    text: str
    solution: str
    """The body of the function, or the lines that set the variable."""
    wrong: str
    """A typical wrong answer, which must earn nothing."""
    points: int
    draw: Callable[[Random], Drawn] = nothing
    stub: str = ""
    """Head and docstring of the function; nothing where a variable is asked for."""
    cases: Callable[[Random, Drawn], list[Case]] | None = None
    """Calls: the first is shown to the students, all others are hidden."""
    gradient: bool = False
    """Whether gradients with respect to all tensors are compared as well."""


@dataclass(frozen=True)
class Open:
    """A question that is graded by a person, with the rubric that the person sees."""

    name: str
    title: str
    text: str
    rubric: str
    points: int
    draw: Callable[[Random], Drawn] = nothing


@dataclass(frozen=True)
class Assignment:
    """One notebook of homework."""

    name: str
    title: str
    intro: str
    tasks: tuple[Task | Open, ...] = field(default=())


def plain(text: str) -> str:
    """A text that was indented in the source."""
    return dedent(text).strip("\n")


def fill(text: str, drawn: Drawn) -> str:
    """The text with what was drawn; a name that was not drawn is an error."""
    text = plain(text)
    for name, value in drawn.items():
        text = text.replace(f"<<{name}>>", str(value))
    if "<<" in text:
        raise ValueError(f"nothing was drawn for {text[text.index('<<') :][:30]!r}")
    return text


def answer(task: Task, drawn: Drawn, body: str, marked: bool = False) -> str:
    """The source of an answer.

    Args:
        task: what is answered.
        drawn: its numbers.
        body: the solution, or another answer.
        marked: whether nbgrader's marks stand around what the students write.

    Returns: Python.
    """
    inside = fill(body, drawn)
    if marked:
        inside = f"### BEGIN SOLUTION\n{inside}\n### END SOLUTION"
    return f"{fill(task.stub, drawn)}\n{indent(inside, '    ')}" if task.stub else inside


def numbers(random: Random, *shape: int, scale: float = 2.0) -> Any:
    """Nested lists of numbers with two decimals, spread around zero."""
    if not shape:
        return round(random.gauss(0, scale), 2)
    return [numbers(random, *shape[1:], scale=scale) for _ in range(shape[0])]


def labels(random: Random, count: int, classes: int) -> list[int]:
    """Labels from 0 to classes - 1."""
    return [random.randrange(classes) for _ in range(count)]


def row(values: list[Any]) -> str:
    """Numbers as they stand in a text: 1, 2.5, 3."""
    return ", ".join(f"{value:g}" for value in values)
