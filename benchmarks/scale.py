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

from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.data.sources import SOURCES
from ctsl_lib.experiments.line import Line
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


class Job(NamedTuple):
    """A run."""

    work: float
    """How long it takes, or how many operations."""
    after: int | None
    """The place, among all runs, of the stage 1 that it needs; None if it needs none."""


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


def jobs(plan: Plan) -> list[Job]:
    """The operations of all runs, in the order in which `Plan.train` gives them to a cluster."""
    main = [spec for specs in plan.by_pair() for spec in specs]
    line = Line(dict.fromkeys(spec.stage1() for spec in main if spec.objective.needs_frozen), main)
    specs: list[Spec] = []
    while (spec := line.take()) is not None:
        specs.append(spec)
        line.end(spec)
    place = {spec: number for number, spec in enumerate(specs)}
    return [
        Job(operations(spec), place[spec.stage1()] if spec.objective.needs_frozen else None) for spec in specs
    ]


def one_command(runs: Sequence[Job], gpus: int) -> float:
    """How long `ctsl train` takes if each run that may begin goes to the worker that is free first.

    Args:
        runs: what to run.
        gpus: workers.

    >>> one_command([Job(1, None), Job(2, 0), Job(4, None)], 2)
    4.0
    """
    workers = [0.0] * gpus
    line = [(0.0, place) for place, run in enumerate(runs) if run.after is None]  # when it may begin, its place
    while line:
        ready, place = heapq.heappop(line)
        end = max(ready, heapq.heappop(workers)) + runs[place].work
        heapq.heappush(workers, end)
        for later, run in enumerate(runs):
            if run.after == place:
                heapq.heappush(line, (end, later))
    return max(workers)


def table_row(dataset: str, tflops: float) -> str:
    """A line of the table in Markdown.

    Args:
        dataset: whose table it is.
        tflops: what a GPU does in a second, in 10^12 operations.
    """
    counted = jobs(plan_from(load_profile("paper", dataset=dataset), dataset))
    an_hour = tflops * 1e12 * 3600
    hours = [run._replace(work=run.work / an_hour) for run in counted]
    runs = [run.work for run in hours]
    chains = [run.work + (0 if run.after is None else runs[run.after]) for run in hours]
    cells = [f"{sum(runs) * an_hour / 1e18:,.0f}", f"{max(chains):,.1f}"]
    cells += [f"{one_command(hours, gpus):,.0f}" for gpus in GPUS]
    cells += [f"{sum(runs) / GPUS[-1]:,.0f}"]
    return f"| {dataset} | {len(runs)} | " + " | ".join(cells) + " |"


def table(tflops: float) -> list[str]:
    """The table in Markdown, line by line; `tflops` is what a GPU does in a second, in 10^12 operations."""
    most = GPUS[-1]
    names = ["table", "runs", "10^18 operations", "longest chain (h)", *(f"{gpus} GPU (h)" for gpus in GPUS)]
    names += [f"{most}, never idle (h)"]
    lines = ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
    return lines + [table_row(dataset, tflops) for dataset in TABLES]


def main(
    tflops: Annotated[float, typer.Option(min=0.001, help="10^12 operations a second that a GPU does.")] = 10.0,
) -> None:
    """Print what the tables cost."""
    typer.echo("\n".join(table(tflops)))


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
