"""Versions of a notebook: with its exercises up to date, for students, and solved."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ctsl_course.exercises.cells import cells, exercises_of, imports, key_of, number_of, put
from ctsl_lib.environment import check_place, write_atomically

Version = Callable[[NotebookNode, str], None]
"""Changes a notebook with this number in place."""


def up_to_date(notebook: NotebookNode, number: str) -> None:
    """Bring the cells of the exercises up to date.

    Args:
        notebook: is changed in place.
        number: of the notebook.
    """
    if exercises_of(number):
        put(notebook, cells(notebook, number))


def student(notebook: NotebookNode, number: str) -> None:
    """Take out all outputs and import what answers may need; the cells for answers are empty already.

    Args:
        notebook: is changed in place.
        number: of the notebook.
    """
    up_to_date(notebook, number)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if (key_of(cell) or ("", ""))[1] == "imports":
            cell.source = imports(notebook, exercises_of(number), solved=True)


def solved(notebook: NotebookNode, number: str) -> None:
    """Put the solutions in the answers' place and explain them; take out all outputs.

    Args:
        notebook: is changed in place.
        number: of the notebook.
    """
    student(notebook, number)
    exercises = {exercise.number: exercise for exercise in exercises_of(number)}
    found = []
    for cell in notebook.cells:
        found.append(cell)
        name, role = key_of(cell) or ("", "")
        if role == "stub":
            cell.source = exercises[name].solution
        elif role == "check" and exercises[name].why:
            why = f"**Why.** {exercises[name].why}"
            found.append(nbformat.v4.new_markdown_cell(why, id=f"{name}-why".replace(".", "-")))
    notebook.cells = found


COLAB = """# On Colab this cell fetches the kit; elsewhere it does nothing.
import os
import sys

if "google.colab" in sys.modules and not os.path.exists("ctsl"):
    get_ipython().system("git clone --quiet --depth 1 {address} ctsl")
    get_ipython().system("pip install --quiet --editable ctsl")
    os.chdir("ctsl")
    sys.path.insert(0, os.getcwd())"""


def on_colab(address: str) -> Version:
    """What puts a first cell before a notebook that fetches the kit where the notebook runs on Colab.

    Args:
        address: of the repository, such as https://github.com/OWNER/NAME.

    Raises: ValueError if it is no https address, for the cell hands it to a shell.
    """
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", address):
        raise ValueError(
            f"--repository must be an address such as https://github.com/OWNER/NAME, got {address!r}"
        )

    def put_first(notebook: NotebookNode, number: str) -> None:
        notebook.cells = [cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])]
        first = nbformat.v4.new_code_cell(COLAB.format(address=address), id="colab", metadata={"tags": ["colab"]})
        notebook.cells.insert(0, first)

    return put_first


def version(path: Path, change: Version) -> str:
    """The text of a notebook's file in another version.

    Args:
        path: of the notebook; the file stays as it is.
        change: `up_to_date`, `student`, `solved` or what `on_colab` returns.
    """
    notebook = nbformat.read(path, as_version=4)
    change(notebook, number_of(path))
    return str(nbformat.writes(notebook)) + "\n"


def write_versions(paths: Sequence[Path], folder: Path, change: Version, *, replace: bool = True) -> list[Path]:
    """Write a version of each notebook into a folder.

    Args:
        paths: the notebooks.
        folder: is made if it is missing; the folder of the notebooks themselves is refused.
        change: `student`, `solved` or what `on_colab` returns.
        replace: whether to replace notebooks that somebody has worked in.

    Returns: the new files.
    Raises: ValueError, before anything is written, if nothing can be written there or a notebook would be replaced.
    """
    check_place("--out", folder)
    if any(folder.resolve() == path.parent.resolve() for path in paths):
        raise ValueError(f"--out must not be the notebooks' own folder, got {folder}")
    texts = {folder / path.name: version(path, change) for path in paths}
    worked_in = [target.name for target, text in texts.items() if target.exists() and _other_cells(target, text)]
    if worked_in and not replace:
        raise ValueError(
            f"{folder} has notebooks whose cells were changed, by answers or a newer version of the kit: "
            f"{', '.join(worked_in)}. Name another folder by --out, or replace them by --replace"
        )
    for target, text in texts.items():
        write_text(target, text)
    return list(texts)


def write_text(path: Path, text: str) -> None:
    """Write a notebook's file whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _other_cells(target: Path, text: str) -> bool:
    """Whether a file has other cells than this notebook; outputs do not matter."""
    try:
        there = nbformat.read(target, as_version=4)
    except (OSError, ValueError, AttributeError):  # no notebook: whatever it is, it is not ours
        return True
    return [cell.source for cell in there.cells] != [
        cell.source for cell in nbformat.reads(text, as_version=4).cells
    ]
