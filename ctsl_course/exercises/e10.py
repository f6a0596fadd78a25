"""Exercises of notebook 10: the best epoch, other confidence, the number of seeds."""

import math

import numpy as np
from scipy import stats

from ctsl_course.exercises.diagnose import equals, require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.evidence.statistics import mean_interval


def my_flattery(accuracy: np.ndarray) -> float:
    """By how much the best epoch is above the last one: mean over runs and peers of a (runs, peers, epochs) array."""
    raise NotImplementedError


def flattery_right(accuracy: np.ndarray) -> float:
    """Each peer of each run has a best epoch of its own."""
    return float((accuracy.max(axis=-1) - accuracy[..., -1]).mean())


def flattery_of_mean_curve(accuracy: np.ndarray) -> float:
    curve = accuracy.mean(axis=(0, 1))
    return float(curve.max() - curve[-1])


def flattery_of_first_epoch(accuracy: np.ndarray) -> float:
    return float((accuracy.max(axis=-1) - accuracy[..., 0]).mean())


def flattery_of_one_maximum(accuracy: np.ndarray) -> float:
    return float(accuracy.max() - accuracy[..., -1].mean())


def flattery_agrees(answer: Tried) -> None:
    curves = np.random.default_rng(0).normal(85, 1, size=(5, 2, 20))
    mistakes = {
        "you average the curves first: each peer of each run has a best epoch of its own": flattery_of_mean_curve(
            curves
        ),
        "this is the best epoch minus the first one": flattery_of_first_epoch(curves),
        "this takes one maximum of all runs; each peer of each run has its own": flattery_of_one_maximum(curves),
        "this is last minus best: the best one can only be higher": -flattery_right(curves),
        "epochs are the last axis of the array, you take the maximum over the runs": float(
            (curves.max(axis=0) - curves[-1]).mean()
        ),
    }
    equals(answer(curves), flattery_right(curves), mistakes, what="the flattery")


code(
    "10.1",
    "What the best epoch flatters",
    minutes=8,
    difficulty="*",
    text="""
        Write the mean of best minus last epoch. Then use it on the records: for each method of the first pair,
        `np.array([record.history.accuracy for record in plan.records()[plan.pairs[0], method]])`. Why is it never
        negative, and when would it be large?
    """,
    hints=(
        "Take the maximum over the epochs of each single curve.",
        "`accuracy.max(axis=-1)` and `accuracy[..., -1]`.",
    ),
    stub=my_flattery,
    solution=flattery_right,
    wrong={
        flattery_of_mean_curve: "average the curves first",
        flattery_of_first_epoch: "minus the first one",
        flattery_of_one_maximum: "one maximum of all runs",
    },
    checks={"five runs of noise": flattery_agrees},
    why="""
        The last epoch is one of those that the maximum is taken over, so it is never negative. In the first pair of
        the digits it is 0.06 (DML) to 0.60 points (Tf-KD), since the learning rate ends at zero and the last epochs
        hardly differ; for `independent_2x`, whose accuracy falls towards the end, it is 1.46. So it is large where a
        curve is noisy, or where it has seen better days. Notebook 07, section 9, has the bias of noise.
    """,
)


def my_stars(differences: dict[str, np.ndarray], confidence: float) -> set[str]:
    """The methods whose interval for the paired difference, at this confidence, excludes zero."""
    raise NotImplementedError


def stars_right(differences: dict[str, np.ndarray], confidence: float) -> set[str]:
    """Zero lies outside if the mean is farther from it than the half width."""
    found = set()
    for method, d in differences.items():
        n = len(d)
        half = stats.t.ppf(0.5 + confidence / 2, n - 1) * d.std(ddof=1) / math.sqrt(n)
        if abs(d.mean()) > half:
            found.add(method)
    return found


def stars_at_95(differences: dict[str, np.ndarray], confidence: float) -> set[str]:
    return {method for method, d in differences.items() if mean_interval(d).excludes_zero}


def stars_one_sided(differences: dict[str, np.ndarray], confidence: float) -> set[str]:
    return {m for m, d in differences.items() if mean_interval(d, 2 * confidence - 1).excludes_zero}


def stars_for_gains(differences: dict[str, np.ndarray], confidence: float) -> set[str]:
    return {method for method, d in differences.items() if mean_interval(d, confidence).low > 0}


def stars_agree(answer: Tried) -> None:
    step = np.array([-1.0, 0.0, 1.0])
    sample = {"a": 3.0 + step, "b": 4.3 + step, "c": -6.5 + step, "d": 0.1 + step, "e": 6.2 + step}
    sample |= {"f": 5.2 + step, "g": 3.7 + step, "h": 2.0 + step}
    found = answer(sample, 0.99)
    require(isinstance(found, set | list | tuple), "return the names of the methods, as a set")
    known = {
        "this is for 95 %: use the argument `confidence`": stars_at_95(sample, 0.99),
        "99 % leave half a percent on each side: the quantile is 0.5 + confidence / 2": stars_one_sided(
            sample, 0.99
        ),
        "an interval below zero excludes zero, too": stars_for_gains(sample, 0.99),
    }
    for words, names in known.items():
        require(set(found) != names, words)
    require(
        set(found) == stars_right(sample, 0.99), f"not the methods that keep their star at 99 %: {sorted(found)}"
    )
    require(set(answer(sample, 0.95)) == stars_at_95(sample, 0.95), "right at 99 %, but not at 95 %")


code(
    "10.2",
    "Which stars remain at 99 %?",
    minutes=10,
    difficulty="**",
    text="""
        A star marks a 95 % interval that excludes zero. Write the rule for any confidence, and look which stars
        of the table remain at 99 %.
    """,
    hints=("At 99 % half a percent is left on each side.", "`stats.t.ppf(0.5 + confidence / 2, n - 1)`."),
    stub=my_stars,
    solution=stars_right,
    wrong={
        stars_at_95: "this is for 95 %",
        stars_one_sided: "half a percent on each side",
        stars_for_gains: "below zero excludes zero, too",
    },
    checks={"eight methods at 99 % and 95 %": stars_agree},
    why="""
        Of the 26 stars of the digits' table 22 remain. Those that go are RKD's for the second `tiny_cnn` of the equal
        pair and for both networks of the mixed one, and the warm start's for the first `tiny_cnn`. With ten seeds a
        99 % interval is 1.44 times as wide as a 95 % one (3.25 against 2.26), with three it would be 2.3 times.
    """,
)

pencil(
    "10.3",
    "Seeds for half a point",
    minutes=8,
    difficulty="**",
    text=r"""
        The paired differences of a method have $s = 0.6$ points. How many seeds make the 95 % interval's half
        width at most half a point? Use formula (06.8) of notebook 06.
    """,
    hints=(
        "Student's value depends on n: try the numbers in turn.",
        r"The smallest $n$ with $t_{n-1} \cdot 0.6 / \sqrt n \le 0.5$.",
    ),
    name="my_seeds",
    answer=9,
    wrong=[
        (6, "this is for 1.96, the value of very many seeds"),
        (8, "with 8 seeds the half width is 0.502, still too much"),
        (25, "half a point is the half width, not the whole width of the interval"),
        (4, "this is for a half width of one point"),
    ],
    tolerance=0.001,
    why="t = 2.306 for 8 degrees of freedom: 2.306 · 0.6 / 3 = 0.461. Eight seeds just miss it, with 0.502.",
)
