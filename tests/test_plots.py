"""Plots of evidence: what is drawn is what was measured."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from ctsl_lib.data.specs import Digits
from ctsl_lib.evidence.statistics import factorial_effects, mean_interval
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.plots.results import comparison, effects, learning_curves, main_effects
from ctsl_lib.plots.style import COLOURS
from ctsl_lib.training.recipe import Recipe


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def frame(values: dict[str, list[float]]) -> pd.DataFrame:
    """A row for each method and seed (the position in the list), a single peer."""
    rows = [
        {"method": method, "seed": seed, "peer": 1, "top1": value}
        for method, row in values.items()
        for seed, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


def bars(figure: Figure, panel: int) -> list[tuple[float, float]]:
    """Ends of the horizontal intervals of a panel, from top to bottom."""
    lines = [line.get_xdata() for line in figure.axes[panel].lines]
    drawn = [x for x in lines if len(x) == 8 and not np.isnan(x).all()]  # two caps and what joins them
    return [(float(np.nanmin(x)), float(np.nanmax(x))) for x in drawn]


def test_intervals_of_a_comparison_are_student_t_and_paired() -> None:
    figure = comparison(frame({"independent": [50, 70, 90], "dml": [51, 72, 93]}))
    left = [mean_interval(values) for values in ([50, 70, 90], [51, 72, 93])]
    assert np.array(bars(figure, 0)) == pytest.approx(np.array([(one.low, one.high) for one in left]))
    paired = mean_interval([1, 2, 3])  # by the seeds, which differ by tens of points
    assert bars(figure, 1) == [pytest.approx((paired.low, paired.high))]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["independent", "DML"]
    seeds = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    assert sorted(x for c in seeds for x in c.get_offsets()[:, 0]) == [50, 51, 70, 72, 90, 93]
    assert figure.axes[1].get_xlabel() == "difference from independent (percentage points)"


def test_a_comparison_of_one_seed_has_no_intervals() -> None:
    assert bars(comparison(frame({"independent": [50], "dml": [51]})), 1) == []


def test_learning_curves_draw_every_seed_and_stay_within_the_data(tmp_path: Path) -> None:
    spec = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=3, batch_size=30))
    template = run(spec, Store(tmp_path))

    def record(seed: int, curve: list[float]) -> Record:
        history = template.history.model_copy(update={"accuracy": [curve, curve]})
        spec = template.spec.model_copy(update={"seed": seed})
        return template.model_copy(update={"history": history, "spec": spec})

    curves = [[0, 10, 100], [50, 90, 100], [10, 100, 100]]
    figure = learning_curves({"dml": [record(seed, curve) for seed, curve in enumerate(curves)]})
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert drawn[:3] == curves and drawn[3] == pytest.approx(np.mean(curves, axis=0))
    assert not figure.axes[0].collections  # no band that would leave 0 to 100


def test_the_ablation_draws_effects_within_seeds() -> None:
    rows = {}
    for mli, mlr, sli in product((0, 1), repeat=3):
        name = "+".join(n for n, on in (("MLI", mli), ("MLR", mlr), ("SLI", sli)) if on) or "none"
        rows[name] = [base + 2 * mli - mlr + 3 * mli * mlr + seed * sli for seed, base in enumerate((80, 60, 70))]
    figure = main_effects(frame(rows | {"kd": [10, 10, 10]}))  # another method has no part in it
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["MLI: +3.50 ± 0.00 points", "MLR: +0.50 ± 0.00 points", "SLI: +1.00 ± 2.48 points"]
    for axes, (without, with_) in zip(figure.axes, ((70, 73.5), (71.5, 72), (71.25, 72.25)), strict=True):
        assert len(axes.lines) == 5 and not axes.containers  # four pairs of rows, their mean, no bars
        assert list(axes.lines[4].get_ydata()) == pytest.approx([without, with_])
        assert [text.get_text() for text in axes.get_xticklabels()] == ["without", "with"]
    [axes] = effects(factorial_effects(frame(rows))).axes
    assert [text.get_text() for text in axes.get_yticklabels()][:2] == ["MLI", "MLR"]
    assert axes.containers[0][0].get_xdata()[0] == pytest.approx(3.5)


def test_colours_are_of_the_palette_for_more_methods_than_colours() -> None:
    many = frame({f"method {i}": [i, i + 1.0] for i in range(12)})
    figure = comparison(many, baseline="method 0")
    used = {plt.matplotlib.colors.to_hex(line.get_color()).upper() for line in figure.axes[0].lines}
    assert used == set(COLOURS)


def test_evidence_draws_nothing() -> None:
    code = (
        "import sys, pkgutil, importlib, ctsl_lib.evidence as rooms\n"
        "for module in pkgutil.iter_modules(rooms.__path__, 'ctsl_lib.evidence.'):\n"
        "    importlib.import_module(module.name)\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
