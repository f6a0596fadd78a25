"""Runs on the workers of a dask cluster, each of which does one at a time and writes into the shared folder of records.

`dask worker ADDRESS --nthreads 1 --memory-limit 0 --preload ctsl_lib.experiments.cluster` starts a worker that has the
kit imported and that is not paused when its memory fills up.
"""

import os
import re
import shlex
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from distributed import Client, KilledWorker, get_worker
from distributed.comm.addressing import get_address_host_port
from distributed.diagnostics.plugin import WorkerPlugin

from ctsl_lib.environment import cache_root
from ctsl_lib.errors import ClusterError, WorkerDiedError
from ctsl_lib.experiments.provenance import current_commit
from ctsl_lib.experiments.sharing import stop_runs

DEATHS = 10
"""Deaths of workers that the scheduler puts up with for each run, since workers on a cluster come and go."""
REACHES, CONNECTS = 5.0, 20.0
"""Seconds within which a scheduler's port must be open, and it must answer; dask tries again until the latter."""
COMES = 60.0
"""Seconds within which the first worker must come."""
APPEARS = 20.0
"""Seconds within which a file that one machine writes is seen by another, over a network's file system."""
T = TypeVar("T")


class Seen(NamedTuple):
    """What a worker sees of the world."""

    host: str
    threads: int
    """Tasks that it does at once."""
    store: bool
    """Whether it sees the folder of records that the grid writes to."""
    cache: str
    """Why it cannot write decoded images; empty if it can."""
    commit: str
    gpu: str
    """The identifier (UUID) of the device that it would train on; empty without CUDA."""


class Cluster(Executor):
    """Workers of a dask scheduler as an executor for `run_grid`."""

    def __init__(self, client: Client, store: Path) -> None:
        """Look whether each worker can do its part.

        Args:
            client: of the scheduler.
            store: the folder of records.

        Raises: ClusterError that names a worker, what is wrong with it, and what to do.
        """
        self._client, self._executor = client, client.get_executor(pure=False)
        self._token = store.resolve() / f".{uuid.uuid4().hex}.cluster"
        self._token.parent.mkdir(parents=True, exist_ok=True)
        self._token.touch()
        client.register_plugin(StopRuns(), name="ctsl-stop-runs")
        client.run_on_scheduler(_put_up_with_deaths)
        try:
            workers: dict[str, Seen] = client.run(look, self._token)
            check_workers(workers, store)
        except BaseException:
            self.shutdown()
            raise

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function on one of the workers, as soon as one is free.

        Args:
            fn: the function; it and all else must be picklable.
            args, kwargs: what it is called with.
        """
        ours: Future[T] = Future()
        theirs = self._executor.submit(_do, self._token, fn, args, kwargs)
        theirs.add_done_callback(partial(_pass_on, ours))
        ours.add_done_callback(lambda done: theirs.cancel() if done.cancelled() else None)
        return ours

    def end(self) -> None:
        """Let no run begin any more and have all save their state; each ends after its present epoch."""
        self._client.run(_stop_run_of, self._token, on_error="ignore")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget the workers, which others may use.

        Args:
            wait, cancel_futures: of no effect; `run_grid` has waited, or has cancelled what it began.
        """
        with suppress(OSError):
            self._token.unlink()


class StopRuns(WorkerPlugin):
    """A worker that is to end, by SIGTERM, the end of its time or otherwise, has its run save its state first."""

    idempotent = True  # else dask would call `teardown` of the first grid's whenever another grid connects

    def teardown(self, worker: Any) -> None:
        """Called by dask when a worker closes."""
        stop_runs()


def look(token: Path, dask_worker: Any) -> Seen:
    """What a worker sees.

    Args:
        token: a file in the folder of records that the grid has just written.
        dask_worker: the worker; dask gives it.
    """
    latest, seen = time.monotonic() + APPEARS, token.exists()
    while not seen and time.monotonic() < latest:
        time.sleep(0.5)
        with suppress(OSError):
            seen = token in token.parent.iterdir()  # makes a network's file system look again
    reason = ""
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        if not os.access(cache_root(), os.W_OK):
            reason = f"{cache_root()} cannot be written"
    except OSError as error:
        reason = f"{cache_root()} cannot be made: {error.strerror or error}"
    # Its number says little: SLURM counts the devices of each job from 0, and dask-cuda names all of them in turn.
    gpu = str(torch.cuda.get_device_properties(0).uuid) if torch.cuda.is_available() else ""
    return Seen(socket.gethostname(), dask_worker.state.nthreads, seen, reason, current_commit(), gpu)


