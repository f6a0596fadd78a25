"""`python -m benchmarks.scale`: what the tables of the profile `paper` cost on 1, 8 and 64 GPUs.

The operations of every run are counted; how many of them a GPU does in a second is a parameter, as we have measured
no GPU. Then the runs are given out as `ctsl train` gives them out, to see how long the last GPU works.
"""

import heapq
from collections.abc import Sequence
from functools import cache
from typing import Annotated, NamedTuple

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from ctsl_lib.data.sources import SOURCES
from ctsl_lib.experiments.plan import Plan, plan_from
from ctsl_lib.experiments.profiles import load_profile
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.models.registry import build_peer

TABLES = ("cifar10", "cifar100", "tiny_imagenet", "market1501")
MARKET = (12_936, 3_368 + 15_913, 751)
"""Images to train on, images to answer (queries and gallery), and persons of Market-1501."""
GPUS = (1, 8, 64)
PASSES = 3
"""A step takes as many operations as the way forward, once for each of: forward, gradients of inputs, of weights."""


class Jobs(NamedTuple):
    """The runs of a table: no run of the second part begins before the first part is done."""

    first: list[float]
    """How long each run of stage 1 takes."""
    main: list[float]
    """How long each other run takes, in the order in which they are given out."""


@cache
def forward_operations(network: str, classes: int, height: int, width: int) -> int:
    """Floating-point operations of matrix products and convolutions in one image's way through a network."""
    peer = build_peer(network, 3, classes, seed=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peer(torch.zeros(1, 3, height, width))
    return int(counter.get_total_flops())


def operations(spec: Spec) -> float:
    """Floating-point operations of a run, without its stage 1: training, frozen copies, evaluations.

    Relation terms are left out: they take less than a hundredth of a step of the networks here.
    """
    settings = spec.data.model_dump()
    if spec.data.name in SOURCES:
        source = SOURCES[spec.data.name]
        (every, tested), classes, (_, height, width) = source.counts, source.classes, source.shape
    else:
        (every, tested, classes), height, width = MARKET, settings["height"], settings["width"]
    recipe, own = spec.recipe, spec.objective
    trained = (settings.get("n_train") or every - settings["n_validation"]) * recipe.epochs
    answered = tested * -(-recipe.epochs // recipe.evaluate_every)
    total = 0.0
    for name in spec.peers:
        total += (PASSES * trained + answered) * forward_operations(name, classes, height, width)
        if own.learns_from_frozen:
            total += trained * forward_operations(own.teacher or name, classes, height, width)
    return total


def jobs(plan: Plan) -> Jobs:
    """The operations of all runs, in the order in which `Plan.train` gives them to a cluster."""
    specs = [spec for specs in plan.by_pair() for spec in specs]
    needed = dict.fromkeys(spec.stage1() for spec in specs if spec.objective.needs_frozen)
    return Jobs([operations(spec) for spec in needed], [operations(spec) for spec in specs])


def finished(durations: Sequence[float], workers: list[float]) -> float:
    """When the last of some runs ends, each given to the worker that is free first.

    Args:
        durations: of the runs, in order.
        workers: when each worker is free; changed in place.

    >>> finished([3, 1, 1], [0, 0])
    3
    """
    heapq.heapify(workers)
    last = 0.0
    for duration in durations:
        end = heapq.heappop(workers) + duration
        heapq.heappush(workers, end)
        last = max(last, end)
    return last


def one_command(runs: Jobs, gpus: int) -> float:
    """How long `ctsl train` takes: the runs of stage 1, then all others.

    Args:
        runs: what to run.
        gpus: workers.

    >>> one_command(Jobs([1], [2, 2, 4]), 2)
    7.0
    """
    now = 0.0
    for part in runs:
        if part:
            now = finished(part, [now] * gpus)
    return now


def table_row(dataset: str, tflops: float) -> str:
    """A line of the table in Markdown.

    Args:
        dataset: whose table it is.
        tflops: what a GPU does in a second, in 10^12 operations.
    """
    counted = jobs(plan_from(load_profile("paper", dataset=dataset), dataset))
    an_hour = tflops * 1e12 * 3600
    hours = Jobs(*([run / an_hour for run in part] for part in counted))
    runs = [run for part in hours for run in part]
    cells = [f"{sum(runs) * an_hour / 1e18:,.0f}", f"{max(runs):,.1f}"]
    cells += [f"{one_command(hours, gpus):,.0f}" for gpus in GPUS]
    cells += [f"{sum(runs) / GPUS[-1]:,.0f}"]
    return f"| {dataset} | {len(runs)} | " + " | ".join(cells) + " |"


def table(tflops: float) -> list[str]:
    """The table in Markdown, line by line; `tflops` is what a GPU does in a second, in 10^12 operations."""
    most = GPUS[-1]
    names = ["table", "runs", "10^18 operations", "longest run (h)", *(f"{gpus} GPU (h)" for gpus in GPUS)]
    names += [f"{most}, never idle (h)"]
    lines = ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
    return lines + [table_row(dataset, tflops) for dataset in TABLES]


def main(
    tflops: Annotated[float, typer.Option(min=0.001, help="10^12 operations a second that a GPU does.")] = 10.0,
) -> None:
    """Print what the tables cost."""
    typer.echo("\n".join(table(tflops)))


if __name__ == "__main__":
    typer.run(main)
