"""The cells of exercises: made from the one source, and kept in the notebooks among all other cells."""

import ast
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ctsl_course.exercises.diagnose import Function
from ctsl_course.exercises.engine import Exercise, load
from ctsl_lib import ROOT

NOTEBOOKS = ROOT / "notebooks"
STARS = {"*": "★☆☆", "**": "★★☆", "***": "★★★"}
HEADING = "## Exercises"
Key = tuple[str, str]
"""Number of the exercise (or of the notebook) and role of the cell."""


def exercises_of(notebook: str) -> list[Exercise]:
    """The exercises of the notebook with this number, in order."""
    return [exercise for exercise in load().values() if exercise.notebook == notebook]


def number_of(path: Path) -> str:
    """The number of a notebook: what its file's name begins with."""
    return path.name.partition("_")[0]


def cells(notebook: NotebookNode, number: str) -> dict[Key, NotebookNode]:
    """All cells that the exercises of a notebook need, in order.

    Args:
        notebook: the notebook, for what its other cells import already.
        number: of the notebook.
    """
    exercises = exercises_of(number)
    beside = [exercise for exercise in exercises if exercise.shown]  # they stand beside what they are about
    section = [exercise for exercise in exercises if not exercise.shown]
    intro, first = (number, "intro"), (number, "imports")
    sources = {intro: ("markdown", _intro(section[0])), first: ("code", imports(notebook, exercises))}
    if beside:
        sources = {first: sources[first]} | _cells_of(beside) | {intro: sources[intro]}
    sources |= _cells_of(section)
    return {key: _cell(key, *source) for key, source in sources.items()}


def _cells_of(exercises: Iterable[Exercise]) -> dict[Key, tuple[str, str]]:
    """Key -> type and source of each cell."""
    sources: dict[Key, tuple[str, str]] = {}
    for exercise in exercises:
        if exercise.shown:
            sources[exercise.number, "shown"] = ("code", "\n\n\n".join(map(_source, exercise.shown)))
        sources[exercise.number, "text"] = ("markdown", _text(exercise))
        sources[exercise.number, "stub"] = ("code", exercise.stub)
        sources[exercise.number, "check"] = ("code", f'check("{exercise.number}", {exercise.name})')
    return sources


def _cell(key: Key, kind: str, source: str) -> NotebookNode:
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    exercise = {"id": key[0], "role": key[1]}
    return make(
        source, id=f"{key[0]}-{key[1]}".replace(".", "-"), metadata={"exercise": exercise, "tags": ["exercise"]}
    )


def _intro(first: Exercise) -> str:
    return f"""{HEADING}

Write your answer into the cell that waits for it, then run it and the cell below. `check` says what is wrong
and keeps the right answer to itself. Two hints are folded under each exercise; one star is easy, three are
hard. When the hints are used up, `from ctsl_course.exercises import solution` and `solution("{first.number}")`
show a worked answer."""


def _text(exercise: Exercise) -> str:
    hints = "\n\n".join(
        f"<details><summary>Hint {level}</summary>\n\n{hint}\n\n</details>"
        for level, hint in enumerate(exercise.hints, start=1)
    )
    head = f"**{exercise.number} {exercise.title}** ({STARS[exercise.difficulty]}, {exercise.minutes} minutes)"
    return f"{head}\n\n{exercise.text}\n\n{hints}"


def _source(function: Function) -> str:
    return inspect.getsource(function).strip()


def imports(notebook: NotebookNode, exercises: Iterable[Exercise], *, solved: bool = False) -> str:
    """The import of `check`, and what the exercises' cells need beyond the imports of the notebook's other cells.

    Args:
        notebook: the notebook.
        exercises: its exercises.
        solved: whether the solutions' needs count as well.
    """
    there = _imported("\n\n".join(cell.source for cell in notebook.cells if _is_plain_code(cell)))
    wanted = {("ctsl_course.exercises", "check")}
    for exercise in exercises:
        parts = [(function, _source(function)) for function in exercise.shown]
        if exercise.kind == "code":
            parts.append(
                (exercise.right, f"{exercise.stub}\n\n\n{exercise.solution}" if solved else exercise.stub)
            )
        for function, source in parts:
            module = inspect.getmodule(function)
            offered = _imported(inspect.getsource(module)) if module else {}
            names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
            wanted |= {part for name, part in offered.items() if name in names and name not in there}
    return _import_lines(wanted)


def _is_plain_code(cell: NotebookNode) -> bool:
    return bool(cell.cell_type == "code" and "exercise" not in cell.metadata)


def _imported(source: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, what is imported of it, "" for the module itself), for all imports at the top of a source."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                found[alias.asname or alias.name] = (module, name) if module else (name, "")
    return found


def _import_lines(wanted: Iterable[tuple[str, str]]) -> str:
    """As ruff sorts them: the standard library, other packages, the kit's own; whole modules before parts."""
    parts: dict[str, list[str]] = {}
    for module, name in sorted(wanted):
        parts.setdefault(module, []).extend([name] if name else [])
    groups: list[list[str]] = [[], [], []]
    for module, names in sorted(parts.items(), key=lambda item: (bool(item[1]), item[0].lower())):
        package = module.split()[0].partition(".")[0]
        group = 2 if package.startswith("ctsl_") else 0 if package in sys.stdlib_module_names else 1
        groups[group].append(f"from {module} import {', '.join(names)}" if names else f"import {module}")
    return "\n\n".join("\n".join(group) for group in groups if group)


def key_of(cell: NotebookNode) -> Key | None:
    """What a cell of an exercise is; None for all other cells."""
    found = cell.metadata.get("exercise")
    return (found["id"], found["role"]) if found else None


def put(notebook: NotebookNode, wanted: Mapping[Key, NotebookNode]) -> None:
    """Bring the exercises' cells of a notebook up to date; all other cells stay as they are.

    A cell that is there keeps its place, and its outputs if its source is the same. A new one follows the cell that
    comes before it in the order of `wanted`, or the last cell of the exercises' section.

    Args:
        notebook: is changed in place.
        wanted: the cells of `cells`.
    """
    notebook.cells = [cell for cell in notebook.cells if key_of(cell) is None or key_of(cell) in wanted]
    before: Key | None = None
    for key, cell in wanted.items():
        places = {key_of(one): place for place, one in enumerate(notebook.cells) if key_of(one)}
        if key not in places:
            follows = before if key[1] != "intro" else None  # the section stands at the end of the notebook
            place = places[follows] if follows else _end_of_exercises(notebook) - 1
            notebook.cells.insert(place + 1, cell)
        elif notebook.cells[places[key]].source != cell.source:
            notebook.cells[places[key]] = cell
        before = key


def _end_of_exercises(notebook: NotebookNode) -> int:
    """Where the section on what comes next begins, or the end of the notebook."""
    starts = (place for place, cell in enumerate(notebook.cells) if cell.source.startswith("## Next"))
    return next(starts, len(notebook.cells))
