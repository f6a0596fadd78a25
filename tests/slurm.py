"""On a real SLURM, which `make slurm-test` sets up: jobs that are cancelled are replaced, and records stay the same."""

import subprocess
from pathlib import Path

from scripts.campaign.harness import Command, outcomes, under_way
from scripts.waiting import until
from tests.test_cluster import ARGUMENTS


def jobs(state: str) -> list[str]:
    said = subprocess.run(
        ["squeue", "--noheader", "--format=%A", f"--states={state}"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()


def test_jobs_that_are_cancelled_are_replaced(tmp_path: Path) -> None:
    local, command = Command(tmp_path / "local"), Command(tmp_path / "slurm")
    for folder in (local.folder, command.folder):
        folder.mkdir()
    local.finish(*ARGUMENTS)
    options = ["--slurm", "--partition", "test", "--walltime", "00:20:00", "--workers", "2", "--memory", "1GiB"]
    process = command.start(*ARGUMENTS, *options)
    assert until(lambda: under_way(command.folder) or process.poll() is not None, 300)
    cancelled = jobs("RUNNING")
    assert cancelled, process.stderr and process.stderr.read()
    subprocess.run(["scancel", cancelled[0]], check=True)
    assert process.wait(600) == 0, process.stderr and process.stderr.read()
    assert outcomes(command.records) == outcomes(local.records)
    assert until(lambda: not jobs("RUNNING"), 60)  # none stays when the command has ended
