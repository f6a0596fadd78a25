"""Write the exercises' cells into the notebooks, notebooks for students, solved ones, or pages of the book.

python -m ctsl_course.exercises write
python -m ctsl_course.exercises student --out student
python -m ctsl_course.exercises solutions --out results/solutions
python -m ctsl_course.exercises pages --out book/_build/exercises
python -m ctsl_course.exercises colab --repository https://github.com/OWNER/NAME --out results/colab
"""

from pathlib import Path
from typing import Annotated

import typer

from ctsl_course.exercises.cells import NOTEBOOKS, number_of
from ctsl_course.exercises.pages import write_pages
from ctsl_course.exercises.versions import (
    on_colab,
    solved,
    student,
    up_to_date,
    version,
    write_text,
    write_versions,
)
from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.cli.notebooks import find_notebooks, run_notebook

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Numbers = Annotated[list[str] | None, typer.Argument(metavar="[NUMBER]...", help="Notebooks; by default all.")]
Out = Annotated[Path, typer.Option("--out", help="The folder for the notebooks; it is made if it is missing.")]


@app.command("write")
def write_command(numbers: Numbers = None) -> None:
    """Bring the exercises' cells of the course's notebooks up to date; run `ctsl notebooks` afterwards."""
    for path in find_notebooks(numbers or (), NOTEBOOKS):
        text = version(path, up_to_date)
        if text != path.read_text(encoding="utf-8"):
            write_text(path, text)
            print(
                f"{path.name}: exercises brought up to date; run `ctsl notebooks {number_of(path)} --out notebooks`"
            )


@app.command("student")
def student_command(
    out: Out,
    numbers: Numbers = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace notebooks that were worked in.")] = False,
) -> None:
    """Write notebooks to work in: no outputs, and an empty cell for each answer. Answers are not written over."""
    write_versions(find_notebooks(numbers or (), NOTEBOOKS), out, student, replace=replace)


@app.command("solutions")
def solutions_command(
    out: Out,
    numbers: Numbers = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run the solved notebooks; this takes a minute each.")
    ] = False,
) -> None:
    """Write notebooks in which every exercise is solved and explained."""
    for path in write_versions(find_notebooks(numbers or (), NOTEBOOKS), out, solved):
        if run:
            seconds = run_notebook(path, path, {})
            print(f"{path.name}: {seconds:.0f} s")


@app.command("colab")
def colab_command(
    out: Out,
    repository: Annotated[str, typer.Option(help="Its address, such as https://github.com/OWNER/NAME.")],
    numbers: Numbers = None,
) -> None:
    """Write notebooks whose first cell fetches the kit where they are opened on Colab; outputs are kept."""
    write_versions(find_notebooks(numbers or (), NOTEBOOKS), out, on_colab(repository))


@app.command("pages")
def pages_command(out: Out, numbers: Numbers = None) -> None:
    """Write the exercises as pages of the book, blank and solved."""
    write_pages(find_notebooks(numbers or (), NOTEBOOKS), out)


if __name__ == "__main__":
    with failures_in_one_line():
        app()
