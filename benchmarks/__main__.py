"""`python -m benchmarks [SECTION ...]`: measure whole trainings, some sections, or everything."""

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer

from benchmarks import said
from benchmarks.measure import Report, save
from benchmarks.pictures import scaling_curves
from benchmarks.sections import QUICK, SECTIONS
from ctsl_lib import plots
from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.environment import check_place, expanded


def main(
    section: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(SECTIONS)}; default {QUICK}.")
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Measure everything, which takes a quarter of an hour.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for bench.json and figures.")] = Path("results/bench"),
) -> None:
    """Measure speed and memory against a plain loop and public code, side by side in one run."""
    out = expanded("--out", out)
    check_place("--out", out)
    report = Report()
    chosen = list(SECTIONS) if long else section or [QUICK]
    for name in chosen:
        if name not in SECTIONS:
            raise ValueError(f"SECTION must be one of {', '.join(SECTIONS)}; got {name!r}")
    for name in chosen:
        typer.echo(f"measuring {name} ...", err=True)
        SECTIONS[name](report)
        save(report, out / "bench.json")
    typer.echo(report.table().to_string())
    if report.curves:
        figure = scaling_curves(report.curves)
        plots.save(figure, "scaling", out)
        plt.close(figure)
    if QUICK in chosen:
        typer.echo(f"\n{said.text(out / 'bench.json')}\n")
    typer.echo(f"written to {out}")


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
