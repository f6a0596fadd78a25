"""The picture of a benchmark: how time and memory grow."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ctsl_lib.plots.style import looks, style


def scaling_curves(curves: Mapping[str, Sequence[Mapping[str, float | str]]]) -> Figure:
    """Time above, memory below, against each quantity of a benchmark's `Report.curves`; all axes logarithmic."""
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
        for column, (axis, rows) in zip(panels.T, curves.items(), strict=True):
            frame = pd.DataFrame(rows)
            frame["time (ms)"] = 1000 * frame["seconds"]
            # A zero (nothing above what the process held already) has no place on a logarithmic axis.
            frame["memory (MiB)"] = frame["MiB"].clip(lower=0.1)
            drawn = looks("form", list(frame["form"].unique())) | {"style": "form", "errorbar": None}
            for axes, quantity in zip(column, ("time (ms)", "memory (MiB)"), strict=True):
                sns.lineplot(frame, x="x", y=quantity, ax=axes, legend=axes is column[0], **drawn)
                axes.set(xscale="log", yscale="log", xlabel=named.get(axis, axis))
                axes.set_xticks(sorted(set(frame["x"])), [f"{x:,}" for x in sorted(set(frame["x"]))])
                axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            column[0].legend(fontsize=8)
        for axes in panels[:, 1:].flat:
            axes.set_ylabel("")
        return figure
