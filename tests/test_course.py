"""What the notebooks take from `ctsl_course`, and the first cell that a newcomer runs."""

import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

import ctsl_lib
from ctsl_course.contents import NOTEBOOKS, as_markdown, library_map, notebook_map
from ctsl_course.pictures import relation_matrices


def written(folder: Path, name: str, first: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(first)])
    nbformat.write(notebook, folder / name)


def test_the_map_lists_notebooks_in_order_with_title_and_time(tmp_path: Path) -> None:
    written(
        tmp_path,
        "01b_two.ipynb",
        "# 01b · Two: a teacher\n\n**Time**: about\n9 minutes. Not more.\n\n**You** read.",
    )
    written(tmp_path, "01_one.ipynb", "# 01 · One\n\n**Time** an hour")
    written(tmp_path, ".01_one.part.ipynb", "# 01 · One")
    written(tmp_path, "02_untimed.ipynb", "# 02 · No time")
    written(tmp_path, "03_other.ipynb", "A notebook without a title")
    assert as_markdown(notebook_map(tmp_path)).splitlines() == [
        "| notebook | time |",
        "| --- | --- |",
        "| [01 One](01_one.ipynb) | an hour |",
        "| [01b Two: a teacher](01b_two.ipynb) | about 9 minutes |",
        "| [02 No time](02_untimed.ipynb) | – |",
    ]


def test_every_notebook_of_the_course_is_on_the_map() -> None:
    linked = as_markdown(notebook_map())
    assert all(f"({path.name})" in linked for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


def test_every_folder_of_the_library_says_what_is_in_it() -> None:
    found = library_map().set_index("folder")["what is in it"]
    folders = {f"`{path.parent.name}`" for path in Path(ctsl_lib.__path__[0]).glob("*/__init__.py")}
    assert set(found.index) == folders
    assert found.str.endswith(".").all()


@pytest.mark.parametrize(("isolated", "said"), [(True, "make lab"), (False, "This machine is ready.")])
def test_the_check_of_the_setup_survives_a_missing_kit(isolated: bool, said: str) -> None:
    cells = nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    without = ["-I", "-S"] if isolated else []  # -S: no installed packages, as in somebody else's Python
    ran = subprocess.run(
        [sys.executable, *without, "-c", first], capture_output=True, text=True, cwd=NOTEBOOKS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout


def test_relation_matrices_name_each_class_at_the_middle_of_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = [torch.randn(6, width, generator=generator) for width in (3, 5)]
    figure = relation_matrices(embeddings, torch.tensor([7, 2, 7, 2, 7, 4]), ["one", "two"])
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["2", "4", "7"]
    assert panel.get_xticks().tolist() == [0.5, 2, 4]  # sorted: 2 2 4 7 7 7
    plt.close(figure)
