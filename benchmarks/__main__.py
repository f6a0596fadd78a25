"""`python -m benchmarks [SECTION ...]`: measure everything, or some sections."""

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer

from benchmarks.measure import Report, save
from benchmarks.pictures import scaling_curves
from benchmarks.sections import SECTIONS
from ctsl_lib import plots


def main(
    section: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(SECTIONS)}; default all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for bench.json and figures.")] = Path("results/bench"),
) -> None:
    """Measure speed and memory against a plain loop and public code, side by side in one run."""
    report = Report()
    for name in section or SECTIONS:
        if name not in SECTIONS:
            raise ValueError(f"SECTION must be one of {', '.join(SECTIONS)}; got {name!r}")
    for name in section or SECTIONS:
        typer.echo(f"measuring {name} ...", err=True)
        SECTIONS[name](report)
        save(report, out / "bench.json")
    typer.echo(report.table().to_string())
    if report.curves:
        figure = scaling_curves(report.curves)
        plots.save(figure, "scaling", out)
        plt.close(figure)
    typer.echo(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
