"""Runs that are made again: identical, within the spread between seeds, or off, at the stated rate of false alarms."""

from collections.abc import Callable

import numpy as np
import pytest

from ctsl_lib.evidence.remade import ALARM, compare, limit, sign_chance
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.losses.methods import METHODS


def record_of(top1: float, seed: int, method: str = "independent", **spec: object) -> Record:
    chosen = Spec(objective=METHODS[method], seed=seed).model_copy(update=spec)
    epochs = chosen.recipe.epochs
    return Record.model_validate(
        {
            "spec": chosen,
            "data_digest": "",
            "parameters": [5, 5],
            "metrics": {"top1": [top1 - 1, top1 + 1]},
            "history": {"terms": [{"ce": [1.0] * epochs}] * 2, "accuracy": [[50.0]] * 2, "evaluated": [epochs]},
            "provenance": {
                "device": "none", "commit": "none", "versions": {}, "threads": 1, "finished": "", "wall_time": 1.0,
            },
        }
    )  # fmt: skip


COMMITTED = [record_of(88 + value, seed) for seed, value in enumerate((-2, -1, 0, 1, 2))]


def test_by_hand() -> None:
    # s of -2 to 2 is sqrt(2.5); the 99.75 % quantile of t with 4 degrees of freedom is 5.598: 5.598 * sqrt(5) = 12.52
    assert limit([-2, -1, 0, 1, 2], tests=1) == pytest.approx(12.517, abs=2e-3)
    assert limit([-2, -1, 0, 1, 2], tests=2) > 12.6
    assert np.isnan(limit([1, 2], tests=1))
    # Nine equal signs: 2 of 512 ways are so far from zero.
    assert sign_chance([1.0] * 9) == pytest.approx(2 / 512)
    assert np.isnan(sign_chance([1.0] * 8))


def test_each_run_has_its_verdict_and_what_is_off_is_named() -> None:
    assert compare([record_of(88, 77)], COMMITTED).in_words().startswith("None of these 1 runs")
    same = compare(COMMITTED[:2], COMMITTED)
    assert same.in_words() == "2 of 2 runs have exactly the numbers of the committed records."
    remade = [COMMITTED[0], record_of(COMMITTED[1].metrics["top1"][0] + 1 + 0.5, 1), record_of(60, 2)]
    found = compare(remade, COMMITTED)
    assert [one.verdict for one in found.runs] == ["identical", "within the spread", "off"]
    assert [one.difference for one in found.runs] == pytest.approx([0, 0.5, -28])
    said, named = found.in_words().splitlines()
    assert "1 of 3 runs have exactly" in said and "1 differ by no more than two seeds do, 1 are off" in said
    assert COMMITTED[2].spec.key in named and "seed 2): off, -28.00 points of top-1, allowed" in named


def test_another_curve_is_not_identical() -> None:
    history = COMMITTED[0].history.model_copy(update={"accuracy": [[51.0], [50.0]]})
    [one] = compare([COMMITTED[0].model_copy(update={"history": history})], COMMITTED).runs
    assert one.verdict == "within the spread" and one.difference == 0


def test_two_seeds_are_too_few_and_other_numerics_are_found() -> None:
    [one] = compare([record_of(50, 0)], COMMITTED[:3]).runs
    assert one.verdict == "cannot be judged"
    old = [record_of(r.metrics["top1"][0] + 1, r.spec.seed, numerics=2) for r in COMMITTED]
    found = compare([record_of(88.5, 0)], old)
    assert found.unknown == 0 and found.runs[0].verdict == "within the spread"


def false_alarms(draw: Callable[[np.random.Generator], bool], trials: int) -> float:
    source = np.random.default_rng(0)
    return sum(draw(source) for _ in range(trials)) / trials


@pytest.mark.slow
def test_the_rate_of_false_alarms_holds_where_runs_are_as_far_apart_as_two_seeds() -> None:
    def alone(source: np.random.Generator) -> bool:
        committed = source.normal(size=(8, 10))
        bounds = [limit(row[1:].tolist(), tests=8) for row in committed]
        return bool((np.abs(source.normal(size=8) - committed[:, 0]) > bounds).any())

    def together(source: np.random.Generator) -> bool:
        rounded = np.round(source.normal(size=(2, 10)), 1)  # accuracies are counts of images: ties occur
        return sign_chance((rounded[0] - rounded[1]).tolist()) <= ALARM / 2

    # Three standard errors above the half that each test may use.
    for draw, trials in ((alone, 2000), (together, 2000)):
        assert false_alarms(draw, trials) <= ALARM / 2 + 3 * (ALARM / 2 / trials) ** 0.5


def test_a_shift_of_all_runs_is_found_though_each_is_within_the_spread() -> None:
    source = np.random.default_rng(1)
    committed = [
        record_of(88 + value, seed, method)
        for method in METHODS
        for seed, value in enumerate(source.normal(scale=2, size=10))
    ]
    shifted = [
        record_of(r.metrics["top1"][0] + 1 + 1 + source.normal(scale=0.3), r.spec.seed).model_copy(
            update={"spec": r.spec}
        )
        for r in committed
    ]
    found = compare(shifted, committed)
    assert not found.off and found.shifted and found.shift == pytest.approx(1, abs=0.2)
    assert f"All together are off by {found.shift:+.2f} points" in found.in_words()


def test_a_wrong_record_does_not_hide_in_its_own_spread() -> None:
    committed = [*COMMITTED[:4], record_of(20, 4)]
    [one] = compare([record_of(88, 4)], committed).runs
    assert one.verdict == "off" and one.limit == compare([record_of(50, 4)], COMMITTED).runs[0].limit
