"""`ctsl bench`: the kit against a plain loop and public code, as ratios measured side by side in one run.

Each case runs in a worker process with one thread; what is compared takes turns, so that a busy moment of the
machine meets both. Ratios are medians over rounds, with the lowest and highest round.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from ctsl_lib import bench_cases as cases
from ctsl_lib.bench_cases import Call
from ctsl_lib.machine import KEEP, cores, keep_memory
from ctsl_lib.provenance import current_commit


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


Turn = tuple[ProcessPoolExecutor, Callable[..., Call], tuple[Any, ...]]
"""A case, and the worker to measure it in."""


def take_turns(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, (pool, maker, args) in turns.items():
            found[name].append(pool.submit(cases.measure, maker, *args).result())
    return found


def ratio(section: str, what: str, slow: list[float], fast: list[float], goal: float | None = None) -> Result:
    """How many times faster: the median over rounds of the ratio, and its range."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return Result(section, what, median(ratios), goal, low=min(ratios), high=max(ratios))


# --- sections -----------------------------------------------------------------------------------------------


def relations(report: Report) -> None:
    """Relation losses: time, memory, accuracy."""
    with worker(memory_kept=False) as pool:
        for batch, width, rounds in ((128, 512, 7), (256, 512, 3)):
            forms = {"usual": cases.relations_usual, "separate": cases.relations_separate}
            forms["combined"] = cases.relations_combined
            times = take_turns({name: (pool, maker, (batch, width)) for name, maker in forms.items()}, rounds)
            place = f"B {batch}, D {width}"
            report.results += [
                ratio("relations", f"two functions, {place}", times["usual"], times["separate"], 12),
                ratio("relations", f"combined, {place}", times["usual"], times["combined"], 20),
            ]
        if shutil.which("g++") is not None:
            turns: dict[str, Turn] = {
                name: (pool, cases.relations_combined, (256, 512, 2, compiled))
                for name, compiled in (("eager", False), ("compiled", True))
            }
            times = take_turns(turns, rounds=3)
            what = "combined, compiled, B 256, D 512"
            report.results.append(ratio("relations", what, times["eager"], times["compiled"]))
        errors = pool.submit(cases.gradient_errors).result()
    for case, error in errors.items():
        report.results.append(
            Result("relations", f"gradient error, {case}", error["kit"], 1e-5, at_most=True, unit="")
        )
        report.results.append(Result("relations", f"the usual form's, {case}", error["usual"], unit=""))
    for batch, width, goal in ((128, 512, 10.0), (512, 512, 70.0)):
        memory = _memory(cases.relations_combined, batch, width)
        what = f"extra memory, B {batch}, D {width}"
        report.results.append(Result("relations", what, memory, goal, at_most=True, unit="MiB"))
    report.results.append(
        Result(
            "relations", "the usual form's, B 128, D 512", _memory(cases.relations_usual, 128, 512), unit="MiB"
        )
    )


def _memory(maker: Callable[..., Call], *args: Any) -> float:
    """Extra memory of a first call in a fresh process that has called it once with a tiny batch."""
    with worker(memory_kept=False) as pool:
        pool.submit(cases.built, maker, 8, 8).exception()
        return pool.submit(cases.extra_memory, maker, *args).result()


def step(report: Report) -> None:
    """A training step of a pair with the full method, against a plain loop."""
    for network, rounds, goals in (("resnet20", 11, (1.35, 2.2)), ("mobilenetv2", 5, (3.3, 4.0))):
        with worker(memory_kept=False) as plain, worker(memory_kept=True) as kept:
            times = take_turns(
                {
                    "plain": (plain, cases.step_plain, (network, 128)),
                    "fp32": (kept, cases.step_kit, (network, 128, "fp32")),
                    "bf16": (kept, cases.step_kit, (network, 128, "bf16")),
                },
                rounds,
            )
        for precision, goal in zip(("fp32", "bf16"), goals, strict=True):
            report.results.append(
                ratio("step", f"pair of {network}, {precision}", times["plain"], times[precision], goal)
            )
    with worker(memory_kept=False) as default, worker(memory_kept=True) as kept:
        times = take_turns(
            {
                "default": (default, cases.step_kit, ("resnet20", 128, "fp32")),
                "kept": (kept, cases.step_kit, ("resnet20", 128, "fp32")),
            },
            rounds=7,
        )
        report.results.append(ratio("step", "memory kept, resnet20", times["default"], times["kept"]))
        times = take_turns(
            {
                "step": (kept, cases.step_kit, ("resnet18", 64, "fp32")),
                "product": (kept, cases.matrix_product, ()),
            },
            rounds=4,
        )
    peak = [2 * 2048**3 / seconds for seconds in times["product"]]
    reached = [cases.step_operations("resnet18", 64) / seconds for seconds in times["step"]]
    shares = [100 * a / b for a, b in zip(reached, peak, strict=True)]
    report.results.append(
        Result("step", "resnet18, share of matrix-product peak", median(shares), 90, unit="%",
               low=min(shares), high=max(shares))
    )  # fmt: skip


