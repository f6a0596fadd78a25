"""Where `ctsl train` has its runs done: on this machine, on a dask cluster that is there, or in jobs of SLURM."""

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

WALLTIME = re.compile(r"\d{1,3}:[0-5]\d:[0-5]\d")

Engine = Annotated[
    str | None,
    typer.Option("--executor", help=r"local or dask. \[default: dask with --scheduler or --slurm, else local]"),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Of a dask scheduler that is running, such as tcp://node7:8786."),
]
Slurm = Annotated[bool, typer.Option("--slurm", help="Queue jobs of SLURM, one worker each.")]
Partition = Annotated[str | None, typer.Option(help="SLURM: where to queue.")]
Walltime = Annotated[str | None, typer.Option(metavar="HH:MM:SS", help=r"SLURM: of a job. \[default: 04:00:00]")]
Gpus = Annotated[int | None, typer.Option(min=0, max=1, help=r"SLURM: GPUs of a job. \[default: 0]")]
MostWorkers = Annotated[int | None, typer.Option(min=1, help=r"SLURM: the most jobs at once. \[default: 4]")]
Memory = Annotated[str | None, typer.Option(help=r"SLURM: of a job. \[default: 8GiB]")]
Sbatch = Annotated[
    list[str] | None,
    typer.Option("--sbatch", metavar="OPTION", help="SLURM: a further option of sbatch, repeated."),
]


@contextmanager
def executor_of(
    store: Path, engine: str | None, scheduler: str | None, slurm: bool, processes: int | None, **jobs: Any
) -> Iterator[Executor | None]:
    """The executor that the options of `ctsl train` name; None for processes of this machine.

    Args:
        store: the folder of records.
        engine, scheduler, slurm, processes: the options.
        jobs: the options for SLURM, as `cluster.slurm` takes them; None where nothing was given.

    Raises: ValueError if options do not go together, or if the packages for it are missing.
    """
    given = {name: value for name, value in jobs.items() if value is not None}
    engine = engine or ("dask" if scheduler or slurm else "local")
    if engine not in ("local", "dask"):
        raise ValueError(f"--executor must be local or dask, got {engine!r}")
    if given and not slurm:
        names = ", ".join({"extra": "--sbatch"}.get(name, f"--{name}") for name in given)
        raise ValueError(f"{names} needs --slurm")
    if engine == "local":
        if scheduler or slurm:
            raise ValueError(f"--executor local cannot go with {'--slurm' if slurm else '--scheduler'}")
        yield None
        return
    if bool(scheduler) == slurm:
        raise ValueError("--executor dask needs either --scheduler ADDRESS or --slurm")
    if processes is not None:
        raise ValueError("--processes is for this machine; the workers of a cluster do one run each")
    if "walltime" in given and not WALLTIME.fullmatch(given["walltime"]):
        raise ValueError(f"--walltime must read HH:MM:SS, got {given['walltime']!r}")
    try:
        from ctsl_lib.experiments import cluster
    except ModuleNotFoundError as missing:
        raise ValueError(f"{missing.name} is not installed: pip install --editable '.[cluster]'") from None
    with cluster.connected(scheduler, store) if scheduler else cluster.slurm(store, **given) as executor:
        yield executor
