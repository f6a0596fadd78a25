"""Plots of evidence, intervals drawn."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ctsl_lib.evidence.labels import label
from ctsl_lib.evidence.statistics import Interval, mean_interval, pivot
from ctsl_lib.experiments.spec import Record
from ctsl_lib.plots.style import COLOURS, MARKERS, _axis, look, style


def learning_curves(groups: Mapping[str, Sequence[Record]], axes: Axes | None = None) -> Figure:
    """Accuracy or mAP by epoch for each group of records: mean over peers and seeds, 95 % band over seeds."""
    with style():
        axes = axes if axes is not None else plt.subplots(figsize=(7, 4))[1]
        for position, (name, records) in enumerate(groups.items()):
            epochs = np.array(records[0].history.evaluated)
            runs = np.array([np.mean(record.history.accuracy, axis=0) for record in records])
            found = [mean_interval(runs[:, i]) for i in range(runs.shape[1])]
            every = max(1, len(epochs) // 8)
            axes.plot(
                epochs, [f.mean for f in found], label=label(name), markevery=(position % every, every),
                markersize=5, linewidth=1.6, **look(position),  # type: ignore[arg-type]
            )  # fmt: skip
            if len(records) > 1:
                low, high = [f.low for f in found], [f.high for f in found]
                axes.fill_between(
                    epochs, low, high, color=COLOURS[position % len(COLOURS)], alpha=0.15, linewidth=0
                )
        metric = next(records[0].spec.data.metric for records in groups.values())
        axes.set(xlabel="epoch", ylabel=_axis(metric))
        axes.set_ylim(top=min(101.0, axes.get_ylim()[1]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower right")
        figure = axes.get_figure()
        assert isinstance(figure, Figure)
        return figure


def comparison(frame: pd.DataFrame, baseline: str = "independent", metric: str = "top1") -> Figure:
    """Left: every seed and the mean with 95 % interval. Right: the paired difference to the baseline."""
    values = pivot(frame, metric)
    names = [str(name) for name in values]
    rows = np.arange(len(names))[::-1]
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.55 * len(names) + 1.4), sharey=True)
        for row, name in zip(rows, names, strict=True):
            position = len(names) - 1 - int(row)
            points = values[name].dropna().to_numpy()
            spread = row + np.linspace(-0.16, 0.16, len(points))
            left.plot(points, spread, ".", color="#B0B0B0", markersize=4)
            _interval(left, points, row, position)
            if name != baseline:
                _interval(right, (values[name] - values[baseline]).dropna().to_numpy(), row, position)
        right.axvline(0, color="black", linewidth=1)
        left.set(yticks=rows, yticklabels=[label(name) for name in names], xlabel=_axis(metric))
        space = " " if len(label(baseline)) < 20 else "\n"
        right.set_xlabel(f"difference to {label(baseline)}{space}(percentage points)")
        left.set_title("mean, 95 % interval; grey: seeds")
        right.set_title("same seeds, paired; 95 % interval")
        return figure


def forest(effects: Sequence[tuple[str, Interval]], xlabel: str) -> Figure:
    """One effect a row with its interval; colour and marker say on which side of zero the interval lies."""
    sides = ("above zero", "holds zero", "below zero")
    with style():
        figure, axes = plt.subplots(figsize=(9.5, 0.3 * len(effects) + 1.3))
        for row, (_, found) in enumerate(effects):
            side = 1 if not found.excludes_zero else 0 if found.low > 0 else 2
            axes.errorbar(
                found.mean, row, xerr=found.half, capsize=4, linewidth=2,
                label=sides[side], color=COLOURS[side], marker=MARKERS[side],
            )  # fmt: skip
        axes.axvline(0, color="black", linewidth=1)
        axes.set(xlabel=xlabel, ylim=(len(effects) - 0.4, -0.6))
        axes.set_yticks(range(len(effects)), [name for name, _ in effects], fontsize=8)
        marks, names = axes.get_legend_handles_labels()
        shown = dict(zip(names, marks, strict=True))
        order = [side for side in sides if side in shown]
        axes.legend([shown[side] for side in order], order, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def _interval(axes: Axes, points: np.ndarray, row: float, position: int) -> None:
    found = mean_interval(points)
    half = 0.0 if found.n < 2 else found.high - found.mean
    colour, marker = COLOURS[position % len(COLOURS)], MARKERS[position % len(MARKERS)]
    axes.errorbar(found.mean, row, xerr=half, color=colour, marker=marker, markersize=7, capsize=4, linewidth=2)


def main_effects(frame: pd.DataFrame, metric: str = "top1") -> Figure:
    """The ablation in one look: for each kind of knowledge the mean accuracy without it and with it."""
    values = pivot(frame, metric).dropna()
    factors = ["MLI", "MLR", "SLI"]
    present = {str(row): set(str(row).split("+")) for row in values}
    with style():
        figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
        for position, (axes, factor) in enumerate(zip(panels, factors, strict=True)):
            for row, kinds in present.items():  # a thin line joins the two rows that differ in this factor alone
                if factor in kinds:
                    partner = next(other for other, found in present.items() if _without(kinds, factor) == found)
                    axes.plot([0, 1], [values[partner].mean(), values[row].mean()], color="#B0B0B0", linewidth=1)
            sides = [
                values[[row for row, kinds in present.items() if (factor in kinds) == on]].mean(axis=1).to_numpy()
                for on in (False, True)
            ]
            found = [mean_interval(side) for side in sides]
            half = [0.0 if f.n < 2 else f.high - f.mean for f in found]
            axes.errorbar(
                [0, 1], [f.mean for f in found], yerr=half, capsize=4, linewidth=2, **look(position)
            )  # fmt: skip
            axes.set(xticks=[0, 1], xticklabels=["without", "with"], xlim=(-0.3, 1.3), title=factor)
        panels[0].set_ylabel("test accuracy (%)")
        return figure


def _without(kinds: set[str], factor: str) -> set[str]:
    return (kinds - {factor}) or {"none"}


def effects(table: pd.DataFrame) -> Figure:
    """Main effects and interactions from `factorial_effects`, with their 95 % intervals."""
    rows = np.arange(len(table))[::-1]
    with style():
        figure, axes = plt.subplots(figsize=(7, 0.4 * len(table) + 1.2))
        for row, (name, found) in zip(rows, table.iterrows(), strict=True):
            main = "×" not in str(name)
            half = 0.0 if found["n"] < 2 else found["high"] - found["effect"]
            axes.errorbar(
                found["effect"], row, xerr=half, capsize=4, linewidth=2, markersize=7,
                color=COLOURS[0] if main else COLOURS[1], marker="o" if main else "s",
            )  # fmt: skip
        axes.axvline(0, color="black", linewidth=1)
        axes.set(yticks=rows, yticklabels=list(table.index), xlabel="effect on test accuracy (percentage points)")
        axes.set_title("main effects (circles) and interactions (squares)")
        return figure


def scaling_curves(curves: Mapping[str, Sequence[Mapping[str, float | str]]]) -> Figure:
    """Time above, memory below, against each quantity of `bench.Report.curves`; both axes logarithmic."""
    named = {
        "batch": "images in a batch B",
        "width": "embedding width D",
        "peers": "peers K",
        "images": "images in the data set",
    }
    with style():
        figure, panels = plt.subplots(
            2, len(curves), figsize=(3.2 * len(curves), 5.6), squeeze=False, sharex="col"
        )
        for column, (axis, rows) in enumerate(curves.items()):
            frame = pd.DataFrame(rows)
            for position, (form, part) in enumerate(frame.groupby("form", sort=False)):
                panels[0, column].plot(part["x"], 1000 * part["seconds"], label=form, **look(position))
                # A zero (nothing above what the process held already) has no place on a logarithmic axis.
                panels[1, column].plot(part["x"], part["MiB"].clip(lower=0.1), label=form, **look(position))
            for axes in panels[:, column]:
                axes.set(xscale="log", yscale="log")
                axes.set_xticks(sorted(set(frame["x"])), [f"{x:,}" for x in sorted(set(frame["x"]))])
                axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            panels[1, column].set_xlabel(named.get(axis, axis))
            panels[0, column].legend(fontsize=8)
        panels[0, 0].set_ylabel("time (ms)")
        panels[1, 0].set_ylabel("memory (MiB)")
        return figure
