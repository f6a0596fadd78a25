"""Part 2: every loss on this device against direct formulas in float64, in fp32 and bf16, compiled and not."""

import logging
import warnings
from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_check.report import Part, Row, failure
from ctsl_lib.losses import reference
from ctsl_lib.losses.functional import response_loss, triplet_loss
from ctsl_lib.losses.relation_kernel import relation_losses
from ctsl_lib.randomness import generator

BATCH, WIDTH = 48, 32
TEMPERATURE, MARGIN = 4.0, 0.3
TOLERANCE = {"fp32": (1e-5, 1e-5), "bf16": (1e-5, 2**-8)}
"""Relative error of the value, and of the gradient by its norm. A bf16 gradient has 8 significant bits."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RULE = (
    f"{BATCH} random rows of {WIDTH} numbers. The reference gets the same numbers, bf16 ones as they were rounded, and "
    "is computed on the CPU in float64 by direct formulas: relative errors of the value and of the gradient. Off "
    "above 1e-5 and 1e-5; with bf16 input, whose gradient is rounded to bf16, above 1e-5 and 2^-8 = 3.9e-3. In bf16 "
    "training the losses themselves get float32; this is the harder case."
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Own numbers (B, D), those of the other peer or of the frozen copy, labels (B,) -> scalar."""

PLAIN: dict[str, Loss] = {
    "cross entropy": lambda own, other, labels: F.cross_entropy(own.float(), labels),
    "response": lambda own, other, labels: response_loss(own, other),
    "self": lambda own, other, labels: response_loss(own, other, TEMPERATURE),
    "triplet": lambda own, other, labels: triplet_loss(own, labels, MARGIN),
}
"""The losses that are PyTorch's own operations; `compiled`, all of them are compiled together."""


def _divergence(own: Tensor, other: Tensor, temperature: float) -> Tensor:
    p, q = (torch.exp(z / temperature) for z in (own, other))
    p, q = p / p.sum(dim=1, keepdim=True), q / q.sum(dim=1, keepdim=True)
    return (q * (q / p).log()).sum() / len(q)


def _triplet(own: Tensor, labels: Tensor) -> Tensor:
    """Hermans et al. 2017, eq. 5, image by image."""
    losses = []
    for a in range(len(own)):
        distances = torch.stack([(own[a] - row).square().sum() for row in own]).clamp(min=1e-300).sqrt()
        same = labels == labels[a]
        others = same & (torch.arange(len(own)) != a)
        if others.any() and not same.all():
            losses.append(F.relu(MARGIN + distances[others].max() - distances[~same].min()))
    return torch.stack(losses).mean()


EXACT: dict[str, Loss] = {
    "cross entropy": lambda own, other, labels: (
        torch.exp(own).sum(dim=1).log().mean() - own[torch.arange(len(own)), labels].mean()
    ),
    "response": lambda own, other, labels: _divergence(own, other, 1.0),
    "self": lambda own, other, labels: _divergence(own, other, TEMPERATURE),
    "triplet": lambda own, other, labels: _triplet(own, labels),
    "distance": lambda own, other, labels: reference.distance_loss(own, other),
    "angle": lambda own, other, labels: reference.angle_loss(own, other),
}


def losses(device: torch.device, *, compiled: bool = True, seed: int = 0) -> Part:
    """Compare every loss and its gradient with the float64 reference.

    Args:
        device: where the losses are computed.
        compiled: whether to compile them as well, which takes most of a minute on a CPU.
        seed: of the random numbers.
    """
    rows = []
    for precision, dtype in DTYPES.items():
        own, other = (
            torch.randn(BATCH, WIDTH, generator=generator(seed, "check", side)).to(dtype) for side in (0, 1)
        )
        labels = torch.arange(BATCH) % 8
        exact = {name: _exact(loss, own, other, labels) for name, loss in EXACT.items()}
        for mode in ("eager", "compiled") if compiled else ("eager",):
            try:
                found = measure(own.to(device), other.to(device), labels.to(device), compiled=mode == "compiled")
            except Exception as error:
                if mode == "eager":
                    raise
                # Without a compiler, or on a device that it does not know, anything may come.
                what = f"all losses, {precision}, compiled"
                rows.append(Row(what=what, found=failure(error), verdict="not possible here"))
                continue
            rows += [
                judged(f"{name}, {precision}, {mode}", found[name], exact[name], precision) for name in found
            ]
    return Part(title="2 losses", rule=RULE, rows=rows)


def measure(own: Tensor, other: Tensor, labels: Tensor, *, compiled: bool) -> dict[str, tuple[Tensor, Tensor]]:
    """Value and gradient of each loss.

    Args:
        own, other: (B, D), on the device.
        labels: (B,).
        compiled: whether to compile the plain losses, and the inner loop of the relation losses.

    Returns: name -> the scalar, and its gradient with respect to `own`, both in float64 on the CPU.
    """
    leaves = {name: own.clone().requires_grad_() for name in EXACT}

    def plain(*sides: Tensor) -> list[Tensor]:
        return [loss(side, other, labels) for side, loss in zip(sides, PLAIN.values(), strict=True)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, about its compiler
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        function: Callable[..., list[Tensor]] = torch.compile(plain, dynamic=False) if compiled else plain
        values = dict(zip(PLAIN, function(*(leaves[name] for name in PLAIN)), strict=True))
        for name in ("distance", "angle"):
            wanted: dict[str, Any] = {"distance": name == "distance", "angle": name == "angle"}
            pair = [leaves[name], other]
            values[name] = getattr(relation_losses(pair, compiled=compiled, **wanted), name)[0]
        torch.stack([value.float() for value in values.values()]).sum().backward()
    return {name: (value.detach().double().cpu(), _gradient(leaves[name])) for name, value in values.items()}


def _exact(loss: Loss, own: Tensor, other: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = own.double().requires_grad_()
    value = loss(leaf, other.double(), labels)
    value.backward()
    return value.detach(), _gradient(leaf)


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad.double().cpu()


def judged(what: str, found: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor], precision: str) -> Row:
    """A row with the relative errors of a value and its gradient.

    Args:
        what: the name of the row.
        found, exact: value and gradient.
        precision: fp32 or bf16, which decides the tolerance.
    """
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
    allowed = TOLERANCE[precision]
    good = all(error <= bound for error, bound in zip(errors, allowed, strict=True))  # NaN is not good
    return Row(
        what=what,
        found=f"value {errors[0]:.1e}, gradient {errors[1]:.1e}",
        expected=f"at most {allowed[0]:.1e}, {allowed[1]:.1e}",
        verdict="ok" if good else "off",
        numbers={
            name: value
            for name, value in zip(
                ("value", "gradient", "value_allowed", "gradient_allowed"), (*errors, *allowed), strict=True
            )
            if isfinite(value)
        },
    )
