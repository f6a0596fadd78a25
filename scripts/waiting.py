"""Waiting for what other processes do."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


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


def scheduler_address(file: Path) -> str | None:
    """The address in the file that a dask scheduler writes; None as long as it is not there, or only in part.

    Args:
        file: what the scheduler was given as `--scheduler-file`.
    """
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return str(json.loads(file.read_text())["address"])
    return None
