"""Notebook 22: the rules of the plan, what it compares, and that it shows whatever records there are."""

import math
import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from ctsl_course.contents import NOTEBOOKS
from ctsl_lib import ROOT
from ctsl_lib.cli.notebooks import run_notebook
from ctsl_lib.evidence.statistics import Interval, mean_interval
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.profiles import load_profile
from ctsl_lib.experiments.store import Store
from tests.notebook_code import definitions, made_up, parameters_of

PATH = NOTEBOOKS / "22_long_trainings.ipynb"
PARAMETERS = parameters_of(PATH)
GAINS = {"independent_2x": 0.5, "dml": 1.0, "ctsl_mkt": 1.7}
"""Points over independent training of the made-up records; all other rows have none."""


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return definitions(PATH, ["SMALLEST", "RIVALS", "PARTS"])


def test_its_rows_are_those_of_the_plan() -> None:
    script = (ROOT / "scripts" / "overnight.sh").read_text(encoding="utf-8")
    main, rest = (re.search(rf'^{name}="(.+)"$', script, re.MULTILINE) for name in ("main", "rest"))
    assert main and main[1].split(", ") == PARAMETERS["methods"] and PARAMETERS["seeds"] == 5
    assert rest and rest[1].split(", ") == PARAMETERS["parts"] and PARAMETERS["parts_seeds"] == 3
    assert '"label_smoothing" 3' in script and PARAMETERS["soft"] == [
        "label_smoothing",
        "soft target",
        "large loss",
    ]


def test_the_differences_asked_for_are_those_of_the_plan(notebook: dict[str, Any]) -> None:
    plan = (ROOT / "data" / "records" / "PLAN.md").read_text(encoding="utf-8")
    assert "CTSL-MKT against DML, RKD and Tf-KD" in plan and "*Smallest effect of interest*: one point" in plan
    assert set(notebook["RIVALS"]) == {"independent", "dml", "rkd", "tfkd", "independent_2x"}
    assert set(notebook["PARTS"]) == {"MLI+MLR", "MLI+SLI", "MLR+SLI"} and notebook["SMALLEST"] == 1


@pytest.mark.parametrize(
    ("low", "high", "n", "name"),
    [
        (0.1, 0.3, 5, "better"), (-0.3, -0.1, 5, "worse"), (-0.9, 0.9, 5, "less than a point"), (-1.1, 0.9, 5, "open"),
        (-0.9, 1.1, 3, "open"), (math.nan, math.nan, 1, "single run"), (math.nan, math.nan, 0, "not run"),
    ],
)  # fmt: skip
def test_a_difference_has_the_plans_name(
    notebook: dict[str, Any], low: float, high: float, n: int, name: str
) -> None:
    difference = Interval((low + high) / 2, low, high, n)
    assert notebook["called"](difference, planned=n) == name
    assert notebook["called"](difference, planned=n + 1) == (f"{name} (interim)" if n > 1 else name)


def test_equal_differences_decide_nothing(notebook: dict[str, Any]) -> None:
    assert notebook["called"](mean_interval([2.0, 2.0, 2.0]), planned=3) == "open"


def test_convergence_is_judged_by_the_whole_interval(notebook: dict[str, Any]) -> None:
    judged = notebook["converged"]
    assert judged(Interval(0, -1.5, 0.9, 5), 5) == "shown" and judged(Interval(2, 1.1, 3, 5), 5) == "refuted"
    assert judged(Interval(1, 0.9, 1.1, 5), 5) == "open" and judged(mean_interval([0.5]), 5).startswith("open")
    assert judged(Interval(0, -1.5, 0.9, 3), 5) == "open, with 3 of 5 seeds"


def test_the_gain_beyond_cost_takes_seeds_that_have_all_four(notebook: dict[str, Any]) -> None:
    values = pd.DataFrame(
        {
            "ctsl_mkt": [50, 51, 52.0], "dml": [49, 50, 50.0],
            "independent_2x": [48, 49, None], "independent": [47.5, 48, 48.0],
        }
    )  # fmt: skip
    assert notebook["beyond_cost"](values) == mean_interval([0.5, 0.0])
    assert notebook["beyond_cost"](values.drop(columns="dml")).n == 0


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "seeds", "whole"), [("cifar10", 3, True), ("cifar100", 1, False)])
def test_whatever_records_there_are_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, seeds: int, whole: bool
) -> None:
    """All rows of some seeds, or independent training alone: nothing fails, and words follow the numbers."""
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "records"))
    # With the images at hand, made-up records would be known to be of others.
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "no images"))
    rows = [*PARAMETERS["methods"], *PARAMETERS["parts"], "label_smoothing"]
    settings = {"pairs": [PARAMETERS["pair"]], "methods": rows, "seeds": seeds}
    plan = plan_from(load_profile("overnight", dataset=dataset) | settings, dataset)
    store = Store(tmp_path / "records")
    for (_, method), specs in plan.specs().items():
        for spec in specs if whole or method == "independent" else []:
            wobble = 0.01 * spec.seed * (0 if method == "independent" else 1 + rows.index(method))
            store.save(made_up(spec, 40 + spec.seed + GAINS.get(method, 0.0) + wobble))
    run_notebook(PATH, tmp_path / "done.ipynb", {"dataset": dataset, "seeds": 3})
    cells = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert not any(output.get("name") == "stderr" for output in outputs)
    said = "\n".join(str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in outputs)
    if whole:
        assert "Convergence: shown." in said and "Complete seeds, with all 10 rows: [0, 1, 2]." in said
        assert re.search(r"Beyond what a second training gives: \+0\.21 ± 0\.\d+ points \(3 of 3 seeds\)", said)
        assert re.search(r"CTSL-MKT over DML +\+0\.73 ± 0\.07 +3 of 3 +better", said)
        assert re.search(r"CTSL-MKT over label smoothing +\+1\.65 ± 0\.12 +3 of 3", said)
    else:
        assert "Complete seeds, with all 10 rows: []." in said and "Convergence: open" in said
        assert "not yet: 0 of 3 seeds" in said
        assert re.search(r"CTSL-MKT over DML +– +0 of 3 +not run", said)
        assert re.search(r"CTSL-MKT over label smoothing +– +0 of 3 +not run", said)