def check_workers(workers: Mapping[str, Seen], store: Path) -> None:
    """Raise a ClusterError that names the first worker that cannot do its part, and says what to do.

    Args:
        workers: address -> what it sees.
        store: the folder of records.
    """
    if not workers:
        raise ClusterError("the scheduler has no workers; start some: dask worker ADDRESS --nthreads 1")
    taken: dict[str, str] = {}
    for address, seen in workers.items():
        worker = f"the worker {address} on {seen.host}"
        if seen.threads != 1:
            raise ClusterError(f"{worker} has {seen.threads} threads: start it with --nthreads 1")
        if not seen.store:
            raise ClusterError(
                f"{worker} does not see {store.resolve()}: CTSL_RECORDS must name a folder that all machines share"
            )
        if seen.cache:
            raise ClusterError(f"{worker} cannot keep decoded images: {seen.cache}; set CTSL_CACHE there")
        if seen.commit != current_commit():
            raise ClusterError(
                f"{worker} has another version of the kit, {seen.commit or 'not known'} instead of "
                f"{current_commit() or 'not known'}: start it from the same clone"
            )
        other = taken.setdefault(seen.gpu, address) if seen.gpu else address
        if other != address:
            raise ClusterError(
                f"{worker} and {other} share the GPU {seen.gpu}: start each with a CUDA_VISIBLE_DEVICES of its own"
            )


def _put_up_with_deaths(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = max(DEATHS, dask_scheduler.allowed_failures)


@lru_cache
def _check_here(token: Path) -> None:
    """A worker that came later is looked at when it gets its first run."""
    check_workers({get_worker().address: look(token, get_worker())}, token.parent)


_served: set[Path] = set()
"""Tokens of the grids that this worker does a run for: one at most, as it has one thread."""


def _do(token: Path, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    _check_here(token)
    _served.add(token)
    try:
        return fn(*args, **kwargs)
    finally:
        _served.discard(token)


def _stop_run_of(token: Path) -> None:
    """Other grids share the worker: stop its run only if it is this grid's."""
    if token in _served:
        stop_runs()


def _pass_on(ours: Future[Any], theirs: Future[Any]) -> None:
    """Give our future what became of theirs, in the kit's words."""
    if not ours.set_running_or_notify_cancel():
        return
    try:
        ours.set_result(theirs.result())
    except KilledWorker as killed:  # the death that is one too many
        ours.set_exception(WorkerDiedError(f"{killed.allowed_failures + 1} workers died of it, or beside it"))
    except CancelledError:
        ours.set_exception(ClusterError("the scheduler is gone; finished runs are kept"))
    except BaseException as error:
        ours.set_exception(error)


@contextmanager
def connected(scheduler: str, store: Path) -> Iterator[Cluster]:
    """The workers of a scheduler that is running already.

    Args:
        scheduler: its address, such as tcp://node7:8786.
        store: the folder of records.

    Raises: ClusterError if there is none, or if a worker cannot do its part.
    """
    if not re.search(r":\d+$", scheduler):
        raise ClusterError(f"--scheduler must end in a port, such as tcp://node7:8786; got {scheduler!r}")
    try:
        socket.create_connection(get_address_host_port(scheduler), REACHES).close()
        client = Client(scheduler, timeout=CONNECTS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"--scheduler: no dask scheduler answers at {scheduler!r} ({error})") from None
    with client:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=COMES)
        with Cluster(client, store) as cluster:
            yield cluster


def _check_job(script: str) -> None:
    """Raise a ClusterError if SLURM would not take such a job, for which dask would wait for ever."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        print(script, file=file, flush=True)
        try:
            tried = subprocess.run(["sbatch", "--test-only", file.name], capture_output=True, text=True)
        except FileNotFoundError:
            raise ClusterError("--slurm: there is no sbatch on this machine") from None
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1]
        raise ClusterError(f"--slurm: sbatch refuses such a job: {said}")


@contextmanager
def slurm(
    store: Path,
    *,
    partition: str | None = None,
    walltime: str = "04:00:00",
    gpus: int = 0,
    workers: int = 4,
    memory: str = "8GiB",
    extra: tuple[str, ...] = (),
) -> Iterator[Cluster]:
    """Jobs of SLURM, one worker each, as many as there is work for; lost ones are replaced.

    Raises: ClusterError if SLURM does not take such a job.

    Args:
        store: the folder of records.
        partition: where to queue; by default the site's own choice.
        walltime: of a job, HH:MM:SS; a worker ends by itself five minutes before and is replaced.
        gpus: of a job, 0 or 1.
        workers: the most jobs at once.
        memory: of a job.
        extra: further options of sbatch, such as "--account=physics".
    """
    from dask_jobqueue.slurm import SLURMCluster

    hours, minutes, seconds = (int(part) for part in walltime.split(":"))
    whole = 3600 * hours + 60 * minutes + seconds
    own = {name: shlex.quote(value) for name, value in os.environ.items() if name.startswith("CTSL_")}
    with SLURMCluster(
        queue=partition, walltime=walltime, cores=1, processes=1, memory=memory,
        job_extra_directives=[*([f"--gres=gpu:{gpus}"] if gpus else []), *extra],
        job_script_prologue=[f"export {name}={value}" for name, value in own.items()],
        worker_extra_args=[
            "--memory-limit", "0",  # dask would pause a worker whose memory fills up; SLURM has its own limit
            "--preload", __name__, "--lifetime", f"{max(whole - 300, whole // 2)}s", "--lifetime-stagger", "60s",
        ],
    ) as jobs:  # fmt: skip
        _check_job(jobs.job_script())
        jobs.adapt(minimum=1, maximum=workers)
        with Client(jobs, set_as_default=False) as client:
            client.wait_for_workers(1)
            with Cluster(client, store) as cluster:
                yield cluster
