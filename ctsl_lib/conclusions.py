"""The verdicts on the paper's claims in plain words, and what it would take to decide what is open."""

import math
from collections.abc import Sequence

from scipy import stats

from ctsl_lib.claims import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Claim, Comparison
from ctsl_lib.tables import Interval

MOST_SEEDS = 1000


def seeds_to_decide(effect: Interval, power: float = 0.8) -> int | None:
    """Seeds with which a 95 % interval would exclude zero, were the true effect and its spread as seen.

    The smallest n at which the paired t-test (two-sided, 5 %) has this power: with s the standard deviation of
    the differences, P(T > t_{n-1}) for T noncentral t with n - 1 degrees and noncentrality sqrt(n) |mean| / s.
    An order of magnitude, no promise: the effect seen is itself uncertain.

    Returns: n >= 2; None where no spread or no effect was seen, or where not even a thousand would do.
    """
    spread = (effect.high - effect.low) / 2 / float(stats.t.ppf(0.975, effect.n - 1)) * math.sqrt(effect.n)
    if not spread > 0 or effect.mean == 0:
        return None
    ratio = abs(effect.mean) / spread

    def enough(n: int) -> bool:
        reached = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, math.sqrt(n) * ratio)
        return bool(reached >= power)

    return next((n for n in range(2, MOST_SEEDS + 1) if enough(n)), None)


def in_words(claim: Claim) -> str:
    """A claim, its verdict and the comparisons behind it, as a Markdown paragraph."""
    said = [f"**{claim.name}** {claim.text}: **{claim.verdict}**."]
    supported = claim.having(SUPPORTED)
    if supported:
        closest = min(supported, key=lambda found: found.effect.low if found.effect else 0)
        said.append(f"Supported in {_count(supported)}, the closest being {_shown(closest)}.")
    for found in claim.having(CONTRADICTED):
        said.append(f"Contradicted by {_shown(found)}.")
    for found in claim.having(UNDECIDED):
        said.append(f"Undecided: {_shown(found)}; {_takes(found)}.")
    untested = claim.having(NOT_TESTED)
    if untested:
        places = "; ".join(dict.fromkeys(found.where for found in untested))
        said.append(f"Not tested in {_count(untested)}: {places}.")
    return " ".join(said)


def _count(found: Sequence[Comparison]) -> str:
    return f"{len(found)} comparison{'s' if len(found) > 1 else ''}"


def _shown(found: Comparison) -> str:
    assert found.effect is not None
    mean, low, high, n = found.effect
    return f"{found.where}, {found.what} {mean:+.2f} ({low:+.2f} to {high:+.2f}, {n} seeds)"


def _takes(found: Comparison) -> str:
    assert found.effect is not None
    needed = seeds_to_decide(found.effect)
    if needed is None:
        return f"no number of seeds up to {MOST_SEEDS:,} would decide this, if effect and spread are as seen"
    if needed <= found.effect.n:
        return "a few more seeds may decide it"
    return f"some {needed} seeds would decide it four times in five, if effect and spread are as seen"
