"""The verdicts on the paper's claims in plain words, and what it would take to decide what is open."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import stats

from ctsl_lib.evidence.claims import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Claim, Comparison

MOST_SEEDS = 1000


def seeds_to_decide(differences: Sequence[float], power: float = 0.8) -> int | None:
    """Seeds with which a 95 % interval would exclude zero, were the true effect and its spread as seen.

    The smallest n at which the paired t-test (two-sided, 5 %) has this power: with s the standard deviation of
    the differences, P(T > t_{n-1, 0.975}) for T noncentral t with n - 1 degrees of freedom and noncentrality
    sqrt(n) |mean| / s. An order of magnitude, no promise: the effect seen is itself uncertain.

    Returns: n >= 2; None where no spread or no effect was seen, or where not even a thousand would do.
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
    """A claim, its verdict and the comparisons behind it, as a Markdown paragraph."""
    supported, untested = claim.having(SUPPORTED), claim.having(NOT_TESTED)
    said = [f"**{claim.name}** {claim.text}: **{claim.verdict}**."]
    if len(supported) == 1:
        said.append(f"Supported: {_shown(supported[0])}.")
    elif supported:
        closest = min(supported, key=lambda found: found.effect.low)
        said.append(f"Supported in {_count(supported)}; closest to zero: {_shown(closest)}.")
    m = len(claim.comparisons) - len(untested)
    against = "Contradicted"
    if claim.verdict != CONTRADICTED:
        against = f"Below zero, but not at the level corrected for {m} comparisons"
    said += [f"{against}: {_shown(found)}." for found in claim.having(CONTRADICTED)]
    said += [f"Undecided: {_shown(found)}; {_takes(found)}." for found in claim.having(UNDECIDED)]
    if untested:
        said.append(f"Not tested: {_untested(claim.comparisons)}.")
    return " ".join(said)


def _untested(comparisons: Sequence[Comparison]) -> str:
    """Where something is not tested, and how much; a data set by its name alone if nothing of it is."""

    def dataset(found: Comparison) -> str:
        return found.where.partition(", ")[0]

    begun = {dataset(found) for found in comparisons if found.verdict != NOT_TESTED}
    named = [(found.where if dataset(found) in begun else dataset(found), found) for found in comparisons]
    every = Counter(name for name, _ in named)
    missing = Counter(name for name, found in named if found.verdict == NOT_TESTED)
    return "; ".join(
        f"{name} ({'all' if n == every[name] else f'{n} of {every[name]}'})" for name, n in missing.items()
    )


def _count(found: Sequence[Comparison]) -> str:
    return f"{len(found)} comparison{'s' if len(found) > 1 else ''}"


def _shown(found: Comparison) -> str:
    mean, low, high, n = found.effect
    return f"{found.where}, {found.what} {mean:+.2f} ({low:+.2f} to {high:+.2f}, {n} seeds)"


def _takes(found: Comparison) -> str:
    if found.tied:
        return "all seeds gave the same, which says nothing about how many would decide it"
    needed, side = seeds_to_decide(found.differences), " against the claim" if found.effect.mean < 0 else ""
    if needed is None:
        return f"not even {MOST_SEEDS:,} seeds would decide it if the true effect and spread are as seen"
    return f"about {needed} new seeds would decide it{side} four times in five if effect and spread are as seen"
