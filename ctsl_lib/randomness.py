"""What makes a run repeatable: named streams of random numbers, and a fixed number of threads."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_GLOBAL_GENERATOR = threading.RLock()


def derive_seed(seed: int, *stream: str | int) -> int:
    """A seed for the stream named by `stream`; different names give unrelated seeds.

    Because each stream (an initial network, the images' order in one epoch) has its own seed, none depends on
    how many numbers another has drawn: changing one thing leaves all else as it was.
    """
    text = "/".join(str(part) for part in (seed, *stream))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *stream: str | int) -> torch.Generator:
    """A CPU random generator for that stream."""
    return torch.Generator().manual_seed(derive_seed(seed, *stream))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside the block torch's global generators start from `seed`; afterwards they are as they were before.

    Initial weights and dropout can draw from nowhere else. Only one thread at a time is inside, so that runs in
    several threads of a process do not draw from one another's numbers.

    Args:
        seed: of the CPU's generator and the device's.
        device: where the block works.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


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
