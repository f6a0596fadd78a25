"""What tables and verdicts say, in plain words, and what it would take to decide what is open."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ctsl_lib.evidence.claims import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Claim, Comparison
from ctsl_lib.evidence.labels import label
from ctsl_lib.evidence.statistics import effect_intervals
from ctsl_lib.evidence.tables import interval_in
from ctsl_lib.experiments.plan import LONGER

MOST_SEEDS = 1000


def seeds_to_decide(differences: Sequence[float], power: float = 0.8) -> int | None:
    """Seeds with which a 95 % interval would exclude zero, if the true effect and spread are those seen.

    With s the standard deviation of the differences, the power of a paired t-test (two-sided, 5 %) with n seeds
    is P(T > t_{n-1, 0.975}), T noncentral t with n - 1 degrees of freedom and noncentrality sqrt(n) |mean| / s.
    Take the answer as an order of magnitude: the effect seen is itself uncertain.

    Args:
        differences: one for each seed, two or more.
        power: the probability of a decision that is asked for, between 0 and 1.

    Returns: the smallest n >= 2 with this power; None if the differences have no spread or a mean of zero, or if
        `MOST_SEEDS` are too few.
    """
    mean, spread = np.mean(differences), np.std(differences, ddof=1)
    if not spread > 0 or mean == 0:
        return None
    ratio = abs(mean) / spread

    def enough(n: int) -> bool:
        reached = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, math.sqrt(n) * ratio)
        return bool(reached >= power)

    return next((n for n in range(2, MOST_SEEDS + 1) if enough(n)), None)


def in_words(claim: Claim) -> str:
    """A claim with its verdict, and below it a Markdown list of the comparisons behind it."""
    supported, untested = claim.having(SUPPORTED), claim.having(NOT_TESTED)
    said = [f"**{claim.name}** {claim.text}: **{claim.verdict}**.\n"]
    if len(supported) == 1:
        said.append(f"Supported: {_shown(supported[0])}.")
    elif supported:
        closest = min(supported, key=lambda one: one.effect.low)
        said.append(
            f"Supported in {len(supported)} comparisons. The interval closest to zero: {_shown(closest)}."
        )
    against = claim.contradicting
    for one in claim.having(CONTRADICTED):
        corrected = f"Below zero, but not if corrected for {claim.tested} comparisons"
        said.append(f"{'Contradicted' if one in against else corrected}: {_shown(one)}.")
    said += [f"Undecided: {_shown(one)}. {_takes(one)}" for one in claim.having(UNDECIDED)]
    if untested:
        said.append(f"Not tested: {_untested(claim.comparisons)}.")
    return "\n- ".join(said)


def _untested(comparisons: Sequence[Comparison]) -> str:
    """Where something is not tested, and how much of it; a data set without any test by its name alone."""

    def dataset(one: Comparison) -> str:
        return one.where.partition(", ")[0]

    begun = {dataset(one) for one in comparisons if one.verdict != NOT_TESTED}
    named = [(one.where if dataset(one) in begun else dataset(one), one) for one in comparisons]
    every = Counter(name for name, _ in named)
    missing = Counter(name for name, one in named if one.verdict == NOT_TESTED)
    return "; ".join(
        f"{name} ({'all' if n == every[name] else f'{n} of {every[name]}'})" for name, n in missing.items()
    )


def _shown(one: Comparison) -> str:
    mean, low, high, n = one.effect
    return f"{one.where}, {one.what}: {mean:+.2f} (95 % interval {low:+.2f} to {high:+.2f}, {n} seeds)"


def _takes(one: Comparison) -> str:
    if one.effect.tied:
        return "All seeds gave the same difference, so nobody can say how many seeds would decide it."
    needed, against = seeds_to_decide(one.differences), " against the claim" if one.effect.mean < 0 else ""
    if needed is None:
        return f"If the true effect and spread are those seen, even {MOST_SEEDS:,} seeds would not decide it."
    return (
        f"If the true effect and spread are those seen, about {needed} new seeds would decide it{against} "
        "with a probability of 80 %."
    )


def methods_in_words(table: pd.DataFrame, baseline: str = "independent") -> list[str]:
    """What a table of methods says, one sentence a method.

    Args:
        table: a `summary` of a metric of which more is better, in percent; with `by`, its last index level is the
            method.
        baseline: the one that the summary was made with.

    Returns: sentences; a method that shares fewer than two seeds with the baseline has none.
    """
    said = []
    for place, row in table.iterrows():
        *where, method = place if isinstance(place, tuple) else (place,)
        gain = interval_in(row, "difference")
        if gain.n < 2:
            continue
        verdict = "cannot be told apart from"
        if gain.excludes_zero:
            verdict = "is better than" if gain.mean > 0 else "is worse than"
        before = ", ".join(map(str, where)) + ": " if where else ""
        bounds = f"{gain.mean:+.2f} points, 95 % interval {gain.low:+.2f} to {gain.high:+.2f}, {gain.n} seeds"
        said.append(f"{before}{label(str(method))} {verdict} {_training(baseline)} ({bounds}).")
    return said


def _training(baseline: str) -> str:
    spoken = {"independent": "independent training", LONGER: "independent training for twice the epochs"}
    return spoken.get(baseline, label(baseline))


def effects_in_words(effects: pd.DataFrame) -> list[str]:
    """What the table of an ablation says, one sentence a contrast.

    Args:
        effects: from `factorial_effects`, in percentage points.
    """
    said = []
    for contrast, effect in effect_intervals(effects).items():
        kind = "interaction" if "×" in contrast else "main effect"
        clear = "excludes" if effect.excludes_zero else "contains"
        bounds = f"95 % interval {effect.low:+.2f} to {effect.high:+.2f}"
        said.append(f"{contrast}: {kind} of {effect.mean:+.2f} points; the {bounds} {clear} zero.")
    return said
