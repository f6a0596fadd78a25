"""The command `ctsl bench`."""

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer

from ctsl_lib import figures
from ctsl_lib.bench import Report, save
from ctsl_lib.bench_sections import SECTIONS

app = typer.Typer()


@app.command()
def bench(
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
        figure = figures.scaling_curves(report.curves)
        figures.save(figure, "scaling", out)
        plt.close(figure)
    typer.echo(f"written to {out}")
