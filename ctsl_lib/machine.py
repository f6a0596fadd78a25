"""What the kit asks of the machine: cores, threads for a grid of runs, and an allocator that keeps its memory."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ctsl_lib.networks import build_peer

KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
"""What glibc reads when a process starts; other C libraries ignore it."""
_OPTIONS = {"MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1}  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h

LARGE = 3e10
"""Floating-point operations of the peers' forward passes over one batch, from which threads help."""


def keep_memory() -> bool:
    """Let glibc keep what tensors have freed, for this process and those that it starts.

    By default it hands big blocks back to the system at every step and gets them again page by page. Numbers do
    not change; the process holds its peak of memory. Linux with glibc only; CTSL_MALLOC=0 switches it off.

    Returns: whether it is so.
    """
    if os.environ.get("CTSL_MALLOC", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    os.environ.update(KEEP)
    return all(library.mallopt(option, int(KEEP[name])) == 1 for name, option in _OPTIONS.items())


def allocator() -> str:
    """How this process's allocator is set, for records."""
    kept = all(os.environ.get(name) == value for name, value in KEEP.items())
    return "glibc, memory kept" if kept else "default"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


_THREADS_LOCK = threading.Lock()
_runs_inside: list[int] = []
"""The number of CPU threads of each run that is inside `cpu_threads` now."""
_threads_outside = 0


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch work with `count` threads inside the block; then put back what was set before.

    The number belongs to the whole process and decides how sums are rounded, so runs in threads of one process
    can only be inside together if they want the same. Raises: ValueError where another run wants another number.
    """
    global _threads_outside
    with _THREADS_LOCK:
        if any(other != count for other in _runs_inside):
            raise ValueError(
                f"threads must be {_runs_inside[0]}, as in the runs that go on in this process; got {count}"
            )
        if not _runs_inside:
            _threads_outside = torch.get_num_threads()
        torch.set_num_threads(count)
        _runs_inside.append(count)
    try:
        yield
    finally:
        with _THREADS_LOCK:
            _runs_inside.pop()
            if not _runs_inside:
                torch.set_num_threads(_threads_outside)


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
