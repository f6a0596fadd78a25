"""Exercises of notebook 03: distances and angles, their losses and their price."""

import torch
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.reference import relative_distances

pencil(
    "03.1",
    "Three images on a line",
    minutes=10,
    difficulty="*",
    text=r"""
        Peer $k$ places three images at 0, 1 and 3 on a line, peer $j$ at the corners of an equilateral triangle.
        Work out $L_{DD}$ and $L_{AD}$. Where does the straight part of the Huber function come in?
    """,
    hints=(
        "The distances are 1, 3 and 2, and their mean is 2. On a line a cosine is 1 or −1.",
        "Differences of $\\psi_D$: −½, ½, 0. Of the cosines: ½, ½ and −3/2; the last one is beyond 1.",
    ),
    name="my_losses",
    answer={"L_DD": 1 / 12, "L_AD": 5 / 12},
    wrong=[
        ({"L_DD": 1 / 4}, "L_DD is a sum over the three pairs: take the mean"),
        ({"L_DD": 1 / 6}, "the half is missing: for small x the Huber function is x²/2, not x²"),
        ({"L_AD": 11 / 24}, "beyond 1 the Huber function is straight: |x| - 1/2, and not x²/2"),
        ({"L_AD": 5 / 4}, "L_AD is a sum over the three corners: take the mean"),
    ],
    why=r"""
        $\psi_D = \tfrac12, \tfrac32, 1$, so $L_{DD} = \tfrac13 (\tfrac18 + \tfrac18 + 0) = \tfrac1{12}$. The
        cosine in the middle differs by $\tfrac32$, which costs $\tfrac32 - \tfrac12 = 1$: $L_{AD} = \tfrac13
        (\tfrac18 + \tfrac18 + 1) = \tfrac5{12}$. Width 1 against width 2 is no problem.
    """,
)


def my_relative_distances(f: Tensor) -> Tensor:
    """psi_D (03.1) of (B, D) embeddings: the (B, B) distances in units of their mean."""
    raise NotImplementedError


def relative_right(f: Tensor) -> Tensor:
    """The mean runs over pairs of two different images; no zero reaches the root."""
    squares = (f[:, None] - f[None]).square().sum(dim=2)
    safe = torch.where(squares > 0, squares, 1)
    distances = torch.where(squares > 0, safe.sqrt(), 0)
    return distances / (distances.sum() / (len(f) * (len(f) - 1)))


def relative_with_diagonal(f: Tensor) -> Tensor:
    distances = (f[:, None] - f[None]).norm(dim=2)
    return distances / distances.mean()


def relative_squared(f: Tensor) -> Tensor:
    squares = (f[:, None] - f[None]).square().sum(dim=2)
    return squares / (squares.sum() / (len(f) * (len(f) - 1)))


def relative_with_root(f: Tensor) -> Tensor:
    distances = (f[:, None] - f[None]).square().sum(dim=2).sqrt()
    return distances / (distances.sum() / (len(f) * (len(f) - 1)))


def relative_absolute(f: Tensor) -> Tensor:
    return torch.cdist(f, f)


def relative_with_fixed_mean(f: Tensor) -> Tensor:
    distances = torch.cdist(f, f)
    return distances / (distances.sum() / (len(f) * (len(f) - 1))).detach()


def relative_agrees(answer: Tried) -> None:
    f = 3 * some(6, 4)
    squares = torch.cdist(f, f) ** 2
    mistakes = {
        "your mean includes the diagonal: the B distances of an image from itself do not count": (
            relative_distances(f) * 6 / 5
        ),
        "these are squared distances: take the root": squares / squares.sum() * 30,
        "the distances are not divided by their mean": torch.cdist(f, f),
    }
    found = answer(f)
    equals(found, relative_distances(f), mistakes, what="psi_D")
    require(
        (found.diagonal() == 0).all(), "the diagonal is not exactly zero: an image has no distance from itself"
    )


def relative_ignores_scale(answer: Tried) -> None:
    f = some(6, 4)
    equals(answer(5 * f + 2), answer(f), what="psi_D of embeddings five times as large and shifted")


def relative_has_a_gradient(answer: Tried) -> None:
    f = some(6, 4).requires_grad_()
    slope = gradient((answer(f) ** 2).sum(), f, "the sum of psi_D squared")
    require(
        torch.isfinite(slope).all(),
        "right in value, but its gradient is NaN: the root has no slope at 0, on the diagonal; guard its input",
    )
    right = gradient((relative_distances(f) ** 2).sum(), f)
    equals(slope, right, what="the gradient (the mean distance moves with the embeddings, too)", rel=1e-3)


code(
    "03.2",
    "Distances in units of their mean",
    minutes=15,
    difficulty="**",
    text="Write (03.1) for a batch of embeddings, this time without `norm` and `cdist`: by squares, a sum and `sqrt`. "
    "The result is a matrix with a zero diagonal, and it must be trainable, although the root has no slope at 0.",
    hints=(
        "Which of the B² entries are distances between two different images?",
        "Divide the sum by B(B − 1). For the gradient replace the zeros under the root by 1, and the roots by 0 again.",
    ),
    stub=my_relative_distances,
    solution=relative_right,
    wrong={
        relative_with_diagonal: "includes the diagonal",
        relative_squared: "squared distances",
        relative_with_root: "its gradient is NaN",
        relative_absolute: "not divided by their mean",
        relative_with_fixed_mean: "the mean distance moves",
    },
    checks={
        "the values": relative_agrees,
        "shift and scale": relative_ignores_scale,
        "a finite gradient": relative_has_a_gradient,
    },
    why="""
        `norm` has a guarded gradient, `sqrt` has none: at 0 its slope is infinite, and infinity times 0 is NaN.
        Notebook 07, section 5, has more of it.
    """,
)


pencil(
    "03.5",
    "The price of angles",
    minutes=5,
    difficulty="*",
    text="""
        A batch has 64 images. How many ordered triples of distinct images does the angle loss look at? And how many KiB
        does the float32 tensor of all cosines need, if it is stored as B × B × B numbers?
    """,
    hints=(
        "The second image may not be the first one, the third none of the two.",
        "64 · 63 · 62; and 4 bytes a number.",
    ),
    name="my_price",
    answer={"triples": 249984, "KiB": 1024},
    wrong=[
        ({"triples": 262144}, "these are all triples, with repetition: the images must be distinct"),
        ({"triples": 41664}, "these are unordered triples: the corner and the order of the other two count"),
        ({"triples": 124992}, "you count u and w once only; the formula counts both orders"),
        ({"KiB": 256}, "a float32 number has 4 bytes"),
        ({"KiB": 1048576}, "these are bytes; a KiB has 1,024 of them"),
    ],
    tolerance=0.0005,
    why="At B = 256 there are 16,581,120 triples and 64 MiB for each peer: the price grows with the cube of the batch.",
)
