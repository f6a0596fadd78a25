"""Exercises of notebook 22: what seeds can decide, a gain beyond its cost, equal cost."""

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from ctsl_course.exercises.diagnose import equals, require
from ctsl_course.exercises.e22_names import ends
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried

pencil(
    "22.1",
    "What seeds can decide",
    minutes=6,
    difficulty="*",
    text="""
        The differences of two methods spread with s = 0.8 points over seeds. Which value must their mean
        exceed for a 95 % interval to exclude zero, with three seeds and with five? Student's values are 4.303
        and 2.776.
    """,
    hints=(
        "Half the interval (22.3) must be smaller than the mean.",
        r"The spread of a *mean* of n values is smaller than s, by $\sqrt n$.",
    ),
    name="my_smallest",
    answer={"three seeds": 1.987, "five seeds": 0.993},
    wrong=[
        (
            {"three seeds": 3.442},
            "three seeds: single differences lie there; divide by the root of their number",
        ),
        (
            {"five seeds": 2.221},
            "five seeds: single differences lie there; divide by the root of their number",
        ),
        ({"three seeds": 0.905}, "three seeds: 1.96 is for very many seeds; three have Student's 4.303"),
        ({"five seeds": 0.701}, "five seeds: 1.96 is for very many seeds; five have Student's 2.776"),
        ({"three seeds": 1.147}, "three seeds: divide by the root of their number, not by the number"),
        ({"five seeds": 0.444}, "five seeds: divide by the root of their number, not by the number"),
    ],
    tolerance=0.01,
    why="""
        1.99 and 0.99 points: two seeds more halve the smallest mean that is decided. A plan with three seeds
        can decide large effects only, and should say so before its runs.
    """,
)


def my_excess(accuracy: dict[str, list[float]]) -> tuple[float, float]:
    """Mean of (22.5) over seeds and half of its 95 % interval; a key for each method, an accuracy for each seed."""
    raise NotImplementedError


def mean_and_half(x: np.ndarray) -> tuple[float, float]:
    """Mean and half of the interval."""
    low, high = ends(list(x))
    return float(x.mean()), (high - low) / 2


def excess_right(accuracy: Mapping[str, list[float]]) -> tuple[float, float]:
    """(22.5), seed by seed."""
    full, dml, longer, alone = (
        np.array(accuracy[m]) for m in ("ctsl_mkt", "dml", "independent_2x", "independent")
    )
    x = (full - dml) - (longer - alone)
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return float(x.mean()), float(half)


def excess_unpaired(accuracy: Mapping[str, list[float]]) -> tuple[float, float]:
    parts = [np.array(accuracy[m]) for m in ("ctsl_mkt", "dml", "independent_2x", "independent")]
    spread = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts))
    return excess_right(accuracy)[0], float(stats.t.ppf(0.975, len(parts[0]) - 1) * spread)


def excess_over_longer(accuracy: Mapping[str, list[float]]) -> tuple[float, float]:
    return mean_and_half(np.array(accuracy["ctsl_mkt"]) - np.array(accuracy["independent_2x"]))


def excess_sum(accuracy: Mapping[str, list[float]]) -> tuple[float, float]:
    full, dml, longer, alone = (
        np.array(accuracy[m]) for m in ("ctsl_mkt", "dml", "independent_2x", "independent")
    )
    return mean_and_half((full - dml) + (longer - alone))


def excess_half_only(accuracy: Mapping[str, list[float]]) -> tuple[float, float]:
    mean, half = excess_right(accuracy)
    return mean, 2 * half


def excess_agrees(answer: Tried) -> None:
    accuracy = {
        "ctsl_mkt": [50.3, 50.9, 49.8, 51.2],
        "dml": [49.4, 50.1, 48.5, 50.4],
        "independent_2x": [49.2, 49.9, 48.6, 50.2],
        "independent": [48.1, 48.6, 47.9, 49.3],
    }
    found = answer(accuracy)
    require(
        isinstance(found, tuple | list | np.ndarray) and len(found) == 2,
        "return two numbers, the mean and half of the interval",
    )
    mistakes = {
        "this treats the four accuracies as unrelated samples; form (22.5) for each seed, then take the interval": (
            excess_unpaired(accuracy)
        ),
        "this is the full method over the rival of equal cost; (22.5) has DML and independent training, too": (
            excess_over_longer(accuracy)
        ),
        "the gain of the second training is taken away, not added": excess_sum(accuracy),
        "this is the whole width of the interval; return half of it": excess_half_only(accuracy),
    }
    wrong = {said: np.array(value) for said, value in mistakes.items()}
    equals(np.array(found, dtype=float), np.array(excess_right(accuracy)), wrong, what="mean and half width")


code(
    "22.3",
    "Beyond a second training",
    minutes=10,
    difficulty="**",
    text="""
        Compute the mean of (22.5) over seeds and half of its interval. `accuracy` has the keys "ctsl_mkt",
        "dml", "independent_2x" and "independent", each with a value for each seed, in the same order.
    """,
    hints=(
        "Four arrays, one difference of differences for each seed.",
        "`stats.t.ppf(0.975, n - 1) * x.std(ddof=1) / math.sqrt(n)`.",
    ),
    stub=my_excess,
    solution=excess_right,
    wrong={
        excess_unpaired: "treats the four accuracies",
        excess_over_longer: "the rival of equal cost",
        excess_sum: "taken away, not added",
        excess_half_only: "the whole width",
    },
    checks={"four seeds": excess_agrees},
    why="""
        All four rows of a seed share images and initial weights, so much of what moves one of them moves all,
        and the difference of differences is known better than any of its parts.
    """,
)

pencil(
    "22.4",
    "Equal cost, the other way",
    minutes=5,
    difficulty="*",
    text="""
        One may also halve the method instead of doubling its rival. Each network may use 624,000 image passes
        in all, on 8,000 images. CTSL-MKT spends them on two equally long stages. How many epochs has each
        stage, and how many has DML?
    """,
    hints=(
        "Divide the passes by the images; then count the stages of each method.",
        "The first stage counts, too.",
    ),
    name="my_epochs",
    answer={"each stage": 39, "DML": 78},
    wrong=[
        ({"each stage": 78}, "each stage: this is the whole budget, and there are two stages"),
        ({"each stage": 156}, "each stage: this is four times what there is"),
        ({"DML": 39}, "DML: it has no frozen copy, so it has one stage and all of the budget"),
        ({"DML": 156}, "DML: this is twice the budget"),
    ],
    tolerance=1e-4,
    why="""
        39 + 39 against 78. It is the other question of equal cost, and the harder one for the method: its
        copies would be worse teachers, too. Section 5 asks both.
    """,
)
