"""Many runs: the specs of a grid, and processes that run them side by side."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, runtime_checkable

import torch
from tqdm import tqdm

from ctsl_lib.data.specs import DataSpec
from ctsl_lib.environment import cores, shows_progress
from ctsl_lib.errors import (
    GridError,
    NonFiniteLossError,
    RunClaimedError,
    RunStoppedError,
    StateError,
    WorkerDiedError,
)
from ctsl_lib.experiments.line import Line
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.sharing import POLL, failure, is_claimed, tidy
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Here, Workers
from ctsl_lib.losses.objective import Objective


def grid(base: Spec, objectives: Mapping[str, Objective], seeds: Iterable[int]) -> list[Spec]:
    """A spec for every objective and every seed.

    Args:
        base: all else that the specs have in common.
        objectives: name -> weights; the names are for the reader only.
        seeds: the seeds.

    Returns: the specs, all objectives of the first seed first.
    """
    rows, same = list(objectives.values()), dict(base)
    return [Spec.model_validate(same | {"objective": row, "seed": seed}) for seed in seeds for row in rows]


def run_grid(
    specs: Sequence[Spec],
    store: Store | None = None,
    *,
    executor: Executor | None = None,
    keep_weights: bool = False,
    device: torch.device | str | None = None,
    threads: int = 1,
    progress: bool | None = None,
    retry_failed: bool = False,
) -> list[Record]:
    """Run many specs, one after the other or on an executor; those that have a record already take no time.

    Each record is saved as soon as its run has finished, so after an error or Ctrl-C the same call continues where
    it stopped. Stage 1 runs first, for those runs that need it and have no record yet. A run whose loss is not
    finite, that lacks memory or whose worker died twice does not keep the others from running. Runs that another
    process works on are left to it, and waited for at the end.

    Args:
        specs: what to run; a spec that occurs twice is run once.
        store: where records are kept; by default see `Store`.
        executor: runs the specs, such as a `process_pool` or a `cluster.Cluster`; None runs them one after the other
            in this process.
        keep_weights, device, threads: see `run`.
        progress: whether to draw a progress bar; by default unless the environment variable CTSL_PROGRESS is 0.
        retry_failed: whether to try runs again whose loss was not finite in an earlier call.

    Returns: the records in the order of `specs`, with `keep_weights` those of the networks.
    Raises: GridError that names each failed run, after all others have finished; RuntimeError if records are deleted
        meanwhile; other errors of `run`, at once.
    """
    store = store if store is not None else Store()
    work = Work(store, executor, keep_weights, device, threads, progress, retry_failed)
    work.finish(specs)
    work.check()
    records = [store.load(spec, weights=keep_weights) for spec in specs]
    if any(record is None for record in records):
        raise RuntimeError(f"records or kept networks vanished from {store.root} while the grid ran")
    return [record for record in records if record is not None]


@runtime_checkable
class CanEnd(Protocol):
    """An executor whose workers can be ended while they work."""

    def end(self) -> None:
        """End them within seconds."""


@dataclass
class Work:
    """Runs that are to be done, by this process and by others that do the same, and what became of them.

    For the settings see `run_grid`.
    """

    store: Store
    executor: Executor | None
    keep_weights: bool = False
    device: torch.device | str | None = None
    threads: int = 1
    progress: bool | None = None
    retry_failed: bool = False
    failed: dict[Spec, str] = field(default_factory=dict, init=False)
    """Why runs failed."""
    _deaths: Counter[Spec] = field(default_factory=Counter, init=False)
    _known: set[DataSpec] = field(default_factory=set, init=False)

    def finish(self, specs: Sequence[Spec], *, wait: bool = True) -> None:
        """Run what has no record.

        Args:
            specs: what to run.
            wait: whether to wait for runs that other processes work on, and to run what they leave undone.
        """
        for data in {spec.data for spec in specs} - self._known:
            self.store.data_digest(data, again=True)
            self._known.add(data)
        said = False
        with tqdm(desc="runs", unit="run", disable=not shows_progress(self.progress)) as bar:
            while True:
                first, main = self._lacking(specs)
                bar.total = bar.n + len(first) + len(main)
                bar.refresh()
                busy = self._round(Line(first, main), bar)
                if not busy or not wait:
                    return
                if not said:
                    tqdm.write(f"waiting for {len(busy)} runs that other processes work on", file=sys.stderr)
                    said = True
                while all(self._is_claimed(spec) for spec in busy):
                    time.sleep(POLL)

    def check(self) -> None:
        """Raise a GridError that names each run that failed, if there is one."""
        if self.failed:
            lines = [f"{spec.in_words}: {reason}" for spec, reason in self.failed.items()]
            raise GridError("\n".join([f"{len(lines)} runs failed, all others are finished", *lines]))

    def _lacking(self, specs: Sequence[Spec]) -> tuple[list[Spec], list[Spec]]:
        """The runs of stage 1 that are needed, and the runs without a record."""
        main = []
        for spec in dict.fromkeys(specs):
            if self.store.load(spec, weights=self.keep_weights) is None:
                main.append(spec)
            elif not is_claimed(self.store.checkpoint(spec)):
                tidy(self.store, spec)
        main = [spec for spec in main if not self._has_failed(spec)]
        needed = dict.fromkeys(spec.stage1() for spec in main if spec.objective.needs_frozen)
        first = [spec for spec in needed if spec not in main and not self._has_failed(spec)]
        return first, main

    def _has_failed(self, spec: Spec) -> bool:
        if spec not in self.failed and not self.retry_failed:
            reason = failure(self.store, spec)
            if reason is not None and self.store.load(spec, weights=self.keep_weights) is None:
                self.failed[spec] = f"{reason}; it failed before and was not tried again (--retry-failed does)"
        return spec in self.failed

    def _can_start(self, spec: Spec) -> bool:
        """Whether the run's first stage has not failed; else it has failed as well."""
        if spec.objective.needs_frozen and spec.stage1() in self.failed:
            self.failed[spec] = f"its stage 1, {spec.stage1().key}, failed"
        return spec not in self.failed

    def _is_claimed(self, spec: Spec) -> bool:
        needed = [spec, spec.stage1()] if spec.objective.needs_frozen else [spec]
        return any(is_claimed(self.store.checkpoint(each)) for each in needed)

    def _round(self, line: Line, bar: "tqdm[Any]") -> list[Spec]:
        """Run what stands in line, as workers are free; returns the runs that other processes work on."""
        work = partial(
            run, store=self.store, device=self.device, threads=self.threads, progress=False, wait=False
        )
        executor = self.executor if self.executor is not None else Here()
        room = getattr(executor, "processes", sys.maxsize)
        running: dict[Future[Record], Spec] = {}
        ended: SimpleQueue[Future[Record]] = SimpleQueue()
        busy: list[Spec] = []
        try:
            while line or running:
                while len(running) < room and (spec := line.take()) is not None:
                    if not self._can_start(spec):
                        line.end(spec)
                        continue
                    future = executor.submit(
                        work, spec, keep_weights=self.keep_weights or line.needs_weights_of(spec)
                    )
                    running[future] = spec
                    future.add_done_callback(ended.put)
                if running:
                    future = ended.get()
                    spec = running.pop(future)
                    if self._again(spec, _error(future), busy, bar):
                        line.put_back(spec)
                    else:
                        line.end(spec)
        except (KeyboardInterrupt, SystemExit):
            if isinstance(executor, CanEnd):
                executor.end()
            raise
        finally:
            for future in running:
                future.cancel()
        return busy

    def _again(self, spec: Spec, error: Exception | None, busy: list[Spec], bar: "tqdm[Any]") -> bool:
        """Note how a run has ended; whether it is to be run again."""
        bar.update(error is None)
        if isinstance(error, RunClaimedError):
            busy.append(spec)
        elif isinstance(error, RunStoppedError):  # its worker had to go; another one goes on with it
            return True
        elif isinstance(error, WorkerDiedError) and not self._deaths[spec]:
            self._deaths[spec] += 1
            tqdm.write(f"{spec.in_words}: {error}; it is tried once more", file=sys.stderr)
            return True
        elif error is not None:
            self.failed[spec] = str(error) or type(error).__name__
        return False


