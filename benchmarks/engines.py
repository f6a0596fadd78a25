"""`python -m benchmarks.engines`: what an engine adds to each run, and what a claim and a saved state cost.

A dask scheduler and one worker of this machine, as `ctsl train --scheduler` uses them, against one worker process and
against none. CPU seconds are those of all processes that take part; other programs on the machine hardly change them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import psutil
import typer

from benchmarks.measure import machine
from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.data.specs import Digits
from ctsl_lib.experiments.cluster import connected
from ctsl_lib.experiments.grid import run_grid
from ctsl_lib.experiments.run import initial_peers
from ctsl_lib.experiments.sharing import claimed, is_claimed
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers
from ctsl_lib.training.checkpoint import Checkpoint, write_state
from ctsl_lib.training.optimizer import make_optimizer
from ctsl_lib.training.recipe import Recipe
from scripts.waiting import scheduler_address, until

SMALL = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=1, batch_size=20))
"""A run of a moment: three steps and an evaluation."""
Row = dict[str, float]


def nothing(number: int) -> int:
    """A task that does nothing."""
    return number


class Meter:
    """CPU and wall seconds of this process and of all that it started, since the meter was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu()

    def each(self, count: int) -> tuple[float, float]:
        """CPU and wall seconds for each of `count` things."""
        return (_cpu() - self.cpu) / count, (time.perf_counter() - self.wall) / count


def _cpu() -> float:
    others = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + float(sum(each.user + each.system for each in others))


def _dask(kind: str, file: Path, *options: str) -> subprocess.Popen[bytes]:
    shared = ("--scheduler-file", str(file), "--dashboard-address", ":0")
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *shared, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def dask(folder: Path) -> Iterator[Executor]:
    """A scheduler and one worker, processes of their own.

    Yields: the worker as an executor for `run_grid`.
    """
    file = folder / "scheduler.json"
    dask_worker = ("--nthreads", "1", "--memory-limit", "0", "--preload", "ctsl_lib.experiments.cluster")
    started = [_dask("scheduler", file, "--port", "0")]
    try:
        until(lambda: scheduler_address(file) or started[0].poll() is not None, 60)
        address = scheduler_address(file)
        if address is None:
            raise RuntimeError("dask did not start; the extra `cluster` is needed")
        started.append(_dask("worker", file, "--no-nanny", *dask_worker))  # only now: it needs the whole file
        with connected(address, folder / "records") as cluster:
            yield cluster
    finally:
        for process in reversed(started):  # a worker that is told to end while its scheduler ends may hang
            process.terminate()
            process.wait()


def tasks(executor: Executor, count: int) -> Row:
    """What an empty task costs, many at once and one after the other."""
    executor.submit(nothing, 0).result()
    meter = Meter()
    for future in [executor.submit(nothing, number) for number in range(count)]:
        future.result()
    cpu, wall = meter.each(count)
    waits = []
    for number in range(count // 10):
        begun = time.perf_counter()
        executor.submit(nothing, number).result()
        waits.append(time.perf_counter() - begun)
    return {"CPU ms a task": 1000 * cpu, "ms a task": 1000 * wall, "ms of a single task": 1000 * median(waits)}


def runs(executor: Executor | None, store: Store, count: int) -> Row:
    """What a run of a moment costs in a grid."""
    warm = [SMALL.model_copy(update={"seed": seed}) for seed in range(2)]
    run_grid(warm, store, executor=executor, progress=False)
    specs = [SMALL.model_copy(update={"seed": seed}) for seed in range(2, 2 + count)]
    meter = Meter()
    run_grid(specs, store, executor=executor, progress=False)
    cpu, wall = meter.each(count)
    return {"CPU ms a run": 1000 * cpu, "ms a run": 1000 * wall}


def sharing(folder: Path, count: int) -> Row:
    """What a claim, a look at one, and the state of a pair of ResNet-18 cost in a folder of this machine."""
    place = Checkpoint(folder / "claimed.ckpt")
    meter = Meter()
    for _ in range(count):
        with claimed(place, 200):
            pass
    claim, _ = meter.each(count)
    with claimed(place, 200):
        meter = Meter()
        for _ in range(count):
            is_claimed(place)
        look, _ = meter.each(count)
    peers = initial_peers(Spec(peers=("resnet18", "resnet18")), 3, 100, "cpu")
    optimizer = make_optimizer([p for peer in peers for p in peer.parameters()], Recipe())
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = parameter.detach().clone()
    optimizer.step()  # from now on there is a momentum
    state = {"peers": [peer.state_dict() for peer in peers], "optimizer": optimizer.state_dict()}
    meter = Meter()
    write_state(folder / "state.ckpt", state)
    saving, _ = meter.each(1)
    size = (folder / "state.ckpt").stat().st_size / 2**20
    return {"CPU ms a claim": 1000 * claim, "CPU ms a look": 1000 * look, "MiB of a state": size,
            "CPU ms of a state": 1000 * saving}  # fmt: skip


COLUMNS = ("CPU ms a task", "ms a task", "ms of a single task", "CPU ms a run", "ms a run")


def lines(found: Mapping[str, Row]) -> list[str]:
    """The table of docs/scale.md: a line for each way to run, a column for each of COLUMNS."""
    ways = {what: row for what, row in found.items() if what != "shared folder"}
    return [
        f"| {what} | " + " | ".join(f"{row[name]:.3g}" if name in row else "–" for name in COLUMNS) + " |"
        for what, row in ways.items()
    ]


def main(
    count: Annotated[int, typer.Option(min=10, help="Empty tasks.")] = 1000,
    small: Annotated[int, typer.Option(min=1, help="Runs of a moment.")] = 40,
    out: Annotated[Path, typer.Option(help="File for the numbers.")] = Path("results/bench/engines.json"),
) -> None:
    """Measure dask, a worker process and none in turn, then what lies in the shared folder."""
    os.environ["CTSL_PROGRESS"] = "0"
    found: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with dask(folder) as cluster:
            found["dask, one worker"] = tasks(cluster, count) | runs(cluster, Store(folder / "records"), small)
        with Workers(1) as workers:
            found["one worker process"] = tasks(workers, count) | runs(workers, Store(folder / "one"), small)
        found["in this process"] = runs(None, Store(folder / "none"), small)
        found["shared folder"] = sharing(folder, count)
    for what, row in found.items():
        typer.echo(f"{what:20} " + ", ".join(f"{name} {value:.3g}" for name, value in row.items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine(), "rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
