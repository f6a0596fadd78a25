"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until a condition holds; whether it does within so many seconds.

    Args:
        condition: is called again and again.
        seconds: how long to wait at most.
    """
    latest = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > latest:
            return False
        time.sleep(0.05)
    return True
