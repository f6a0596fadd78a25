"""Statistics against numbers worked by hand."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from ctsl_lib.data.specs import Digits
from ctsl_lib.evidence.statistics import Interval, factorial_effects, mean_interval, paired_difference, pivot
from ctsl_lib.evidence.tables import EACH_PEER, frame_of, interval_in, readable, summary
from ctsl_lib.experiments.grid import grid, run_grid
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.training.recipe import Recipe


def frame(values: dict[str, list[float]]) -> pd.DataFrame:
    """A row for each method and seed (the position in the list), a single peer."""
    return pd.DataFrame(
        [
            {"method": method, "seed": seed, "peer": 1, "top1": value}
            for method, row in values.items()
            for seed, value in enumerate(row)
        ]
    )


def test_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.302653, half width t / sqrt(3).
    found = mean_interval([1, 2, 3])
    half = 4.302652729911275 / math.sqrt(3)
    assert found == pytest.approx((2, 2 - half, 2 + half, 3))
    assert str(found) == "2.00 ± 2.48" and not found.excludes_zero
    assert mean_interval([5, 5.1, 4.9]).excludes_zero and mean_interval([-5, -5.1]).excludes_zero


def test_interval_of_one_value_has_no_bounds() -> None:
    found = mean_interval([7.0])
    assert found.mean == 7 and math.isnan(found.low) and not found.excludes_zero and str(found) == "7.00"
    with pytest.raises(ValueError, match="values must be a non-empty list"):
        mean_interval([])
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        mean_interval([1, 2], 95)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    source = np.random.default_rng(0)
    runs = [mean_interval(source.normal(3, 2, size=5)) for _ in range(2000)]
    share = np.mean([run.low <= 3 <= run.high for run in runs])
    assert 0.935 < share < 0.965


def test_pairing_removes_what_seeds_share() -> None:
    # Seeds differ by tens of points, the method adds 1 to each: the paired interval is of width 0.
    table = summary(frame({"independent": [50, 70, 90], "dml": [51, 71, 91]}))
    assert table.loc["dml", ["difference", "difference_low", "difference_high"]].tolist() == [1, 1, 1]
    assert table.loc["dml", "high"] - table.loc["dml", "low"] > 90
    assert math.isnan(table.loc["independent", "difference"]) and table["n"].tolist() == [3, 3]


def test_pairs_only_seeds_that_both_have() -> None:
    values = pivot(frame({"independent": [50, 70], "dml": [53, 73, 99]}))
    found = paired_difference(values, "dml")
    assert (found.mean, found.n) == (3, 2)
    with pytest.raises(ValueError, match="method must be one of independent, dml; got 'rkd'"):
        paired_difference(values, "rkd")
    apart = pd.DataFrame({"independent": [1.0, np.nan], "dml": [np.nan, 1.0]})
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference(apart, "dml")


def test_equal_differences_decide_nothing() -> None:
    table = summary(frame({"independent": [50, 70, 90], "dml": [51, 71, 91]}))
    assert readable(table).loc["DML", "difference from independent"] == "+1.00 ± 0.00"
    assert not mean_interval([0.1 + 0.2, 0.3]).excludes_zero and mean_interval([0.3, 0.30001]).excludes_zero


def test_several_pairs_are_not_mixed() -> None:
    one, other = frame({"independent": [80, 81], "dml": [80, 81]}), frame({"independent": [60, 61]})
    both = pd.concat([one.assign(pair="a + a"), other.assign(pair="b + b")])
    both = both.assign(best=90, parameters=10, epochs=1)
    with pytest.raises(
        ValueError, match=r"must be of one pair, got a \+ a, b \+ b; choose one, or keep them apart"
    ):
        summary(both)
    assert summary(both, by=["pair"]).loc[("a + a", "dml"), "difference"] == 0


def test_what_a_method_lacks_is_empty_and_hides_nothing_else() -> None:
    rows = frame({"independent": [50, 70], "dml": [53, 73]}).assign(
        seconds=np.nan, sharpness=[np.nan, np.nan, 4, 6]
    )
    table = summary(rows, also=["seconds", "sharpness"])
    assert table.loc["dml", "difference"] == 3 and table["seconds_n"].tolist() == [0, 0]
    assert table.loc["dml", "sharpness"] == 5 and table.loc["independent", "sharpness_n"] == 0
    text = readable(table)
    assert text["seconds (s)"].tolist() == ["–", "–"] and text["sharpness (%)"]["DML"].startswith("5.00 ± ")
    assert pivot(rows, peer=2).columns.tolist() == ["independent", "dml"] and not len(pivot(rows, peer=2))


def test_readable_marks_what_excludes_zero() -> None:
    text = readable(summary(frame({"independent": [1, 2, 3], "dml": [3, 4, 5.1], "rkd": [1, 2.5, 2]})))
    column = text["difference from independent"]
    assert column["independent"] == "–" and column["DML"].startswith("+2.03") and column["DML"].endswith("*")
    assert column["RKD"].startswith("-0.17") and not column["RKD"].endswith("*")
    assert text["seeds"].tolist() == [3, 3, 3] and str(Interval(-1.5, -2, -1, 4)) == "-1.50 ± 0.50"


def test_an_interval_goes_by_its_own_number_of_seeds() -> None:
    some = frame({"independent": [1.0], "dml": [2.0, 3.0, 4.0], "rkd": [math.nan, 5.0]}).dropna()
    table = summary(some)
    assert table["n"].tolist() == [1, 3, 1] and table["difference_n"].tolist() == [0, 1, 0]
    column = readable(table)["difference from independent"]
    assert column.tolist() == ["–", "+1.00", "–"]  # one seed in common has no interval, none has no difference
    assert interval_in(table.loc["dml"], "difference").n == 1 and interval_in(table.loc["dml"]).n == 3
    both = some.assign(ece=[9.0, 8.0, math.nan, math.nan, math.nan])
    table = summary(both[both["method"] == "dml"], baseline="dml", also=["ece"])
    assert readable(table).loc["DML", "ece (%)"] == "8.00"


def test_an_empty_frame_gives_an_empty_table() -> None:
    nothing = frame_of([], METHODS)
    for by in ((), EACH_PEER):
        table = summary(nothing, by=by)
        assert len(table) == 0 and list(table.index.names) == [*by, "method"]
        assert list(readable(table)) == ["top-1 (%)", "difference from independent", "seeds"]


def test_factorial_effects_of_a_known_model() -> None:
    # accuracy = 80 + 2 MLI - 1 MLR + 3 MLI MLR: main MLI = 2 + 3/2, MLR = -1 + 3/2, interaction = 3/2, rest 0.
    rows = {}
    for mli, mlr, sli in product((0, 1), repeat=3):
        name = "+".join(n for n, on in (("MLI", mli), ("MLR", mlr), ("SLI", sli)) if on) or "none"
        rows[name] = [base + 2 * mli - mlr + 3 * mli * mlr for base in (80, 60, 70)]
    found = factorial_effects(frame(rows))
    assert found["effect"].to_dict() == pytest.approx(
        {"MLI": 3.5, "MLR": 0.5, "SLI": 0, "MLI × MLR": 1.5, "MLI × SLI": 0, "MLR × SLI": 0, "MLI × MLR × SLI": 0}
    )
    assert (found["high"] - found["low"]).abs().max() < 1e-9 and set(found["n"]) == {3}
    with pytest.raises(ValueError, match=r"missing: MLR\+SLI"):
        factorial_effects(frame({name: row for name, row in rows.items() if name != "MLR+SLI"}))
    pd.testing.assert_frame_equal(factorial_effects(frame(rows | {"kd": [40, 40]})), found)  # another method
    with pytest.raises(ValueError, match="effects need a seed that all eight ablation rows have"):
        factorial_effects(frame(rows | {"MLR+SLI": [np.nan, np.nan, np.nan]}))


def test_peers_are_averaged_and_the_seed_is_the_unit(store: Store) -> None:
    base = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=1, batch_size=30))
    names = {name: METHODS[name] for name in ("independent", "dml")}
    records = run_grid(grid(base, names, range(2)), store)
    table = frame_of(records, names)
    assert len(table) == 2 * 2 * 2 and set(table["peer"]) == {1, 2}
    values = pivot(table)
    assert values.shape == (2, 2)
    assert values.loc[0, "independent"] == pytest.approx(np.mean(records[0].metrics["top1"]))
    assert pivot(table, peer=2).loc[0, "independent"] == records[0].metrics["top1"][1]
    assert summary(table)["n"].tolist() == [2, 2]
    one = summary(table, by=EACH_PEER).loc[("tiny_cnn + tiny_cnn", 2, "tiny_cnn", "dml")]
    assert one["mean"] == pytest.approx(
        np.mean([r.metrics["top1"][1] for r in records if r.spec.objective.response])
    )
    assert pivot(table, metric="agreement").loc[1, "dml"] == records[3].metrics["agreement"][0]
