"""Many runs: the specs of a grid, side by side in processes of their own."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed, wait
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from ctsl_lib.environment import cores, show
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Record, Store
from ctsl_lib.losses.objective import Objective
from ctsl_lib.models.registry import build_peer

LARGE = 3e10
"""Floating-point operations of the peers' forward passes over one batch, from which threads help."""


class Layout(NamedTuple):
    """How many runs go side by side, and with how many CPU threads each."""

    processes: int
    threads: int


def layout(
    work: Iterable[float] = (),
    processes: int | None = None,
    threads: int | None = None,
    available: int | None = None,
) -> Layout:
    """Processes and threads for a grid of runs.

    Tiny networks spend their time between operations, so one process a core with one thread each is best; large
    ones are held by caches and memory, so a process has up to four threads. What is given is kept.

    Args:
        work: `forward_work` of the runs. processes, threads: what the user wants. available: cores; default all.
    """
    for name, value in (("processes", processes), ("threads", threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    count = available if available is not None else cores()
    if threads is None:
        most = 4 if max(work, default=0.0) >= LARGE else 1
        threads = min(most, max(1, count // processes) if processes is not None else count)
    if processes is None:
        processes = 1 if torch.cuda.is_available() else max(1, count // threads)
    return Layout(processes, threads)


def forward_work(peers: Iterable[str], shape: tuple[int, ...], batch_size: int) -> float:
    """Floating-point operations of these networks' forward passes over one batch of images of this shape."""
    images = torch.zeros(1, *shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for name in peers:
            build_peer(name, shape[0], num_classes=10, seed=0).eval()(images)
    return float(counter.get_total_flops() * batch_size)


def grid(base: Spec, objectives: Mapping[str, Objective], seeds: Iterable[int]) -> list[Spec]:
    """The spec of every objective with every seed, otherwise like `base`."""
    rows = list(objectives.values())
    return [base.model_copy(update={"objective": row, "seed": seed}) for seed in seeds for row in rows]


def run_grid(
    specs: Sequence[Spec],
    store: Store | None = None,
    *,
    executor: Executor | None = None,
    keep_weights: bool = False,
    device: torch.device | str | None = None,
    threads: int = 1,
    progress: bool | None = None,
) -> list[Record]:
    """Run many specs, one after the other or on an executor; those with a record take no time.

    Whatever has finished stays finished: after an error or Ctrl-C the same call goes on where it stopped.
    Stage 1 is trained again where its weights are gone, but only for runs that still lack a record.
    `layout_for` says how many processes and threads suit them.
    Returns: the records in the order of `specs`.
    """
    store = store if store is not None else Store()
    for data in {spec.data for spec in specs}:
        store.data_digest(data, again=True)
    main = [spec for spec in dict.fromkeys(specs) if store.load(spec, weights=keep_weights) is None]
    first = list(dict.fromkeys(spec.stage1() for spec in main if spec.objective.needs_frozen))
    first = [spec for spec in first if spec not in main]
    with tqdm(total=len(first) + len(main), desc="runs", unit="run", disable=not show(progress)) as bar:
        # Stage 1 before all else: two runs that share its networks must not both train them.
        for part, keep in ((first, True), (main, keep_weights)):
            work = partial(run, store=store, keep_weights=keep, device=device, threads=threads, progress=False)
            for _ in _run_part(part, work, executor):
                bar.update()
    records = [store.load(spec) for spec in specs]
    if any(record is None for record in records):
        raise RuntimeError(f"records vanished from {store.root} while the grid ran")
    return [record for record in records if record is not None]


def _run_part(
    specs: Sequence[Spec], work: Callable[[Spec], Record], executor: Executor | None
) -> Iterator[Record]:
    if executor is None:
        for spec in specs:
            yield work(spec)
        return
    futures = [executor.submit(work, spec) for spec in specs]
    try:
        for future in as_completed(futures):
            yield future.result()
    except KeyboardInterrupt:
        # Workers ignore Ctrl-C; end them here and let each future hear of it, so that nothing is left behind.
        for worker in multiprocessing.active_children():
            worker.terminate()
        wait(futures)
        raise
    finally:
        for future in futures:
            future.cancel()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def layout_for(specs: Iterable[Spec], processes: int | None = None, threads: int | None = None) -> Layout:
    """Processes and threads for a grid of these specs, chosen as by `machine.layout`."""
    cases = {(spec.data, spec.peers, spec.recipe.batch_size) for spec in specs}
    shapes = {data: data.load(0).train.images.shape for data, _, _ in cases}
    work = [forward_work(peers, tuple(shapes[data][1:]), batch_size) for data, peers, batch_size in cases]
    return layout(work, processes, threads)


@contextmanager
def process_pool(processes: int | None = None) -> Iterator[Executor | None]:
    """Worker processes. None for a single process.

    Args:
        processes: how many; by default what suits networks as small as the built-in ones: one for each core, and
            a single one where CUDA does the work. See `layout_for`.
    """
    count = layout(processes=processes).processes
    if count == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker) as pool:
        yield pool
