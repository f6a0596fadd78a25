"""What makes a run repeatable: named streams of random numbers, and a fixed number of threads."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

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

    Dropout is drawn from these generators. Only one thread at a time may be inside, so that runs in several threads of
    a process do not disturb each other's random numbers. A thread of somebody else that draws meanwhile cannot be kept
    out: beside such a one, a network with dropout needs a process of its own. Initial weights do not; see
    `OwnGenerator`.

    Args:
        seed: for the generators of the CPU and of the device.
        device: the device that the block computes on.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def same_every_time(device: torch.device) -> None:
    """On a CUDA device, let cuDNN choose only algorithms that add in the same order every time.

    The setting holds for the process, and stays; it is a little slower. What `torch.compile` makes for a GPU is not
    covered: it chooses by timing.

    Args:
        device: where something is to be trained.
    """
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


class OwnGenerator(TorchDispatchMode):
    """Inside the block, what this thread draws on the CPU comes from a generator that no other thread draws from.

    The numbers are those that the global generator would give after `torch.manual_seed(seed)`. It serves for initial
    weights, since constructors of layers take no generator. Calls of `torch.manual_seed` inside have no effect.
    """

    def __init__(self, seed: int) -> None:
        """Take the seed of the generator."""
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation of torch; one that draws on the CPU, and has no generator yet, gets this one."""
        kwargs = dict(kwargs or {})
        device = kwargs.get("device") or next((x.device for x in args if isinstance(x, torch.Tensor)), None)
        drawing = _with_generator(func) if torch.device(device or "cpu").type == "cpu" else None
        if drawing is None or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        return drawing(*args, **kwargs | {"generator": self.generator})


@functools.cache
def _with_generator(func: Any) -> Any:
    """The form of an operation of torch that takes the same arguments and a generator; None if there is none."""
    wanted = _arguments(func) - {"generator"}
    forms = [getattr(func.overloadpacket, name) for name in func.overloadpacket.overloads()]
    return next((form for form in forms if _arguments(form) == wanted | {"generator"}), None)


def _arguments(func: Any) -> set[str]:
    return {argument.name for argument in func._schema.arguments}


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
