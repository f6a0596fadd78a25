"""How `python -m benchmarks` measures: the kit against a plain loop and public code, side by side in one run.

Each case runs in a worker process, with one thread unless it says more; what is compared takes turns, so that a
busy moment of the machine meets both. Ratios are medians over rounds, with the lowest and highest round.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from benchmarks import cases
from benchmarks.cases import Call
from ctsl_lib.environment import KEEP, cores, keep_memory
from ctsl_lib.experiments.provenance import cpu_name, current_commit


@dataclass
class Result:
    """One line of the benchmark."""

    section: str
    what: str
    value: float
    goal: float | None = None
    at_most: bool = False
    """Whether the goal is an upper bound; else a lower one."""
    low: float | None = None
    high: float | None = None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """pass or fail against the goal; a dash where there is none."""
        if self.goal is None:
            return "–"
        return "pass" if (self.value <= self.goal if self.at_most else self.value >= self.goal) else "fail"


@dataclass
class Report:
    """Everything that a benchmark found."""

    results: list[Result] = field(default_factory=list)
    curves: dict[str, list[dict[str, float | str]]] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """A row for each result, as text."""
        rows = []
        for r in self.results:
            spread = f"{r.low:.3g} to {r.high:.3g}" if r.low is not None else ""
            goal = "" if r.goal is None else f"{'at most' if r.at_most else 'at least'} {r.goal:g}"
            rows.append((r.section, r.what, f"{r.value:.3g} {r.unit}", spread, goal, r.verdict))
        names = ["section", "what", "measured", "lowest to highest", "goal", "verdict"]
        return pd.DataFrame(rows, columns=names).set_index(["section", "what"])


@contextmanager
def worker(*, memory_kept: bool, threads: int = 1) -> Iterator[ProcessPoolExecutor]:
    """A process that does one thing at a time, with torch's threads and glibc's memory set as asked."""
    before = {name: os.environ.pop(name, None) for name in KEEP}  # else the new process would inherit them
    try:
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_start, initargs=(memory_kept, threads)
        ) as pool:
            pool.submit(os.getpid).result()
            yield pool
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _start(memory_kept: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    if memory_kept:
        keep_memory()


@contextmanager
def team(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each for whole runs, warmed up by one."""
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(True, 1)
    ) as pool:
        for future in [pool.submit(cases.quick_run, spec, 1) for spec in cases.quick_specs(processes)]:
            future.result()
        yield pool


Turn = tuple[ProcessPoolExecutor, Callable[..., Call], tuple[Any, ...]]
"""A case, and the worker to measure it in."""


def take_turns(
    turns: dict[str, Turn], rounds: int, clock: Callable[..., float] = cases.measure
) -> dict[str, list[float]]:
    """Seconds of each case in each round, by `cases.measure` or `cases.cpu_seconds`."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, (pool, maker, args) in turns.items():
            found[name].append(pool.submit(clock, maker, *args).result())
    return found


def ratio(section: str, what: str, slow: list[float], fast: list[float], goal: float | None = None) -> Result:
    """How many times faster: the median over rounds of the ratio, and its range."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return Result(section, what, median(ratios), goal, low=min(ratios), high=max(ratios))


def machine() -> dict[str, str | int | float]:
    """What the numbers belong to, and how many processes wanted a core in the last minute."""
    cpu, _, capability = cpu_name().rpartition(", ")
    return {
        "cpu": cpu, "cores": cores(), "capability": capability,
        "system": platform.system(), "python": platform.python_version(), "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "torchdistill": version("torchdistill") if find_spec("torchdistill") else "not installed",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else -1.0, "commit": current_commit(),
    }  # fmt: skip


def save(report: Report, path: Path) -> None:
    """Results, curves and the machine's description as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "results": [asdict(result) | {"verdict": result.verdict} for result in report.results],
        "curves": report.curves,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
