"""Runs that were made again, beside the committed records: identical, within the spread between seeds, or off.

On the machine that made a record, the same spec gives the same numbers to the last digit. Elsewhere sums are rounded
otherwise, and a training amplifies that: the run made again is then like a run with another seed, or nearer. So two
tests share the rate of false alarms, `ALARM`:

- each run alone: two runs whose seeds differ are apart by a number of variance 2 s^2, with s the standard deviation
  over the n other committed seeds of that setting. A run is off if |d| > t s sqrt(2), with the quantile t of Student's
  distribution for n - 1 degrees of freedom, by Bonferroni for all runs that are not identical;
- all runs together: if rounding alone is at work, the mean difference of each seed is as likely above zero as below.
  The exact test flips these signs; it can speak from nine seeds on.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from ctsl_lib.evidence.labels import metric_label
from ctsl_lib.experiments.spec import Record, Spec

ALARM = 0.01
"""How often, at most, something is found to be off although nothing but the rounding differs."""
SEEDS = 3
"""Other committed seeds of a setting that a spread is estimated from, at least."""
Verdict = Literal["identical", "within the spread", "off", "cannot be judged"]


class Compared(NamedTuple):
    """A run made again and its committed record."""

    record: Record
    committed: Record
    verdict: Verdict
    difference: float
    """Of the metric that the data set is judged by, mean over the peers, in points: made again - committed."""
    limit: float
    """The largest difference that is within the spread; NaN where too few seeds are committed."""

    def __str__(self) -> str:
        limit = "" if np.isnan(self.limit) else f", allowed {self.limit:.2f}"
        metric = metric_label(self.record.spec.data.metric)
        return f"{self.committed.spec.in_words}: {self.verdict}, {self.difference:+.2f} points of {metric}{limit}"


@dataclass(frozen=True)
class Agreement:
    """How runs made again compare with the committed ones."""

    runs: list[Compared]
    unknown: int
    """Runs that have no committed record."""
    shift: float
    """Mean difference over seeds of the runs that are not identical, in points; NaN if all are."""
    chance: float
    """How likely so large a shift is if only the rounding differs; NaN where there are too few seeds to say."""

    @property
    def shifted(self) -> bool:
        """Whether all runs together are off."""
        return self.chance <= ALARM / 2

    @property
    def off(self) -> list[Compared]:
        """The runs that are off, each by itself."""
        return [one for one in self.runs if one.verdict == "off"]

    def count(self, verdict: Verdict) -> int:
        """The number of runs with this verdict."""
        return sum(one.verdict == verdict for one in self.runs)

    def in_words(self) -> str:
        """A sentence with the counts, then a line for each run that is off."""
        total = len(self.runs)
        if not total:
            return f"None of these {self.unknown} runs is among the committed records."
        same = self.count("identical")
        text = f"{same} of {total} runs have exactly the numbers of the committed records"
        if same < total:
            largest = max(abs(one.difference) for one in self.runs)
            within, unjudged = self.count("within the spread"), self.count("cannot be judged")
            text += f"; {within} differ by no more than two seeds do, {len(self.off)} are off"
            text += f", {unjudged} cannot be judged (too few seeds)" if unjudged else ""
            text += f". The largest difference is {largest:.2f} points"
        if self.shifted:
            text += f". All together are off by {self.shift:+.2f} points (p = {self.chance:.2g})"
        return "\n".join([f"{text}.", *map(str, self.off)])


def compare(remade: Sequence[Record], committed: Iterable[Record]) -> Agreement:
    """Compare runs with the committed records of the same specs; see the head of this module for the tests.

    Args:
        remade: runs that were made again. A record of an older version of the numerics is compared, too: its run is
            then the same spec in today's numerics.
        committed: all records that are to be believed, other seeds of the same settings included.
    """
    known: dict[Spec, Record] = {}
    seeds: dict[Spec, dict[int, float]] = defaultdict(dict)
    for record in sorted(committed, key=lambda record: record.spec.numerics):
        known[_without(record.spec, "numerics")] = record
        seeds[_without(record.spec, "seed")][record.spec.seed] = _mean(record)
    found = [(record, known.get(_without(record.spec, "numerics"))) for record in remade]
    pairs = [(record, other, _identical(record, other)) for record, other in found if other is not None]
    apart = sum(not identical for *_, identical in pairs)
    runs = []
    by_seed: dict[int, list[float]] = defaultdict(list)
    for record, other, identical in pairs:
        # Without the run itself, which may be the one that is wrong.
        others = [value for seed, value in seeds[_without(other.spec, "seed")].items() if seed != other.spec.seed]
        difference, bound = _mean(record) - _mean(other), limit(others, apart)
        verdict: Verdict = "identical"
        if not identical:
            by_seed[record.spec.seed].append(difference)
            judged: Verdict = "within the spread" if abs(difference) <= bound else "off"
            verdict = "cannot be judged" if np.isnan(bound) else judged
        runs.append(Compared(record, other, verdict, difference, bound))
    means = [float(np.mean(values)) for values in by_seed.values()]
    shift = float(np.mean(means)) if means else float("nan")
    return Agreement(runs, len(remade) - len(pairs), shift, sign_chance(means))


def limit(values: Sequence[float], tests: int) -> float:
    """The largest difference between two runs that the spread between seeds explains.

    Args:
        values: of the other committed seeds of the setting.
        tests: how many runs are looked at; the rate of false alarms is for all of them.

    Returns: in the unit of the values; NaN for fewer than `SEEDS` values.
    """
    if len(values) < SEEDS:
        return float("nan")
    quantile = stats.t.ppf(1 - ALARM / 4 / max(1, tests), len(values) - 1)
    return float(quantile * np.std(values, ddof=1) * 2**0.5)


def sign_chance(differences: Sequence[float]) -> float:
    """How likely a mean at least so far from zero is if the sign of each difference is a coin's toss.

    Args:
        differences: one for each seed.

    Returns: the two-sided p-value; NaN where even equal signs could not make it as small as `ALARM` / 2.
    """
    values, count = np.asarray(differences, dtype=float), len(differences)
    if 2.0 ** (1 - count) > ALARM / 2:
        return float("nan")
    if count <= 12:
        signs = np.array(list(product((1, -1), repeat=count)))
    else:
        drawn = np.random.default_rng(0).choice((1, -1), size=(9999, count))
        signs = np.vstack([np.ones(count), drawn])
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= np.abs(values.sum()) - 1e-9))


def _without(spec: Spec, name: str) -> Spec:
    return spec.model_copy(update={name: 0})


def _mean(record: Record) -> float:
    return float(np.mean(record.metrics[record.spec.data.metric]))


def _identical(record: Record, other: Record) -> bool:
    return (record.metrics, record.history, record.parameters) == (other.metrics, other.history, other.parameters)
