"""`python -m benchmarks.big_store`: what `ctsl status` and `ctsl table` cost with a store of very many records.

The records are copies of a committed one: the rows of the main job with seeds 0 to 999, which `ctsl table` shows, and
one of the rows with further seeds. Measured are CPU seconds, which other programs on the machine hardly change.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice, product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.measure import machine
from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.cli.reproduce import QUICK, method_rows
from ctsl_lib.environment import ROOT
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import SEEDS, Store

COMMANDS = (
    ("status",),
    ("status", "digits", "--profile", "digits"),
    ("table",),
    ("table", "--ablation"),
)


def synthetic_specs() -> Iterator[Spec]:
    """Specs without end: first the main job with the seeds that `ctsl table` looks for, then more seeds of one row."""
    rows = list(method_rows().values())
    for seed, row in product(range(SEEDS), rows):
        yield QUICK.model_copy(update={"objective": row, "seed": seed})
    for seed in count(SEEDS):
        yield QUICK.model_copy(update={"objective": rows[0], "seed": seed})


def fill(folder: Path, records: int) -> int:
    """Write records into an empty store.

    Args:
        folder: the store.
        records: how many.

    Returns: their bytes.
    """
    template = Store(ROOT / "data" / "records").load(QUICK)
    if template is None:
        raise FileNotFoundError(
            "data/records lacks the first record of the main job: `git checkout data/records`"
        )
    store, size = Store(folder), 0
    for spec in islice(synthetic_specs(), records):
        path = store.path(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        size += path.write_text(_like(template, spec), encoding="utf-8")
    return size


def _like(template: Record, spec: Spec) -> str:
    return template.model_copy(update={"spec": spec}).model_dump_json(indent=1) + "\n"


def cpu_seconds(arguments: tuple[str, ...], folder: Path) -> float:
    """CPU seconds of a command, in a process of its own, start included.

    Args:
        arguments: of `ctsl`.
        folder: the store.

    Raises: CalledProcessError if the command fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", "from ctsl_lib.cli.main import main; main()", *arguments],
        env=os.environ | {"CTSL_RECORDS": str(folder), "CTSL_PROGRESS": "0"},
        check=True, cwd=folder, capture_output=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of docs/scale.md: a line for each command, a column for each number of records."""
    numbers = sorted({row["records"] for row in rows})
    found = {(row["command"], row["records"]): row["seconds"] for row in rows}
    commands = list(dict.fromkeys(row["command"] for row in rows))
    return [
        f"| `{command}` | " + " | ".join(f"{found[command, number]:.1f}" for number in numbers) + " |"
        for command in commands
    ]


def main(
    records: Annotated[
        list[int] | None, typer.Option(min=1, help="Records in the store; default 10^3 and 10^5.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the numbers.")] = Path("results/bench/store.json"),
) -> None:
    """Fill a store and measure the commands that look at it."""
    rows = []
    for number in records or [1_000, 100_000]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = fill(folder, number)
            for arguments in COMMANDS:
                row = {"records": number, "MiB": size / 2**20, "command": " ".join(("ctsl", *arguments))}
                row["seconds"] = min(cpu_seconds(arguments, folder) for _ in range(2))
                typer.echo(row)
                rows.append(row)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
