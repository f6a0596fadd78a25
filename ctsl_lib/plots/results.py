"""Plots of evidence. Intervals are 95 % Student-t intervals over seeds, as everywhere in the kit."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ctsl_lib.evidence.labels import label
from ctsl_lib.evidence.statistics import (
    Interval,
    ablation_rows,
    effect_intervals,
    factorial_effects,
    mean_interval,
    pivot,
)
from ctsl_lib.experiments.spec import Record
from ctsl_lib.losses.objective import GROUPS
from ctsl_lib.plots.style import COLOURS, GREY, MARKERS, axis_label, look, looks, style


def _student_t(values: Sequence[float]) -> tuple[float, float]:
    """The interval as seaborn asks for it."""
    interval = mean_interval(values)
    return interval.low, interval.high


def learning_curves(groups: Mapping[str, Sequence[Record]]) -> Figure:
    """Accuracy or mAP by epoch, averaged over peers: a thin line for each seed, a bold one for their mean.

    Args:
        groups: name -> its records, one or more, of the same epochs.

    Returns: a figure with one panel.
    """
    curves = pd.DataFrame(
        [
            {"method": label(name), "seed": record.spec.seed, "epoch": epoch, "value": value}
            for name, records in groups.items()
            for record in records
            for epoch, value in zip(
                record.history.evaluated, np.mean(record.history.accuracy, axis=0), strict=True
            )
        ]
    )
    drawn = looks("method", [label(name) for name in groups])
    with style():
        figure, axes = plt.subplots(figsize=(7, 4))
        place = {"data": curves, "x": "epoch", "y": "value", "ax": axes}
        plain = {name: value for name, value in drawn.items() if name != "markers"}
        sns.lineplot(**place, **plain, units="seed", estimator=None, linewidth=0.7, alpha=0.4, legend=False)
        every = max(1, curves["epoch"].nunique() // 8)
        bold = {"style": "method", "style_order": drawn["hue_order"], "errorbar": None, "linewidth": 2.2}
        sns.lineplot(**place, **drawn, **bold, markevery=every, markersize=6)
        metric = next(records[0].spec.data.metric for records in groups.values())
        axes.set(xlabel="epoch", ylabel=axis_label(metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        seeds = max(map(len, groups.values()))
        axes.legend(title="thin: one seed" if seeds > 1 else None, loc="lower right")
        return figure


def comparison(frame: pd.DataFrame, baseline: str = "independent", metric: str = "top1") -> Figure:
    """Methods side by side, and seed by seed against a baseline; peers of a run are averaged.

    Args:
        frame: a tidy frame, see `evidence.tables.frame_of`.
        baseline: the method that the others are compared with.
        metric: a column of the frame, in percent.

    Returns: a figure. Left: every seed as a tick, the mean with its interval. Right: the paired difference from
        the baseline with its interval.
    """
    values = pivot(frame, metric)
    differences = values.drop(columns=baseline).sub(values[baseline], axis=0)
    names = [label(str(name)) for name in values]
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.55 * len(names) + 1.4), sharey=True)
        seeds = values.rename(columns=label).melt(value_name="value")
        place = {"x": "value", "y": "method", "order": names}
        sns.stripplot(seeds, **place, color=GREY, marker="|", size=13, linewidth=1, jitter=False, ax=left)
        for axes, points in ((left, seeds), (right, differences.rename(columns=label).melt(value_name="value"))):
            sns.pointplot(
                points, **place, **looks("method", names), errorbar=_student_t, err_kws={"linewidth": 2},
                capsize=0.2, linestyle="none", markersize=9, markeredgewidth=1, legend=False, ax=axes,
            )  # fmt: skip
        right.axvline(0, color="black", linewidth=1)
        left.set(xlabel=axis_label(metric), ylabel="", title="mean, 95 % interval; grey ticks: seeds")
        space = " " if len(label(baseline)) < 20 else "\n"
        right.set_xlabel(f"difference from {label(baseline)}{space}(percentage points)")
        right.set_title("same seeds, paired; 95 % interval")
        return figure


def forest(effects: Sequence[tuple[str, Interval]], xlabel: str) -> Figure:
    """One effect a row with its interval; colour and marker say on which side of zero the interval lies.

    Args:
        effects: (name, interval) from top to bottom.
        xlabel: what is measured, with its unit.

    Returns: a figure with one panel.
    """
    sides = ("above zero", "contains zero", "below zero", "single seed, no interval")
    with style():
        figure, axes = plt.subplots(figsize=(9.5, 0.3 * len(effects) + 1.3))
        for row, (_, effect) in enumerate(effects):
            side = 3 if effect.n < 2 else 1 if not effect.excludes_zero else 0 if effect.low > 0 else 2
            axes.errorbar(
                effect.mean, row, xerr=None if effect.n < 2 else effect.half, capsize=4, linewidth=2,
                label=sides[side], color=COLOURS[side], marker=MARKERS[side],
            )  # fmt: skip
        axes.axvline(0, color="black", linewidth=1)
        axes.set(xlabel=xlabel, ylim=(len(effects) - 0.4, -0.6))
        axes.set_yticks(range(len(effects)), [name for name, _ in effects])
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        shown = [side for side in sides if side in handles]
        axes.legend(
            [handles[side] for side in shown], shown, title="95 % interval", ncols=3,
            loc="lower center", bbox_to_anchor=(0.5, 1),
        )  # fmt: skip
    return figure


def effects(table: pd.DataFrame) -> Figure:
    """Main effects and interactions from `factorial_effects`, with their intervals."""
    return forest(
        list(effect_intervals(table).items()), "effect on test accuracy (percentage points); × is an interaction"
    )


def main_effects(frame: pd.DataFrame, metric: str = "top1") -> Figure:
    """The ablation in one look: for each kind of knowledge the mean accuracy without it and with it.

    Args:
        frame: a tidy frame of all eight ablation rows.
        metric: a column of the frame, in percent.

    Returns: a figure of three panels. A thin line joins two rows that differ in this kind alone, the bold one
        joins their means; the title has the main effect with its interval, which is taken within seeds.
    """
    contrasts = effect_intervals(factorial_effects(frame, metric))
    rows = pd.DataFrame(
        [
            {
                "kind": kind,
                "use": "with" if kind in str(row).split("+") else "without",
                "others": "+".join(part for part in str(row).split("+") if part not in (kind, "none")),
                "mean": mean,
            }
            for row, mean in ablation_rows(frame, metric).mean().items()
            for kind in GROUPS
        ]
    ).sort_values("use", ascending=False, kind="stable")
    with style():
        figure, panels = plt.subplots(1, len(GROUPS), figsize=(9, 3.2), sharey=True)
        for position, (axes, kind) in enumerate(zip(panels, GROUPS, strict=True)):
            place = {"data": rows[rows["kind"] == kind], "x": "use", "y": "mean", "ax": axes}
            sns.lineplot(**place, units="others", estimator=None, color=GREY, linewidth=1)
            sns.lineplot(**place, errorbar=None, linewidth=2.5, markersize=8, **look(position))
            title = f"{kind}: {contrasts[kind].signed()} points"
            axes.set(xlabel="", ylabel=axis_label(metric), xlim=(-0.3, 1.3), title=title)
        return figure