def inputs(report: Report) -> None:
    """Batches of augmented images, against PIL images in a DataLoader."""
    with worker(memory_kept=True) as pool:
        times = take_turns(
            {
                "pil": (pool, cases.input_pil, (128,)),
                "kit": (pool, cases.input_kit, (128, 10_000)),
                "step": (pool, cases.step_kit, ("resnet20", 128, "fp32")),
            },
            rounds=9,
        )
    report.results.append(ratio("input", "images a second", times["pil"], times["kit"], 15))
    share = 100 * median(times["kit"]) / cases.BATCHES / median(times["step"])
    report.results.append(Result("input", "share of a resnet20 step", share, 1, at_most=True, unit="%"))


def runs(report: Report) -> None:
    """Short runs of the quick profile: one process a core, against one process with torch's threads."""
    count = 4 * cores()
    times: dict[str, list[float]] = {"threads": [], "processes": []}
    with worker(memory_kept=True, threads=cores()) as one, _team(cores()) as team:
        for start in (0, count, 2 * count):
            specs = cases.quick_specs(3 * count)[start : start + count]
            for name, pool, threads in (("threads", one, cores()), ("processes", team, 1)):
                started = time.perf_counter()
                for future in [pool.submit(cases.quick_run, spec, threads) for spec in specs]:
                    future.result()
                times[name].append(time.perf_counter() - started)
    report.results.append(ratio("runs", "quick profile", times["threads"], times["processes"], 1.4))


@contextmanager
def _team(processes: int) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(True, 1)
    ) as pool:
        for future in [pool.submit(cases.quick_run, spec, 1) for spec in cases.quick_specs(processes)]:
            future.result()
        yield pool


def scaling(report: Report) -> None:
    """Time and memory against the batch, the width, the number of peers, the number of images."""
    axes: dict[str, list[tuple[int, int, int]]] = {
        "batch": [(batch, 128, 2) for batch in (16, 32, 64, 128, 256)],
        "width": [(64, width, 2) for width in (16, 64, 256, 1024)],
        "peers": [(64, 128, peers) for peers in (2, 3, 4, 6)],
    }
    forms = {"usual": cases.relations_usual, "combined": cases.relations_combined}
    with worker(memory_kept=False) as pool:
        for axis, places in axes.items():
            rows: list[dict[str, float | str]] = []
            for place in places:
                times = take_turns({name: (pool, maker, place) for name, maker in forms.items()}, rounds=3)
                for name, maker in forms.items():
                    position = place[("batch", "width", "peers").index(axis)]
                    rows.append(
                        {"x": position, "form": name, "seconds": median(times[name]),
                         "MiB": _memory(maker, *place)}
                    )  # fmt: skip
            report.curves[axis] = rows
        report.curves["images"] = []
        for count in (1_000, 10_000, 50_000):
            times = take_turns({"kit": (pool, cases.input_kit, (128, count))}, rounds=9)
            size = count * 3 * 32 * 32 / 2**20  # one byte for each value, and nothing else that grows with it
            row = {
                "x": count,
                "form": "a batch of 128",
                "seconds": median(times["kit"]) / cases.BATCHES,
                "MiB": size,
            }
            report.curves["images"].append(row)


def public(report: Report) -> None:
    """Installed public packages with an equivalent: torchdistill's RKD loss (extra `bench`)."""
    with worker(memory_kept=False) as pool:
        missing = pool.submit(cases.built, cases.relations_torchdistill, 8, 8).exception()
        if isinstance(missing, ImportError):
            return
        forms = {"torchdistill": cases.relations_torchdistill, "combined": cases.relations_combined}
        times = take_turns({name: (pool, maker, (128, 512)) for name, maker in forms.items()}, rounds=5)
    report.results.append(
        ratio("public", "torchdistill RKDLoss, B 128, D 512", times["torchdistill"], times["combined"])
    )


SECTIONS: dict[str, Callable[[Report], None]] = {
    "relations": relations,
    "step": step,
    "input": inputs,
    "runs": runs,
    "scaling": scaling,
    "public": public,
}


def machine() -> dict[str, str | int]:
    """What the numbers belong to."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return {
        "cpu": model, "cores": cores(), "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(), "python": platform.python_version(), "torch": torch.__version__,
        "commit": current_commit(),
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
