"""A student's function on trial: what it may not do whatever it returns."""

import inspect
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctsl_course.exercises.diagnose import Function, WrongAnswer, require

LIMIT = 120
"""Seconds that the checks of an exercise may take; the longest takes a few."""


@contextmanager
def time_limit() -> Iterator[None]:
    """WrongAnswer if the block does not end in time, as with an endless loop; no limit where there is no alarm."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise WrongAnswer(
            f"your function has not come to an end after {LIMIT} seconds: is there an endless loop?"
        )

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Tried:
    """A student's function. Called, it must return something and leave its arguments as they were."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def __call__(self, *given: Any) -> Any:
        """Call the function; WrongAnswer if it returns nothing or changes an argument."""
        before = [_copied(value) for value in given]
        found = self.function(*given)
        require(found is not None, "your function returns None: is a `return` missing?")
        names = list(inspect.signature(self.function).parameters)
        for name, value, old in zip(names, given, before, strict=False):
            require(
                _unchanged(value, old), f"your function changes its argument `{name}` in place: make a new one"
            )
        return found


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray | list | dict) else value


def _unchanged(value: Any, old: Any) -> bool:
    if isinstance(value, Tensor):
        return value.shape == old.shape and torch.equal(value.detach().nan_to_num(), old.nan_to_num())
    if isinstance(value, np.ndarray):
        return np.array_equal(value, old, equal_nan=value.dtype.kind == "f")
    if isinstance(value, list | dict):  # of anything: the same objects in the same order
        pairs = (
            zip(value.items(), old.items(), strict=False)
            if isinstance(value, dict)
            else zip(value, old, strict=False)
        )
        return len(value) == len(old) and all(
            a is b or (isinstance(value, dict) and a[1] is b[1]) for a, b in pairs
        )
    return True


def needs_no_autograd(answer: Tried, *given: Any) -> None:
    """WrongAnswer if a function takes its result from autograd, where the formula is asked for."""
    try:
        with torch.inference_mode():
            answer(*(value.clone() if isinstance(value, Tensor) else value for value in given))
    except RuntimeError:
        raise WrongAnswer("your function uses autograd: write the formula itself") from None
