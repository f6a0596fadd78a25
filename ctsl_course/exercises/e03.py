"""Exercises of notebook 03: distances and angles, their losses and their price."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import Tried, equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_lib.losses.functional import distance_loss
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
    equals(answer(f), relative_distances(f), mistakes, what="psi_D")


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


def my_distance_loss(psi: Tensor, target_psi: Tensor) -> Tensor:
    """L_DD (03.2) from two (B, B) matrices of relative distances."""
    raise NotImplementedError


def distance_right(psi: Tensor, target_psi: Tensor) -> Tensor:
    """Huber with delta 1; a mean over ordered pairs of different images."""
    batch = len(psi)
    return F.huber_loss(psi, target_psi, reduction="sum") / (batch * (batch - 1))


def distance_squared(psi: Tensor, target_psi: Tensor) -> Tensor:
    batch = len(psi)
    return F.mse_loss(psi, target_psi, reduction="sum") / (batch * (batch - 1))


def distance_with_diagonal(psi: Tensor, target_psi: Tensor) -> Tensor:
    return F.huber_loss(psi, target_psi)


def distance_half(psi: Tensor, target_psi: Tensor) -> Tensor:
    batch = len(psi)
    return F.huber_loss(psi.triu(), target_psi.triu(), reduction="sum") / (batch * (batch - 1))


def distance_agrees(answer: Tried) -> None:
    f, g = some(5, 3) ** 3, some(5, 8, seed=1)
    psi, target, right = relative_distances(f), relative_distances(g), distance_loss(f, g)
    mistakes = {
        "this is the mean square: Huber is x²/2 near zero and straight beyond 1": distance_squared(psi, target),
        "this is half the square everywhere: beyond 1 Huber is straight": distance_squared(psi, target) / 2,
        "your mean includes the diagonal: divide by B(B - 1), not by B²": 4 / 5 * right,
        "each pair counts twice in the sum, once above and once below the diagonal; or divide by half as much": right
        / 2,
        "this is the sum over the pairs: take their mean": 20 * right,
    }
    equals(answer(psi, target), right, mistakes, what="the loss of 5 images")


def distance_is_even(answer: Tried) -> None:
    psi, target = relative_distances(some(5, 3)), relative_distances(some(5, 3, seed=1))
    equals(
        answer(target, psi), answer(psi, target), what="the loss with the peers swapped (it must be symmetric)"
    )
    equals(answer(psi, psi), 0.0, what="the loss of equal geometries")


code(
    "03.3",
    "The distance loss",
    minutes=8,
    difficulty="*",
    text="Write (03.2) from two matrices of relative distances. `F.huber_loss` has a `reduction`.",
    hints=(
        "The diagonal is zero in both matrices. It adds nothing to the sum, but may spoil the mean.",
        '`F.huber_loss(..., reduction="sum")`, divided by the number of ordered pairs.',
    ),
    stub=my_distance_loss,
    solution=distance_right,
    wrong={
        distance_squared: "mean square",
        distance_with_diagonal: "includes the diagonal",
        distance_half: "each pair counts twice",
    },
    checks={"five images": distance_agrees, "symmetry and zero": distance_is_even},
    why="At B = 32 the mean over B² is only 3 % too small: no curve would show it, a pencil does.",
)


def my_cosine(a: float, b: float, c: float) -> float:
    """The cosine of the angle between the sides a and b of a triangle; c is the third side."""
    raise NotImplementedError


def cosine_right(a: float, b: float, c: float) -> float:
    """The law of cosines."""
    return (a**2 + b**2 - c**2) / (2 * a * b)


def cosine_of_another_corner(a: float, b: float, c: float) -> float:
    return (b**2 + c**2 - a**2) / (2 * b * c)


def cosine_without_two(a: float, b: float, c: float) -> float:
    return (a**2 + b**2 - c**2) / (a * b)


def cosine_as_angle(a: float, b: float, c: float) -> float:
    return math.acos(cosine_right(a, b, c))


def cosine_agrees(answer: Tried) -> None:
    a, b, c = 4.0, 5.0, 3.0
    mistakes = {
        "this is the angle at another corner: c lies opposite": [cosine_right(b, c, a), cosine_right(c, a, b)],
        "the law of cosines has 2ab below the line": [8 / 5],
        "this is the angle, its cosine is asked for": [math.acos(0.8)],
    }
    found = float(answer(a, b, c))
    for words, values in mistakes.items():
        require(all(abs(found - value) > 1e-6 for value in values), words)
    equals(found, 0.8, what="the cosine between the sides 4 and 5 of a 3-4-5 triangle")
    equals(float(answer(3.0, 4.0, 5.0)), 0.0, what="the cosine of the right angle")


code(
    "03.4",
    "Do angles add anything?",
    minutes=8,
    difficulty="**",
    text=r"""
        Compute the cosine of an angle from the three sides of a triangle alone. What follows for $L_{AD}$ if
        $L_{DD} = 0$? Then why use both losses?
    """,
    hints=("The law of cosines.", "$c^2 = a^2 + b^2 - 2ab \\cos$, solved for the cosine."),
    stub=my_cosine,
    solution=cosine_right,
    wrong={
        cosine_of_another_corner: "at another corner",
        cosine_without_two: "2ab",
        cosine_as_angle: "this is the angle",
    },
    checks={"the 3-4-5 triangle": cosine_agrees},
    why=r"""
        Distances determine angles: if $L_{DD} = 0$, then $L_{AD} = 0$. The two differ on the way there: a long
        distance weighs much in $L_{DD}$, while in $L_{AD}$ each direction counts the same, near or far. Angles,
        in turn, determine the shape up to its scale, unless all images lie on one line: 0, 1, 3 and 0, 2, 3 have the
        same angles.
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
