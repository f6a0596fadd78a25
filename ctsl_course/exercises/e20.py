"""Exercises of notebook 20: chains of claims, verdicts, power."""

import math

import numpy as np
from scipy import stats

from ctsl_course.exercises.diagnose import equals, require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.evidence.claims import Comparison

pencil(
    "20.1",
    "A chain of four links",
    minutes=4,
    difficulty="*",
    text="""
        A claim needs 4 true, independent comparisons, and each is found with a power of 80 %. How likely is it
        that at least one of them fails to be supported?
    """,
    hints=("First the chance that all four are found.", r"$1 - 0.8^4$."),
    name="my_chance",
    answer=1 - 0.8**4,
    wrong=[
        (0.8**4, "this is the chance that all four are supported; the complement is asked for"),
        (0.2**4, "this is the chance that all four fail"),
        (0.8, "chances of independent misses do not add up: 4 times 0.2 would soon exceed 1"),
    ],
    why="59 %: a claim about everything is more likely undecided than supported, even if it is true.",
)

pencil(
    "20.2",
    "Enough to contradict",
    minutes=4,
    difficulty="*",
    text="""
        A claim has 10 tested comparisons. At which confidence must one of them lie below zero to contradict the claim
        (Bonferroni)? Give a share.
    """,
    hints=("The 5 % are divided among the comparisons.", "1 − 0.05/10."),
    name="my_confidence",
    answer=0.995,
    wrong=[
        (
            0.95,
            "this is the confidence of a single comparison; with ten, one of them may well be below zero by chance",
        ),
        (0.5987, "this is the chance that none of ten errs; divide the 5 % among them"),
        (0.005, "this is what each comparison may err; the confidence is the rest"),
    ],
    tolerance=0.001,
    why="Each of ten comparisons may err in half a percent of cases, so that all together err in at most 5 %.",
)


def my_verdict(differences: list[float]) -> str:
    """ "supported", "contradicted", "undecided" or "not tested", for paired differences, one for each seed."""
    raise NotImplementedError


def verdict_right(differences: list[float]) -> str:
    """Read off the 95 % interval; what cannot have one comes first."""
    n = len(differences)
    if n < 2:
        return "not tested"
    d = np.array(differences)
    if np.allclose(d, d[0]):
        return "undecided"
    half = stats.t.ppf(0.975, n - 1) * d.std(ddof=1) / math.sqrt(n)
    if d.mean() - half > 0:
        return "supported"
    return "contradicted" if d.mean() + half < 0 else "undecided"


def verdict_by_sign(differences: list[float]) -> str:
    return "supported" if np.mean(differences) > 0 else "contradicted"


def verdict_normal(differences: list[float]) -> str:
    d, n = np.array(differences), len(differences)
    if n < 2:
        return "not tested"
    half = 1.96 * d.std(ddof=1) / math.sqrt(n)
    return "supported" if d.mean() > half else "contradicted" if d.mean() < -half else "undecided"


def verdict_of_equal_numbers(differences: list[float]) -> str:
    d, n = np.array(differences), len(differences)
    if n < 2:
        return "not tested"
    half = stats.t.ppf(0.975, n - 1) * d.std(ddof=1) / math.sqrt(n)
    return "supported" if d.mean() > half else "contradicted" if d.mean() < -half else "undecided"


def verdict_of_one(differences: list[float]) -> str:
    if not differences:
        return "not tested"
    return (
        verdict_right([*differences, differences[0] + 1e-9])
        if len(differences) == 1
        else verdict_right(differences)
    )


def verdict_biased(differences: list[float]) -> str:
    d, n = np.array(differences), len(differences)
    if n < 2 or np.ptp(d) < 1e-9:
        return verdict_right(differences)
    half = stats.t.ppf(0.975, n - 1) * d.std() / math.sqrt(n)
    return "undecided" if abs(d.mean()) <= half else "supported" if d.mean() > 0 else "contradicted"


def verdicts_agree(answer: Tried) -> None:
    wide = answer([1.0, 2.0, 3.0])
    require(
        wide in ("supported", "contradicted", "undecided", "not tested"), f"{wide!r} is none of the four verdicts"
    )
    require(
        wide == "undecided",
        "(1, 2, 3) is not decided: 2 ± 2.48 contains zero. Use Student's interval for 3 seeds, not the sign or 1.96",
    )
    require(answer([1.9, 2.0, 2.1]) == "supported", "(1.9, 2, 2.1) lies above zero with its whole interval")
    require(
        answer([-2.1, -2.0, -1.9]) == "contradicted", "(-2.1, -2, -1.9) lies below zero with its whole interval"
    )


def verdicts_of_odd_cases(answer: Tried) -> None:
    require(answer([]) == "not tested", "without any seed a comparison is not tested")
    require(answer([3.0]) == "not tested", "a single seed has no interval, so the comparison is not tested")
    require(
        answer([2.0, 2.0, 2.0]) == "undecided",
        "equal differences have an interval of width 0: that is no certainty, so the comparison is undecided",
    )
    for d in ([0.1, 0.1, 0.1], [0.1 + 0.2, 0.3, 0.3]):
        require(
            answer(d) == "undecided",
            f"{d} are equal but for rounding, so the comparison is undecided: compare with a tolerance",
        )
    for d in ([0.5, 1.5, 1.0, 0.8], [-3.0, 1.0, 0.2], [1.1, 2.0, 2.9]):
        require(answer(d) == Comparison("", "", tuple(d)).verdict, f"not the verdict for {d}")


