"""Ctrl-C, `kill` and a closed terminal: the command ends within seconds, and says that it can go on."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""SIGHUP does not exist everywhere."""
STATUS = {128 + number for number in ENDING}
"""Exit statuses that name these signals, as shells do: 130, 143, 129."""
PATIENCE = 10.0
"""After the first signal others are ignored for this many seconds, while everything is put away."""


@contextmanager
def ending_signals() -> Iterator[None]:
    """Inside the block the first such signal raises SystemExit with its status; those ignored before stay so.

    A process under `nohup` ignores SIGHUP, one that a script has started in the background ignores SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise SystemExit(128 + number)
        if time.monotonic() - first[0] > PATIENCE:  # it hangs
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
