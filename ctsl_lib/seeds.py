"""Every random choice of a run comes from its one seed, through a named stream of its own."""

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
