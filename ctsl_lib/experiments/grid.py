"""Many runs: the specs of a grid, and processes that run them side by side."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial

import torch
from tqdm import tqdm

from ctsl_lib.environment import cores, shows_progress
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Workers
from ctsl_lib.losses.objective import Objective


def grid(base: Spec, objectives: Mapping[str, Objective], seeds: Iterable[int]) -> list[Spec]:
    """A spec for every objective and every seed.

    Args:
        base: all else that the specs have in common.
        objectives: name -> weights; the names are for the reader only.
        seeds: the seeds.

    Returns: the specs, all objectives of the first seed first.
    """
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
    """Run many specs, one after the other or on an executor; those that have a record already take no time.

    Each record is saved as soon as its run has finished, so after an error or Ctrl-C the same call continues where
    it stopped. Stage 1 runs first, for those runs that need it and have no record yet.

    Args:
        specs: what to run; a spec that occurs twice is run once.
        store: where records are kept; by default see `Store`.
        executor: runs the specs, such as a `process_pool`; None runs them one after the other in this process.
        keep_weights, device, threads: see `run`.
        progress: whether to draw a progress bar; by default unless the environment variable CTSL_PROGRESS is 0.

    Returns: the records in the order of `specs`.
    Raises: RuntimeError if records are deleted meanwhile; the errors of `run`.
    """
    store = store if store is not None else Store()
    for data in {spec.data for spec in specs}:
        store.data_digest(data, again=True)
    main = [spec for spec in dict.fromkeys(specs) if store.load(spec, weights=keep_weights) is None]
    first = list(dict.fromkeys(spec.stage1() for spec in main if spec.objective.needs_frozen))
    first = [spec for spec in first if spec not in main]
    with tqdm(total=len(first) + len(main), desc="runs", unit="run", disable=not shows_progress(progress)) as bar:
        # Stage 1 comes first, because several runs may need the same networks and must not all train them.
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
    except (KeyboardInterrupt, SystemExit):
        if isinstance(executor, Workers):
            executor.end()
        elif isinstance(executor, ProcessPoolExecutor):
            for worker in multiprocessing.active_children():
                worker.terminate()
        raise
    finally:
        for future in futures:
            future.cancel()


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
        try:
            yield pool
        except BaseException:
            pool.end()
            raise
