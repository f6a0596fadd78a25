"""The sections of `python -m benchmarks`: what is compared with what, how often, and the goals."""

import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

from benchmarks import cases, whole
from benchmarks.cases import Call
from benchmarks.measure import Report, Result, Turn, ratio, take_turns, team, worker
from ctsl_lib.environment import cores

KERNEL = ((32, 64), (128, 512))
"""(B, D) of the kernel's ratio: that of a quick run, and that of the kernel's own goal."""


def whole_runs(report: Report) -> None:
    """The headline: whole trainings of a pair against public code, and what the kernel alone brings to them."""
    trainings(report, "quick run", whole.DIGITS, rounds=3)
    trainings(report, "pair of resnet8, B 128", whole.images("resnet8", 256), rounds=3)
    with worker(memory_kept=False) as pool:
        for batch, width in KERNEL:
            forms: dict[str, Turn] = {
                name: (pool, maker, (batch, width))
                for name, maker in (("usual", cases.relations_usual), ("kernel", cases.relations_combined))
            }
            times = take_turns(forms, 5, cases.cpu_seconds)
            report.results.append(
                ratio("whole", f"kernel alone, B {batch}, D {width}", times["usual"], times["kernel"])
            )


def networks(report: Report) -> None:
    """Whole trainings of larger pairs."""
    for network in ("resnet20", "mobilenetv2"):
        trainings(report, f"pair of {network}, B 128", whole.images(network, 512), rounds=3)


def trainings(report: Report, what: str, setting: whole.Setting, rounds: int) -> None:
    """One training by all forms, in CPU seconds of one thread, after a check that all do the same.

    Args:
        report: gets the results.
        what: the training's name in it.
        setting: the training.
        rounds: how often each form has its turn.
    """
    with worker(memory_kept=False) as default, worker(memory_kept=True) as kept:
        forms = ["kernel", "mdistiller"]
        if default.submit(find_spec, "torchdistill").result() is not None:
            forms.append("torchdistill")
        for form in forms:
            found = default.submit(whole.difference, setting, form).result()
            for name, error, goal in zip(("loss", "gradient"), found, (1e-5, 1e-6), strict=True):
                report.results.append(
                    Result("whole", f"{what}: {name}, {form}", error, goal, at_most=True, unit="")
                )
        turns: dict[str, Turn] = {"kit": (kept, whole.kit, (setting,))}
        turns |= {form: (default, whole.plain, (setting, form)) for form in forms}
        turns |= {f"{form}, DataLoader": (default, whole.plain, (setting, form, True)) for form in forms[1:]}
        times = take_turns(turns, rounds, cases.cpu_seconds)
    seconds = times.pop("kit")
    report.results.append(
        Result("whole", f"{what}: the kit", median(seconds), unit="s", low=min(seconds), high=max(seconds))
    )
    report.results += [ratio("whole", f"{what}: {form}", slow, seconds) for form, slow in times.items()]
    alone = ratio("whole", f"{what}: the kernel alone", times["mdistiller"], times["kernel"])
    report.results.append(alone)


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
    with worker(memory_kept=True, threads=cores()) as one, team(cores()) as several:
        for start in (0, count, 2 * count):
            specs = cases.quick_specs(3 * count)[start : start + count]
            for name, pool, threads in (("threads", one, cores()), ("processes", several, 1)):
                started = time.perf_counter()
                for future in [pool.submit(cases.quick_run, spec, threads) for spec in specs]:
                    future.result()
                times[name].append(time.perf_counter() - started)
    report.results.append(ratio("runs", "quick profile", times["threads"], times["processes"], 1.4))


def retrieval(report: Report) -> None:
    """Rankings of Market-1501's size judged: time, memory, and time against public code's form."""
    queries, images, width = 3_368, 15_913, 2_048
    metrics = ("cosine", "euclidean")
    with worker(memory_kept=False, threads=cores()) as pool:
        turns: dict[str, Turn] = {
            metric: (pool, cases.retrieval_kit, (queries, images, width, metric)) for metric in metrics
        }
        for metric, seconds in take_turns(turns, rounds=3).items():
            what = f"{queries} x {images}, D {width}, {metric}"
            report.results.append(
                Result("retrieval", what, median(seconds), 10, at_most=True, unit="s",
                       low=min(seconds), high=max(seconds))
            )  # fmt: skip
    for metric in metrics:
        memory = _memory(cases.retrieval_kit, queries, images, width, metric)
        report.results.append(
            Result("retrieval", f"its extra memory, {metric}", memory, 2000, at_most=True, unit="MiB")
        )
    memory = _memory(cases.retrieval_usual, queries, images, width, "cosine")
    report.results.append(Result("retrieval", "the usual form's, cosine", memory, unit="MiB"))
    forms = {"usual": cases.retrieval_usual, "kit": cases.retrieval_kit}
    with worker(memory_kept=False) as pool:
        for metric in metrics:
            place = (500, images, width, metric)
            times = take_turns({name: (pool, maker, place) for name, maker in forms.items()}, rounds=5)
            what = f"500 x {images}, D {width}, {metric}"
            report.results.append(ratio("retrieval", what, times["usual"], times["kit"], 1))


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
    "whole": whole_runs,
    "networks": networks,
    "relations": relations,
    "step": step,
    "input": inputs,
    "runs": runs,
    "retrieval": retrieval,
    "scaling": scaling,
    "public": public,
}
QUICK = "whole"
"""The section that is measured by default: the headline, in some three minutes."""
