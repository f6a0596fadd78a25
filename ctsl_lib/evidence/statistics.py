"""Means, intervals, paired differences, effects of the factorial."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ctsl_lib.losses.methods import ABLATIONS
from ctsl_lib.losses.objective import GROUPS


class Interval(NamedTuple):
    """A mean over n values with its confidence interval; NaN bounds for n < 2, all NaN for n = 0."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; equal values, which have no spread, decide nothing."""
        return not self.tied and (self.low > 0 or self.high < 0)

    @property
    def tied(self) -> bool:
        """Whether all values are the same, but for rounding."""
        return math.isclose(self.low, self.high, abs_tol=1e-9)

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        if self.n == 0:
            return "–"
        return f"{self.mean:.2f}" if self.n < 2 else f"{self.mean:.2f} ± {self.half:.2f}"

    def signed(self) -> str:
        """The mean with its sign, and half of the width: how a difference is written."""
        return f"{'+' if self.mean >= 0 else ''}{self}"


NO_INTERVAL = Interval(float("nan"), float("nan"), float("nan"), 0)
"""Where nothing was measured or nothing can be compared."""


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean and Student-t interval.

    Args:
        values: independent of one another, one for each seed.
        confidence: between 0 and 1.

    Returns: the interval; without bounds (NaN) for a single value.
    Raises: ValueError if there is no value, or on a confidence out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) == 0:
        raise ValueError(f"values must be a non-empty list of numbers, got shape {sample.shape}")
    mean, n = float(sample.mean()), len(sample)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n)
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1) * stats.sem(sample))
    return Interval(mean, mean - half, mean + half, n)


def pivot(frame: pd.DataFrame, metric: str = "top1", peer: int | None = None) -> pd.DataFrame:
    """One number for each seed and method.

    The seed is the unit of replication: peers of one run are not independent of one another.

    Args:
        frame: a tidy frame of one pair, see `tables.frame_of`.
        metric: one of its columns.
        peer: whose metric, counted from 1; by default the mean over the peers of a run.

    Returns: seeds x methods, the methods in the order of the frame; NaN where a method lacks a seed, or its runs the
        metric.
    Raises: ValueError on several pairs, whose differences a mean over them would mix.
    """
    pairs = list(dict.fromkeys(frame["pair"])) if "pair" in frame else []
    if len(pairs) > 1:
        raise ValueError(
            f"the frame must be of one pair, got {', '.join(pairs)}; choose one, or keep them apart (by=['pair'])"
        )
    chosen = frame if peer is None else frame[frame["peer"] == peer]
    order = list(dict.fromkeys(frame["method"]))
    means = chosen.pivot_table(index="seed", columns="method", values=metric, aggfunc="mean")
    return means.reindex(columns=order)


def paired_difference(values: pd.DataFrame, method: str, baseline: str = "independent") -> Interval:
    """The difference of two methods, seed by seed.

    Args:
        values: seeds x methods, see `pivot`.
        method: the one whose gain is asked for.
        baseline: the one that it is compared with.

    Returns: mean and interval of method - baseline over the seeds that both have.
    Raises: ValueError if one of them is unknown, or if they share no seed.
    """
    for name in (method, baseline):
        if name not in values:
            raise ValueError(f"method must be one of {', '.join(map(str, values.columns))}; got {name!r}")
    difference = (values[method] - values[baseline]).dropna()
    if difference.empty:
        raise ValueError(f"{method} and {baseline} have no seed in common")
    return mean_interval(difference.to_numpy())


def factorial_effects(frame: pd.DataFrame, metric: str = "top1") -> pd.DataFrame:
    """Main effects and interactions of the eight ablation rows, each with an interval over seeds.

    The main effect of a factor is the mean of the four rows with it minus the mean of the four without. An
    interaction of several factors is the same contrast with the product of their signs, scaled so that, for
    two factors, it is half of (effect of A with B) - (effect of A without B): 0 where effects add up.

    Args:
        frame: a tidy frame of all eight rows, see `tables.frame_of`; seeds that lack one are left out, and so are
            other methods.
        metric: one of its columns.

    Returns: a row for each of the seven contrasts: effect, low, high (in the metric's unit) and n, the seeds.
    Raises: ValueError if a row is missing, or if no seed has all rows.
    """
    values = ablation_rows(frame, metric)
    rows = {}
    for size in range(1, len(GROUPS) + 1):
        for chosen in combinations(GROUPS, size):
            sign = {row: (-1) ** sum(kind not in row.split("+") for kind in chosen) for row in ABLATIONS}
            contrast = sum((sign[row] * values[row] for row in ABLATIONS), start=0 * values["none"]) / 4
            rows[" × ".join(chosen)] = mean_interval(contrast.to_numpy())._asdict()
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns={"mean": "effect"})
    return table.rename_axis("contrast")


def ablation_rows(frame: pd.DataFrame, metric: str = "top1") -> pd.DataFrame:
    """The values of the eight ablation rows, for the seeds that have all of them.

    Args:
        frame, metric: see `factorial_effects`.

    Returns: seeds x rows, see `pivot`.
    Raises: ValueError if a row is missing, or if no seed has all rows.
    """
    values = pivot(frame, metric)
    missing = [row for row in ABLATIONS if row not in values]
    if missing:
        raise ValueError(f"effects need all eight ablation rows, missing: {', '.join(missing)}")
    complete = values[list(ABLATIONS)].dropna()
    if complete.empty:
        raise ValueError("effects need a seed that all eight ablation rows have; there is none")
    return complete


def effect_intervals(table: pd.DataFrame) -> dict[str, Interval]:
    """Contrast -> its interval, from a table of `factorial_effects`."""
    return {
        str(name): Interval(row["effect"], row["low"], row["high"], int(row["n"]))
        for name, row in table.iterrows()
    }
