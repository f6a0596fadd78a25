"""`python -m scripts.campaign`: disturb the kit at random, and print what it has survived."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.cli.signals import ending_signals
from ctsl_lib.environment import cores
from ctsl_lib.experiments.provenance import cpu_name, current_commit
from scripts.campaign.archives import HostileArchive
from scripts.campaign.damage import MutateRecord, MutateState
from scripts.campaign.disks import FullDisk
from scripts.campaign.harness import Fault, Kind, Skip
from scripts.campaign.kills import KillCache, KillGrid, KillNotebook, KillRun

KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (KillRun, KillGrid, KillCache, KillNotebook, MutateRecord, MutateState, HostileArchive, FullDisk)
}


@dataclass
class Row:
    """What has become of the cases of one kind."""

    kind: str
    tried: int = 0
    failed: int = 0
    seconds: float = 0
    skipped: str = ""

    def __str__(self) -> str:
        if self.skipped:
            return f"| {self.kind} | 0 | – | – | skipped: {self.skipped} |"
        return f"| {self.kind} | {self.tried} | {self.tried - self.failed} | {self.failed} | {self.seconds:.0f} |"


def try_kind(name: str, cases: list[int] | None, tries: int | None, seed: int) -> Row:
    """Try cases of one kind; faults are printed as they come.

    Args:
        name: of the kind.
        cases: their numbers; None for the first ones.
        tries: how many; None for the kind's own number.
        seed: of the campaign; a case follows from it, from the kind and from its own number.
    """
    row, began = Row(name), time.monotonic()
    numbers = cases if cases is not None else range(tries if tries is not None else KINDS[name].tries)
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as place:
        (shared := Path(place) / "shared").mkdir()
        kind = KINDS[name](shared)
        try:
            kind.prepare()
            for number in numbers:
                (folder := Path(place) / f"case-{number}").mkdir()
                row.tried += 1
                try:
                    kind.case(Random(f"{name} {seed} {number}"), folder)
                except Fault as fault:
                    row.failed += 1
                    typer.echo(f"{fault}\n    again: --kind {name} --seed {seed} --case {number}", err=True)
                shutil.rmtree(folder, ignore_errors=True)
        except Skip as skipped:
            row.skipped = str(skipped)
        except Fault as fault:
            row.tried, row.failed = 1, 1
            typer.echo(f"{name} cannot begin: {fault}", err=True)
        finally:
            kind.close()
    row.seconds = time.monotonic() - began
    return row


def main(
    kind: Annotated[list[str] | None, typer.Option(help=f"Any of {', '.join(KINDS)}; default all.")] = None,
    tries: Annotated[int | None, typer.Option(min=1, help="Cases of each kind; default each kind's own.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other cases.")] = 0,
    case: Annotated[list[int] | None, typer.Option(help="Only the case of this number.")] = None,
) -> None:
    """Disturb the kit at random; the exit status is 1 if any case fails.

    What is damaged, and how, follows from the seed. The moment of a kill does, too, as a share of the time that the
    same work takes undisturbed; what the killed process is doing then, does not.
    """
    for name in kind or ():
        if name not in KINDS:
            raise typer.BadParameter(f"must be one of {', '.join(KINDS)}, got {name!r}", param_hint="--kind")
    rows = []
    for name in kind or KINDS:
        typer.echo(f"trying {name} ...", err=True)
        rows.append(try_kind(name, case, tries, seed))
        typer.echo(str(rows[-1]), err=True)
    typer.echo("| kind | tried | survived | failed | seconds |\n|---|---|---|---|---|")
    typer.echo("\n".join(map(str, rows)))
    when = datetime.now(UTC).date().isoformat()
    typer.echo(f"\nseed {seed}, commit {current_commit()}, {when}, {cores()} cores of {cpu_name()}")
    raise typer.Exit(any(row.failed for row in rows))


if __name__ == "__main__":
    with failures_in_one_line(), ending_signals():  # so that nothing stays mounted
        typer.run(main)