code(
    "20.3",
    "A judge of your own",
    minutes=12,
    difficulty="**",
    text="""
        Write the verdict on one comparison as this notebook defines it. Mind the cases without a sensible
        interval: no seed, one seed, equal differences.
    """,
    hints=(
        "Deal with fewer than two seeds first, then with equal differences.",
        "Then mean ± t(0.975, n − 1) · s/√n.",
    ),
    stub=my_verdict,
    solution=verdict_right,
    wrong={
        verdict_by_sign: "(1, 2, 3) is not decided",
        verdict_normal: "not the sign or 1.96",
        verdict_of_equal_numbers: "interval of width 0",
        verdict_of_one: "a single seed has no interval",
        verdict_biased: "not the verdict for",
    },
    checks={"three toy samples": verdicts_agree, "none, one and equal differences": verdicts_of_odd_cases},
    why="An interval of width 0 comes from rounding or from a comparison of a run with itself, not from knowledge.",
)


def my_power(n: int, delta: float, sigma: float) -> float:
    """Probability (20.2) that n seeds decide for a true effect delta's side if the differences spread with sigma."""
    raise NotImplementedError


def power_right(n: int, delta: float, sigma: float) -> float:
    """The noncentral t distribution beyond Student's value."""
    return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, math.sqrt(n) * abs(delta) / sigma))


def power_without_root(n: int, delta: float, sigma: float) -> float:
    return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, delta / sigma))


def power_one_sided(n: int, delta: float, sigma: float) -> float:
    return float(stats.nct.sf(stats.t.ppf(0.95, n - 1), n - 1, math.sqrt(n) * delta / sigma))


def power_normal(n: int, delta: float, sigma: float) -> float:
    return float(stats.norm.sf(1.96 - math.sqrt(n) * delta / sigma))


def power_without_sigma(n: int, delta: float, sigma: float) -> float:
    return power_right(n, delta, 1.0)


def power_signed(n: int, delta: float, sigma: float) -> float:
    return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, math.sqrt(n) * delta / sigma))


def power_complement(n: int, delta: float, sigma: float) -> float:
    return 1 - power_right(n, delta, sigma)


def power_agrees(answer: Tried) -> None:
    case = (5, 1.0, 1.0)
    mistakes = {
        "the root of n is missing in the noncentrality: more seeds must help": power_without_root(*case),
        "the interval has two ends: the quantile is 0.975": power_one_sided(*case),
        "this is for a known spread (normal distribution); with few seeds it is far too hopeful": power_normal(
            *case
        ),
        "this is the probability to miss the effect": power_complement(*case),
        "the shifted central t is only an approximation: use stats.nct": float(
            stats.t.sf(stats.t.ppf(0.975, 4) - math.sqrt(5), 4)
        ),
    }
    equals(
        answer(*case),
        power_right(*case),
        mistakes,
        what="the power of 5 seeds for an effect as large as its spread",
    )
    spread = {
        "sigma is not used": power_right(8, 0.5, 1.0),
        "delta is divided by sigma, not multiplied with it": power_right(8, 0.5, 1.25),
    }
    equals(
        answer(8, 0.5, 0.8),
        power_right(8, 0.5, 0.8),
        spread,
        what="the power of 8 seeds for delta 0.5, sigma 0.8",
    )


def power_of_nothing(answer: Tried) -> None:
    equals(answer(10, 0.0, 2.0), 0.025, what="the power for an effect of 0 (a false alarm on one side)", rel=1e-3)


def power_below_zero(answer: Tried) -> None:
    signed = {"an effect below zero is decided as easily as one above: take its size": power_signed(6, -1.0, 1.0)}
    equals(answer(6, -1.0, 1.0), power_right(6, 1.0, 1.0), signed, what="the power for an effect of -1, sigma 1")


code(
    "20.4",
    "How many seeds would have seen it?",
    minutes=12,
    difficulty="**",
    text="""
        Write (20.2). Then choose an undecided comparison of this notebook and find the smallest number of seeds
        with a power of 80 %, if its effect and spread are as seen; of an effect below zero only the size counts, for
        these seeds would decide against the claim. Choose the number *before* you run them.
    """,
    hints=(
        "`stats.nct.sf(x, df, nc)` is the probability beyond x.",
        r"x is Student's 0.975 value, df is $n - 1$, nc is $\sqrt n\,|\delta|/\sigma$.",
    ),
    stub=my_power,
    solution=power_right,
    wrong={
        power_without_root: "the root of n is missing",
        power_one_sided: "two ends",
        power_normal: "far too hopeful",
        power_complement: "to miss the effect",
        power_without_sigma: "sigma is not used",
        power_signed: "take its size",
    },
    checks={
        "5 seeds": power_agrees,
        "an effect of 0": power_of_nothing,
        "an effect below zero": power_below_zero,
    },
    why="""
        For an effect as large as its spread, five seeds see it in 40 % of studies, ten in 80 %. The full method over
        the row without response knowledge (equal pair of the digits, +0.36 points) needs about 23 new seeds; over
        the row without relation knowledge (-0.06) more than 700, and they would decide against the claim.
    """,
)
