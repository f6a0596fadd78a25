"""One look for all plots: colours safe for colour-blind readers, never colour alone."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import PIL.Image
import seaborn as sns
from IPython.display import Image, display
from matplotlib.figure import Figure

from ctsl_lib import ROOT
from ctsl_lib.environment import write_atomically
from ctsl_lib.evidence.labels import with_unit

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/, without yellow; grey; two of Paul Tol's "muted".
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F", "#882255", "#332288"
)  # fmt: skip
GREY = "#7F7F7F"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")
LINES = (
    "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)),
    (0, (5, 1, 1, 1, 1, 1)), (0, (2, 2)),
)  # fmt: skip


def style() -> AbstractContextManager[None]:
    """The kit's look, as a context; it changes nothing outside."""
    return plt.rc_context(
        {
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E5E5E5",
            "font.size": 10,
            "axes.titlesize": 11,
            "legend.frameon": False,
        }
    )


def axis_label(metric: str) -> str:
    """How the axis of a metric is written."""
    return "test accuracy (%)" if metric == "top1" else with_unit(metric)


def look(position: int) -> dict[str, object]:
    """Colour, marker and line style of the thing at this position of a plot."""
    i = position % len(COLOURS)
    return {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": LINES[i]}


def looks(column: str, values: Sequence[str]) -> dict[str, Any]:
    """Arguments for seaborn that give each value of a column the colour and the marker of its position.

    Args:
        column: of the frame that is drawn.
        values: of this column, in the order of their positions.
    """
    markers = [MARKERS[i % len(MARKERS)] for i in range(len(values))]
    palette = sns.color_palette(COLOURS, len(values))
    return {"hue": column, "hue_order": values, "palette": palette, "markers": markers}


def save(figure: Figure, name: str, folder: Path | str = ROOT / "figures" / "runs") -> Path:
    """Write a figure as PNG.

    Args:
        figure: any figure.
        name: of the file, without its ending.
        folder: made if it is missing.

    Returns: the path of the file.
    Raises: OSError that names the file if it cannot be written, and says why.
    """
    path = Path(folder) / f"{name}.png"
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None}))
    return path


def show(figure: Figure, alt: str, dpi: int = 150) -> None:
    """Show a figure in a notebook with a text for those who cannot see it, and close it.

    Its colours are reduced to 256, which is hard to see and makes notebooks two to three times smaller.

    Args:
        figure: any figure; it cannot be shown again.
        alt: what there is to see, for a reader who hears it.
        dpi: dots per inch that it is drawn with; shown it is always 100 pixels an inch wide, so that more dots make
            it sharper on a dense screen, not larger.
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    width = round(100 * figure.get_figwidth())
    figure.savefig(drawn, format="png", dpi=dpi)
    plt.close(figure)
    reduced = PIL.Image.open(drawn).convert("RGB").quantize(256, method=PIL.Image.Quantize.MAXCOVERAGE)
    reduced.save(small, format="png", optimize=True)
    display(Image(small.getvalue(), width=width, alt=alt))
