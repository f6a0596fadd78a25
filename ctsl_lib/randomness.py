"""What makes a run repeatable: named streams of random numbers, and a fixed number of threads."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_GLOBAL_GENERATOR = threading.RLock()


def derive_seed(seed: int, *stream: str | int) -> int:
    """A seed for one named stream of random numbers; different names give unrelated seeds.

    Each use of chance (the initial weights of a network, the order of images in one epoch) has a stream of its own.
    So none depends on how many numbers another one has drawn, and changing one thing leaves the others as they were.

    Args:
        seed: the seed of the run.
        stream: the name of the stream, such as "order", 3.

    Returns: an integer from 0 to 2^63 - 1.
    """
    text = "/".join(str(part) for part in (seed, *stream))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *stream: str | int) -> torch.Generator:
    """A random generator on the CPU that starts from `derive_seed` of the same arguments.

    Args:
        seed: the seed of the run.
        stream: the name of the stream.
    """
    return torch.Generator().manual_seed(derive_seed(seed, *stream))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside the block, torch's global generators start from `seed`; afterwards they are as they were before.

    Initial weights and dropout are always drawn from these generators. Only one thread at a time may be inside, so
    that runs in several threads of a process do not disturb each other's random numbers.

    Args:
        seed: for the generators of the CPU and of the device.
        device: the device that the block computes on.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


_THREADS_LOCK = threading.Lock()
_runs_inside: list[int] = []
"""For each run that is inside `cpu_threads` now, its number of CPU threads."""
_threads_outside = 0


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads inside the block, and as many as before afterwards.

    The setting holds for the whole process, and it decides how sums are rounded. So runs in several threads of one
    process must agree on it. Raises: ValueError if another run inside has asked for another number.
    """
    global _threads_outside
    with _THREADS_LOCK:
        if any(other != count for other in _runs_inside):
            raise ValueError(
                f"threads must be {_runs_inside[0]}, as in the other runs of this process; got {count}"
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
