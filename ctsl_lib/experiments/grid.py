"""Many runs: the specs of a grid, side by side in processes of their own."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed, wait
from contextlib import contextmanager
from functools import partial

import torch
from tqdm import tqdm

from ctsl_lib.environment import cores, show
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.objective import Objective


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


@contextmanager
def process_pool(processes: int | None = None) -> Iterator[Executor | None]:
    """Worker processes. None for a single process.

    Args:
        processes: how many; by default one for each core, and a single one where CUDA does the work. Networks as
            small as the built-in ones spend their time between operations, so one thread each is best for them.
    """
    if processes is None:
        processes = 1 if torch.cuda.is_available() else cores()
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    if processes == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker) as pool:
        yield pool
