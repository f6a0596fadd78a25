"""What every committed notebook keeps to; nbval runs them (`make test`)."""

import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

from ctsl_lib.cli.notebooks import NOTEBOOKS, declared_parameters, find_notebooks

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
REPORTS = (NOTEBOOKS / "30_report.ipynb", NOTEBOOKS / "40_check.ipynb")
"""Reports, no lessons."""


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_there_are_notebooks() -> None:
    numbers = [path.name.split("_")[0] for path in PATHS]
    assert numbers[:10] == ["00", "01", "01b", "01c", "02", "03", "04", "05", "06", "07"]
    assert find_notebooks() == PATHS


def test_executed_in_order_and_whole(notebook: nbformat.NotebookNode) -> None:
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))


def test_code_cells_are_short(notebook: nbformat.NotebookNode) -> None:
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code(notebook)]
    assert max(lines) <= 40 and median(lines) <= 8


def test_outputs_are_clean(path: Path, notebook: nbformat.NotebookNode) -> None:
    assert path.stat().st_size <= 400 * 1024
    assert "widgets" not in notebook.metadata and "papermill" not in notebook.metadata
    for output in (output for cell in code(notebook) for output in cell.outputs):
        assert output.output_type in ("stream", "display_data", "execute_result"), output.output_type
        assert output.get("name") != "stderr", output.text
        data = output.get("data", {})
        assert "application/vnd.jupyter.widget-view+json" not in data
        text = str(output.get("text", "")) + str(data.get("text/plain", "")) + str(data.get("text/html", ""))
        assert not re.search(r"/(home|tmp|root|work|Users|usr)/", text), text


def test_every_picture_has_a_text(notebook: nbformat.NotebookNode) -> None:
    pictures = [o for cell in code(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert pictures
    for picture in pictures:
        metadata = picture.metadata.get("image/png", {})
        assert len(metadata.get("alt", "")) >= 20, "show figures with ctsl_lib.plots.show(figure, alt)"


def test_parameters_are_declared_with_types(path: Path) -> None:
    assert declared_parameters(path)


@pytest.mark.parametrize("path", [path for path in PATHS if path not in REPORTS], ids=lambda path: path.stem)
def test_opening_and_ending(notebook: nbformat.NotebookNode) -> None:
    first, text = notebook.cells[0].source, prose(notebook)
    assert first.startswith("# ")
    for heading in ("You will learn", "Time", "Prerequisites"):
        assert heading in first, heading
    endings = [text.rfind(f"## {heading}") for heading in ("Summary", "Exercises", "Next")]
    assert -1 not in endings and endings == sorted(endings)


def test_checks_and_pinned_outputs(notebook: nbformat.NotebookNode) -> None:
    assert any("assert " in cell.source for cell in code(notebook))
    assert any("NBVAL_CHECK_OUTPUT" in cell.source for cell in code(notebook))
