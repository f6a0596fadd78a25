"""The main job: method comparison and ablation on the built-in data, and the report of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter

from ctsl_lib.cli.notebooks import NOTEBOOKS, run_notebook
from ctsl_lib.environment import write_atomically
from ctsl_lib.experiments.grid import grid, process_pool, run_grid
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers
from ctsl_lib.losses.methods import ABLATIONS, METHOD_NAMES
from ctsl_lib.losses.objective import Objective

QUICK = Spec()
"""The quick profile: a pair of equal tiny networks on the noisy digits."""
REPORT = NOTEBOOKS / "30_report.ipynb"


def gather(
    seeds: int, processes: int | None = None, store: Store | None = None, base: Spec = QUICK
) -> list[Record]:
    """Run what has no record yet: the eight rows of the ablation, which hold the five methods.

    Args:
        seeds: number of seeds, 2 or more.
        processes: runs side by side; by default what suits the machine.
        store: where the records are.
        base: what all runs share.

    Returns: a record for each row and seed.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be 2 or more for an interval, got {seeds}")
    with process_pool(processes) as executor:
        return run_grid(grid(base, ABLATIONS, range(seeds)), store, executor=executor)


def write_report(folder: Path, parameters: Mapping[str, Any]) -> Path:
    """Execute the report's notebook and write it as one HTML file that needs nothing else.

    Args:
        folder: gets `report.html`, and the notebook in `notebooks/`.
        parameters: of the notebook.

    Returns: the path of the HTML file.
    """
    notebook, html = folder / "notebooks" / REPORT.name, folder / "report.html"
    with Workers(1) as worker:  # as signals must find this process's own handlers, which nbclient replaces
        worker.submit(run_notebook, REPORT, notebook, parameters).result()
    # Of nbconvert's templates this one keeps the pictures' texts. Without a formula, nothing has to be fetched.
    exporter = HTMLExporter(template_name="classic", exclude_input=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = ""
    title = {"metadata": {"name": "CTSL-MKT: the built-in reproduction"}}
    text, _ = exporter.from_filename(str(notebook), resources=title)
    write_atomically(html, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return html


def method_rows() -> dict[str, Objective]:
    """The ablation rows under the methods' names where they have one, for tables that hold both."""
    names = {row: method for method, row in METHOD_NAMES.items()}
    return {names.get(row, row): objective for row, objective in ABLATIONS.items()}
