"""Notebook 21: its regimes are the same work, its slopes are scipy's, its records are there, real images can come."""

import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ctsl_course.contents import NOTEBOOKS
from ctsl_lib import ROOT
from ctsl_lib.cli.notebooks import run_notebook
from ctsl_lib.evidence.statistics import mean_interval
from ctsl_lib.experiments.profiles import load_profile
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from tests.notebook_code import definitions, made_up, parameters_of

PATH = NOTEBOOKS / "21_regimes.ipynb"
PARAMETERS = parameters_of(PATH)
STEPS_APART = 0.05
"""By how much the steps of two regimes may differ, since an epoch leaves out its incomplete batch."""


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return definitions(PATH, ["real"])


def some_gains(seeds: int = 5, missing: int = 0) -> pd.DataFrame:
    """Gains of random size that fall by a point for each doubling; the last seed may lack some regimes."""
    draw = np.random.default_rng(0)
    rows = [
        {"seed": seed, "n": n, "gain": 5 - np.log2(n) + draw.normal()}
        for seed in range(seeds)
        for n in (10, 20, 40, 80)
    ]
    return pd.DataFrame(rows[: len(rows) - missing])


@pytest.mark.parametrize("kind", ["digits", "real"])
def test_all_regimes_are_the_same_work(notebook: dict[str, Any], kind: str) -> None:
    real = notebook["real"]
    splits, profile = (real.splits, real.profile) if kind == "real" else (PARAMETERS["splits"], "digits")
    batch = load_profile(profile)["batch_size"]
    assert len({images * epochs for images, epochs in splits}) == 1
    steps = [epochs * (images // batch) for images, epochs in splits]
    assert max(steps) <= (1 + STEPS_APART) * min(steps)


def test_the_map_of_real_images_is_that_of_the_plan(notebook: dict[str, Any]) -> None:
    real = notebook["real"]
    script = (ROOT / "scripts" / "overnight.sh").read_text(encoding="utf-8")
    planned = script.partition("# 2 The map of regimes")[2].partition("# 3")[0]
    splits, again = (
        re.findall(r'"(\d+) (\d+)"', line) for line in planned.splitlines() if "for split in" in line
    )
    assert splits == again == [(str(images), str(epochs)) for images, epochs in real.splits]
    named = re.findall(r'train (\w+) "([^"]+)" "([^"]+)" (?:\$seeds|3) ', planned)
    assert {dataset for dataset, _, _ in named} == {real.dataset}
    assert {pair for _, pair, _ in named} == {", ".join(real.pair)}
    assert {m for _, _, methods in named for m in methods.split(", ")} == set(real.methods)
    assert f"--profile {real.profile}" in script and real.label_noise == load_profile(real.profile)["label_noise"]


def test_every_run_of_the_map_has_a_committed_record(notebook: dict[str, Any]) -> None:
    store = Store(ROOT / "data" / "records")
    own = {
        name: PARAMETERS[name] for name in ("dataset", "profile", "pair", "splits", "classes", "seeds", "methods")
    }
    for noise in PARAMETERS["label_noises"]:
        for split in own["splits"]:
            runs = [spec for _, spec in notebook["Map"](**own, label_noise=noise).plan(*split).runs()]
            assert len(runs) == 10 + 5 * 10  # with the first stages
            assert [spec.in_words for spec in runs if not store.path(spec).exists()] == []


def test_the_slope_is_that_of_scipy(notebook: dict[str, Any]) -> None:
    rows = some_gains()
    b, error = notebook["slope"](rows["n"].to_numpy(float), rows["gain"].to_numpy())
    line = stats.linregress(np.log2(rows["n"]), rows["gain"])
    assert (b, error) == pytest.approx((line.slope, line.stderr))
    one, _ = notebook["slopes"](rows)
    half = stats.t.ppf(0.975, len(rows) - 2) * line.stderr
    assert tuple(one) == pytest.approx((line.slope, line.slope - half, line.slope + half, len(rows)))


def test_the_seed_is_the_unit_of_the_second_interval(notebook: dict[str, Any]) -> None:
    rows = some_gains()
    each = [stats.linregress(np.log2(own["n"]), own["gain"]).slope for _, own in rows.groupby("seed")]
    one, two = notebook["slopes"](rows)
    assert tuple(two) == pytest.approx(tuple(mean_interval(each)))
    assert two.mean == pytest.approx(one.mean)  # all seeds have all regimes
    one, two = notebook["slopes"](some_gains(missing=1))
    assert (one.n, two.n) == (19, 4)
    assert two.mean == pytest.approx(np.mean(each[:4]))


def test_gains_are_paired_by_seed(notebook: dict[str, Any]) -> None:
    values = {
        ("independent", 0): (50, 60),
        ("dml", 0): (53, 61),
        ("independent", 1): (40, 40),
        ("dml", 2): (1, 1),
    }
    rows = [
        {"method": method, "seed": seed, "peer": peer + 1, "top1": top1, "n": 10}
        for (method, seed), both in values.items()
        for peer, top1 in enumerate(both)
    ]
    found = notebook["gains"](pd.DataFrame(rows))
    assert found.to_dict("records") == [{"seed": 0, "method": "dml", "gain": 2.0, "n": 10}]
    assert notebook["gains"](pd.DataFrame(rows), "independent_2x").empty


@pytest.mark.slow
def test_records_of_real_images_are_shown_as_soon_as_they_are_there(
    notebook: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sections with made-up records of three seeds, of which one lacks its longest runs; one map has none."""
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "no images"))
    store, real = Store(tmp_path / "records"), notebook["real"]
    for split in real.splits:
        for (_, method), specs in real.plan(*split).specs().items():
            for spec in specs:
                if (method, spec.seed) != ("independent_2x", 2):
                    gained = spec.objective != METHODS["independent"] and 1 + 0.02 * (spec.seed - 1)
                    store.save(made_up(spec, 30 + spec.data.n_train / 5000 + spec.seed + gained))
    own = {name: value for name, value in real._asdict().items() if name not in ("label_noise", "rows")}
    run_notebook(PATH, tmp_path / "done.ipynb", own | {"label_noises": [0, 0.2]})
    cells = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    said = "\n".join(output.get("text") or output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert said.count("cifar100, right labels: 56 of 60 runs have records.") == 2
    assert "cifar100, 20 % random labels: 0 of 60 runs have records." in said
    for gain in ("+1.00 ± 0.05", "+0.99 ± 0.13"):  # of three seeds; over twice the epochs of two
        assert said.count(f"- CTSL-MKT: better at 50 ({gain}), 100 ({gain}), 200 ({gain})") == 2
    pictures = [
        output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4 + 2 and len([alt for alt in pictures if alt.startswith("CIFAR-100")]) == 2
    assert not any(output.get("name") == "stderr" for output in outputs)
