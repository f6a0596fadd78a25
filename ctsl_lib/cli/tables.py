"""Commands of `ctsl` for real images: data, train, status, claims."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctsl_lib.cli import engines
from ctsl_lib.data.catalogue import NAMED, PAPER_SETS, check_data_set, retrieval_sets
from ctsl_lib.data.specs import Images, Market1501
from ctsl_lib.environment import data_root, suggestion
from ctsl_lib.errors import GridError, explained
from ctsl_lib.experiments.profiles import load_profile, parse_assignments

if TYPE_CHECKING:
    from ctsl_lib.experiments.plan import Plan

app = typer.Typer()
Dataset = Annotated[
    str, typer.Argument(help=f"{', '.join((*NAMED, *retrieval_sets()))}, or the path of a tree of class folders.")
]
_PROFILE = "A file of notebooks/profiles without its .yaml, or the path of a .yaml file."
Profile = Annotated[str, typer.Option(help=_PROFILE)]
TableProfile = Annotated[
    str | None,
    typer.Option(
        "--profile", show_default="digits for the digits, overnight for CIFAR, else small", help=_PROFILE
    ),
]
Parameter = Annotated[
    list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Another value for the profile.")
]
Processes = Annotated[
    int | None, typer.Option(min=1, help=r"Runs side by side. \[default: one a core, a single one with CUDA]")
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of each run; they change last digits.")]
RECENT = 2000
"""Records that estimates of cost rest on, the newest ones."""
TABLES = ("digits", "synthetic_market", *PAPER_SETS)
"""The data sets that `ctsl status` goes through."""


def plan_of(dataset: str, profile: str | None, parameter: list[str] | None) -> "Plan":
    """The profile's plan for a data set, with values changed by hand.

    Args:
        dataset: the name of a data set, or the path of class folders.
        profile: the name of the profile; None for the standard one of the data set.
        parameter: NAME=VALUE each, in place of the profile's values.

    Raises: ValueError that names what does not exist or does not fit.
    """
    from ctsl_lib.experiments.plan import NOTEBOOKS_ONLY, plan_from

    dataset, changes = check_data_set(dataset), parse_assignments(parameter or [])
    for name in NOTEBOOKS_ONLY:
        if name in changes:
            raise ValueError(f"{name} is a parameter of notebooks; this command works on {dataset}")
    return plan_from(load_profile(profile, dataset=dataset) | changes, dataset)


def _plans(
    names: Sequence[str], profile: str | None, parameter: list[str] | None
) -> "tuple[dict[str, Plan], dict[str, str]]":
    """The plans of several tables, and for those that the profile does not fit the reason.

    Raises: ValueError if it fits none of them.
    """
    plans, errors = {}, {}
    for name in names:
        try:
            plans[name] = plan_of(name, profile, parameter)
        except ValueError as error:
            errors[name] = error
    if not plans:
        raise next(iter(errors.values()))
    return plans, {name: f"{name}: no such table: {explained(error)}" for name, error in errors.items()}


@app.command()
def data(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMED)}, market1501.")],
    fetch: Annotated[bool, typer.Option("--download", help="Fetch it first; its SHA-256 is checked.")] = False,
) -> None:
    """Say where a data set is and what it holds; decode it into the cache."""
    if name not in (*NAMED, "market1501"):
        raise ValueError(
            f"NAME must be one of {', '.join(NAMED)}, market1501; got {name!r}{suggestion(name, NAMED)}"
        )

    from ctsl_lib.data.archives import find
    from ctsl_lib.data.sources import download

    if fetch:
        download(name)
    if name == "market1501":
        _describe_market()
        return
    path, _ = find(name)
    loaded = Images.model_validate({"name": name}).load(seed=0)
    mean, std = ([round(value / 255, 4) for value in values] for values in (loaded.mean, loaded.std))
    typer.echo(f"{name}: {path.name} in {data_root()}")
    typer.echo(f"training images  {len(loaded.train):,}\ntest images      {len(loaded.test):,}")
    typer.echo(f"shape            {tuple(loaded.train.images.shape[1:])}\nclasses          {loaded.num_classes}")
    typer.echo(f"mean             {mean}\nstd              {std}")


def _describe_market() -> None:
    from ctsl_lib.data.market1501 import find_market
    from ctsl_lib.data.types import RetrievalSplit

    market = Market1501()
    loaded = market.load(seed=0)
    said = market.deviations()
    assert isinstance(loaded.test, RetrievalSplit)
    typer.echo(f"market1501: {find_market().name} in {data_root()}")
    typer.echo(f"training images  {len(loaded.train):,} of {loaded.num_classes} persons")
    typer.echo(f"query images     {len(loaded.test.query):,}\ngallery images   {len(loaded.test.gallery):,}")
    typer.echo("\n".join(f"deviation        {one}" for one in said) or "as published     all counts agree")


@app.command()
def train(
    dataset: Dataset,
    profile: TableProfile = None,
    parameter: Parameter = None,
    processes: Processes = None,
    threads: Threads = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try runs again whose loss was not finite.")
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the trained peers; runs without them are trained again.")
    ] = False,
    executor: engines.Engine = None,
    scheduler: engines.Scheduler = None,
    slurm: engines.Slurm = False,
    partition: engines.Partition = None,
    walltime: engines.Walltime = None,
    gpus: engines.Gpus = None,
    workers: engines.MostWorkers = None,
    memory: engines.Memory = None,
    sbatch: engines.Sbatch = None,
) -> None:
    """Run what a table of the paper still lacks. Stop it at any time; the same command goes on.

    Several such commands, on one machine or on several with the same folder of records, share the work. A run whose
    loss was not finite is not tried again without --retry-failed. On a cluster of dask or SLURM all machines must see
    the same folder of records.
    """
    plan = plan_of(dataset, profile, parameter)

    from ctsl_lib.experiments.store import Store

    store = Store(Store().root.resolve())
    jobs = {
        "partition": partition, "walltime": walltime, "gpus": gpus, "workers": workers, "memory": memory,
        "extra": sbatch or None,
    }  # fmt: skip
    try:
        with engines.executor_of(store.root, executor, scheduler, slurm, processes, **jobs) as pool:
            plan.train(
                store, processes=processes, executor=pool, threads=threads, retry_failed=retry_failed,
                keep_weights=keep_weights,
            )  # fmt: skip
    except GridError:
        if any(plan.records().values()):
            _print_table(plan)
        raise
    _print_table(plan)


@contextmanager
def uncollected() -> Iterator[None]:
    """For a command that reads many records: looking through them for cycles would take a fifth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@app.command()