SHORT_OF_MEMORY = (
    "can't allocate memory", "not enough memory", "out of memory", "_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR",
    "unable to find an engine",
)  # fmt: skip
"""Parts of what PyTorch, cuBLAS, cuDNN and Triton say where memory is short, as it may be on a shared GPU."""


def _concerns_one_run(error: Exception) -> bool:
    """Whether other runs may go on: the error comes from what this run computed or from what it needed."""
    kinds = (
        RunClaimedError,
        RunStoppedError,
        NonFiniteLossError,
        StateError,
        MemoryError,
        torch.OutOfMemoryError,
    )
    if isinstance(error, (*kinds, WorkerDiedError, BrokenExecutor)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_OF_MEMORY)


def _error(future: Future[Record]) -> Exception | None:
    try:
        future.result()
    except Exception as error:
        if not _concerns_one_run(error):
            raise
        error.__traceback__ = None  # it would keep the failed run's networks in memory while the next one trains
        return error
    return None


@contextmanager
def process_pool(processes: int | None = None) -> Iterator[Executor | None]:
    """Worker processes for `run_grid`; for a single process None, as no worker is needed.

    `processes` is their number; by default one for each core, or a single one if CUDA is available. Networks as
    small as the built-in ones are fastest with one thread each, so many processes with one thread beat one process
    with many.
    """
    if processes is None:
        processes = 1 if torch.cuda.is_available() else cores()
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    if processes == 1:
        yield None
        return
    with Workers(processes) as pool:
        yield pool
