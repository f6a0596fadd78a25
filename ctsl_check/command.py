"""The command `ctsl check`."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ctsl_lib.environment import check_place, expanded, write_atomically

app = typer.Typer()


@app.command()
def check(
    device: Annotated[
        str | None, typer.Option(help=r"cpu, cuda or cuda:N. \[default: cuda if there is one]")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Committed records that are made again.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Draws the records, and the epoch of the kill.")] = 0,
    longest: Annotated[
        float, typer.Option(min=0, help="Seconds that a record may have taken to be among those drawn.")
    ] = 60,
    part: Annotated[
        list[int] | None,
        typer.Option(
            help="Only this part, repeated: 1 environment, 2 losses, 3 the same twice, "
            "4 kill and resume, 5 records, 6 speed."
        ),
    ] = None,
    compiled: Annotated[bool, typer.Option(help="Compile the losses as well; on a CPU about a minute.")] = True,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write it as Markdown, for an issue.")] = None,
) -> None:
    """Check whether the kit's results hold on this machine: exit status 0 if nothing is off, else 1."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once, before its first product
    files = {name: expanded(f"--{name}", path) for name, path in (("json", json), ("markdown", markdown)) if path}
    for name, path in files.items():
        check_place(f"--{name}", path, file=True)  # now, not after minutes

    from ctsl_check.machine import device_from
    from ctsl_check.parts import PARTS
    from ctsl_check.parts import check as all_parts

    chosen = device_from(device)
    report = all_parts(
        chosen,
        sample,
        seed,
        longest=longest,
        parts=part or PARTS,
        compiled=compiled,
        say=lambda part: typer.echo(part.as_text() + "\n"),
    )
    contents = {"json": report.model_dump_json(indent=1) + "\n", "markdown": report.as_markdown()}
    for name, path in files.items():
        content = contents[name].encode()
        write_atomically(path, partial(Path.write_bytes, data=content))
        typer.echo(f"written to {path}")
    typer.echo(report.in_words())
    if report.off:
        raise typer.Exit(1)