@uncollected()
def status(
    dataset: Annotated[str | None, typer.Argument(help="A table in detail; default a line for each.")] = None,
    profile: TableProfile = None,
    parameter: Parameter = None,
) -> None:
    """List what is done, running, stopped, failed and missing for a table, stage 1 included, and what is left to pay.

    A first stage whose networks are not there, as in a fresh clone, is trained again by a run that learns from them.
    """
    names = TABLES if dataset is None else (dataset,)
    plans, reasons = _plans(names, profile, parameter)

    from ctsl_lib.cli.status import lines
    from ctsl_lib.experiments.store import Store

    store = Store()
    recent = store.newest(RECENT)
    for name in names:
        if name in reasons:
            typer.echo(reasons[name])
        else:
            typer.echo("\n".join(lines(plans[name], store, recent, each=dataset is not None)))


@app.command()
def claims(
    profile: TableProfile = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Data sets to look at; default all four.")] = None,
    parameter: Parameter = None,
    every: Annotated[bool, typer.Option("--all", help="List comparisons that are not tested, too.")] = False,
) -> None:
    """Judge the paper's claims by the records that are there: the comparisons, then each claim in words."""
    plans, reasons = _plans(dataset or PAPER_SETS, profile, parameter)
    if dataset and reasons:
        raise ValueError("; ".join(reasons.values()))
    for reason in reasons.values():
        typer.echo(reason)

    import pandas as pd

    from ctsl_lib.evidence.claims import NOT_TESTED, claims_table, judge
    from ctsl_lib.evidence.conclusions import in_words

    judged = judge({name: plan.records() for name, plan in plans.items()})
    table = claims_table(judged)
    shown = table if every else table[table["verdict"] != NOT_TESTED]
    with pd.option_context("display.width", 200, "display.max_colwidth", 90):
        typer.echo(shown.to_string(index=False) if len(shown) else "no comparison is tested")
    typer.echo("\n" + "\n\n".join(in_words(claim).replace("**", "") for claim in judged))


def _print_table(plan: "Plan") -> None:
    from ctsl_lib.evidence.labels import metric_label
    from ctsl_lib.evidence.tables import EACH_PEER, export, measurements, readable, summary, table_name

    metric, frame = plan.data.metric, measurements(plan)
    also = ["rank1"] if "rank1" in frame else []
    table = summary(frame, metric, by=EACH_PEER, also=also)
    shown = readable(table, f"{metric_label(metric)}, last epoch (%)")
    name = table_name(plan.dataset)
    csv, latex = export(table, shown, Path("results") / "tables", name)
    typer.echo(f"{plan.dataset}\n\n{shown.to_string()}")
    typer.echo(f"\nwritten to {csv} and {os.path.relpath(latex)}")
