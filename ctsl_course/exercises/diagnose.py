"""What is wrong with an answer, in words that do not give the right one away."""

import linecache
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

Function = Callable[..., Any]
Mistakes = Mapping[str, Any]
"""What a mistake is called -> the result that it leads to."""


class WrongAnswer(AssertionError):
    """The answer is wrong; the message says in which way."""


def require(holds: object, words: str) -> None:
    """Stop with these words unless the condition holds.

    Args:
        holds: the condition.
        words: what is wrong if it does not hold.
    """
    if not holds:
        raise WrongAnswer(words)


def some(*shape: int, seed: int = 0) -> Tensor:
    """Normal random numbers of this shape, the same ones for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@contextmanager
def own_records() -> Iterator[None]:
    """Runs inside the block leave their records in a folder that is removed afterwards."""
    before = os.environ.get("CTSL_RECORDS")
    with tempfile.TemporaryDirectory(prefix="ctsl-") as folder:
        os.environ["CTSL_RECORDS"] = folder
        try:
            yield
        finally:
            os.environ.pop("CTSL_RECORDS")
            if before is not None:
                os.environ["CTSL_RECORDS"] = before


def equals(
    found: Any, expected: Any, mistakes: Mistakes | None = None, *, what: str = "the result", rel: float = 1e-4
) -> None:
    """Compare a result with the right one, and name the mistake where it is a known one.

    Args:
        found: a number, or a tensor, array or list of numbers.
        expected: the right result.
        mistakes: what known mistakes lead to.
        what: what the result is called in the message.
        rel: the relative difference that is allowed for rounding.

    Raises: WrongAnswer with the mistake's words; else with what can be said of shape, sign, factor or NaN.
    """
    right = torch.as_tensor(expected, dtype=torch.float64)
    got = _numbers(found, what)
    if _close(got, right, rel):
        return
    for words, wrong in (mistakes or {}).items():
        if _close(got, torch.as_tensor(wrong, dtype=torch.float64), rel):
            raise WrongAnswer(words)
    if got.shape != right.shape:
        wanted = "must be one number" if right.ndim == 0 else f"must have the shape {tuple(right.shape)}"
        raise WrongAnswer(f"{what} {wanted}, yours has the shape {tuple(got.shape)}")
    require(
        torch.isfinite(got).all() or not torch.isfinite(right).all(), f"{what} is not finite (NaN or infinite)"
    )
    raise WrongAnswer(f"{what} {_off_by(got, right, rel)}")


def _numbers(found: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(found.detach() if isinstance(found, Tensor) else found, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise WrongAnswer(f"{what} must be made of numbers, yours is of type {type(found).__name__}") from None


def _close(got: Tensor, right: Tensor, rel: float) -> bool:
    if got.shape != right.shape:
        return False
    scale = right.abs().max().item() if right.numel() else 0.0
    return torch.allclose(got, right, rtol=rel, atol=rel * scale + 1e-6, equal_nan=True)


def _off_by(got: Tensor, right: Tensor, rel: float) -> str:
    """Sign or constant factor, where it is one."""
    if _close(-got, right, rel):
        return "has the wrong sign"
    if right.numel() == 1 and right.abs().item() > 0:
        return _one_off_by((got / right).item())
    scale = (got * right).sum() / right.square().sum().clamp(min=1e-300)
    if scale > 0 and _close(got / scale, right, rel):
        factor = scale.item()
        way = "large" if factor > 1 else "small"
        return f"is {factor if factor > 1 else 1 / factor:.3g} times too {way}"
    return "is not right, and not by a sign or a constant factor alone"


def _one_off_by(factor: float) -> str:
    """Of a single number any factor could be named; only that of a sum, a mean or a square is worth a look."""
    if factor < 0:
        return "has the wrong sign, and another size"
    way, size = ("large", factor) if factor > 1 else ("small", 1 / max(factor, 1e-300))
    whole = round(size)
    return f"is {whole} times too {way}" if whole > 1 and abs(size / whole - 1) < 1e-3 else f"is too {way}"


def gradient(loss: Any, leaf: Tensor, what: str = "the loss") -> Tensor:
    """The gradient of a student's loss; zeros if it does not depend on the leaf.

    Args:
        loss: what the student's function returned.
        leaf: a tensor that requires a gradient.
        what: what the loss is called in the message.

    Raises: WrongAnswer if it is no scalar tensor that can be differentiated.
    """
    require(isinstance(loss, Tensor), f"{what} must be a tensor, so that it has a gradient; no .item(), no NumPy")
    require(loss.ndim == 0, f"{what} must be one number, yours has the shape {tuple(loss.shape)}")
    require(loss.requires_grad, f"{what} passes no gradient to what should learn: it is detached")
    (found,) = torch.autograd.grad(loss, leaf, allow_unused=True, retain_graph=True)
    return torch.zeros_like(leaf) if found is None else found


def pencil_equals(found: Any, expected: Any, mistakes: list[tuple[Any, str]], tolerance: float) -> None:
    """Compare numbers from a pencil with the right ones.

    Args:
        found: a number, a tuple of numbers, or a dict from names to numbers, like `expected`.
        expected: the right answer.
        mistakes: (wrong answer, words); a wrong dict may hold only the wrong entries.
        tolerance: the relative difference that is allowed for rounding.
    """
    if (
        isinstance(found, tuple | list | np.ndarray)
        and len(found) == 1
        and _named(expected).keys() == {"the number"}
    ):
        (found,) = found
    right, got = _named(expected), _named(found)
    if got.keys() != right.keys():
        named = isinstance(expected, dict)
        wanted = f"the entries {', '.join(right)}" if named else f"{len(right)} number{'s' * (len(right) > 1)}"
        raise WrongAnswer(f"the answer must have {wanted}, yours has {', '.join(got) if named else len(got)}")
    values = {name: _number(value, name) for name, value in got.items()}
    wrong = [name for name in right if not _near(values[name], right[name], tolerance)]
    if not wrong:
        return
    for answer, words in mistakes:
        if all(_near(values[name], value, tolerance) for name, value in _named(answer).items()):
            raise WrongAnswer(words)
    if len(right) > 1 and _near_all(sorted(values.values()), sorted(right.values()), tolerance):
        raise WrongAnswer("these are the right numbers in another order")
    raise WrongAnswer("; ".join(f"{name}{_guess(values[name], right[name], tolerance)}" for name in wrong))


def _named(answer: Any) -> dict[str, Any]:
    """One name for each number; the name is part of the message."""
    if isinstance(answer, dict):
        return answer
    if isinstance(answer, tuple | list | np.ndarray) or (isinstance(answer, Tensor) and answer.ndim == 1):
        return {f"number {place}": value for place, value in enumerate(answer, start=1)}
    return {"the number": answer}


def _number(value: Any, name: str) -> float:
    try:
        require(not isinstance(value, str | bool), "")
        return float(value)
    except (AssertionError, TypeError, ValueError, RuntimeError):
        raise WrongAnswer(f"{name} must be a number, got {value!r}") from None


def _near(value: float, right: float, tolerance: float) -> bool:
    return math.isclose(value, right, rel_tol=tolerance, abs_tol=1e-6)


def _near_all(values: list[float], right: list[float], tolerance: float) -> bool:
    return all(_near(a, b, tolerance) for a, b in zip(values, right, strict=True))


def _guess(value: float, right: float, tolerance: float) -> str:
    """What can be said of a wrong number without a list of mistakes."""
    if not math.isfinite(value):
        return " is not a finite number"
    slips = {
        " has the wrong sign": -right,
        " is in percent, a share is asked for": 100 * right,
        " is a share, percent are asked for": right / 100,
        " is in units of ln 2 (bits), nats are asked for: use the natural logarithm": right / math.log(2),
        " was made with log10: use the natural logarithm": right / math.log(10),
    }
    for words, slip in slips.items():
        if right and _near(value, slip, tolerance):
            return words
    if _rounded(value, right):
        return " is nearly right: give three digits, and round only at the end"
    return f" is not right: it is too {'large' if value > right else 'small'}"


def _rounded(value: float, right: float) -> bool:
    """Whether a number is the right one, rounded to one or two digits."""
    if not right:
        return False
    units = (10.0 ** (math.floor(math.log10(abs(right))) - place) for place in (0, 1))
    return any(
        abs(value - right) <= 0.501 * unit and math.isclose(value / unit, round(value / unit), abs_tol=1e-6)
        for unit in units
    )


def told(error: Exception, function: Any) -> str:
    """A student's exception in one line, with the line of the function that it left.

    Args:
        error: what was raised during the check.
        function: the student's function.
    """
    words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'without a message'}"
    line = _line_of(error.__traceback__, function)
    return (
        f"your function stopped in {line} with {words}" if line else f"what it returns cannot be used ({words})"
    )


def _line_of(traceback: TracebackType | None, function: Any) -> str:
    code, found = getattr(function, "__code__", None), ""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is code:
            text = linecache.getline(frame.f_code.co_filename, traceback.tb_lineno).strip()
            found = f"line {traceback.tb_lineno - frame.f_code.co_firstlineno + 1} (`{text}`)"
        traceback = traceback.tb_next
    return found
