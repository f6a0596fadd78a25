"""Exercises of notebook 03 on its losses: the distance loss, and what angles add."""

import math

import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import distance_loss
from ctsl_lib.losses.reference import relative_distances


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


def distance_learns(answer: Tried) -> None:
    f, target = some(5, 3).requires_grad_(), relative_distances(some(5, 3, seed=1))
    right = gradient(distance_loss(f, some(5, 3, seed=1)), f)
    equals(gradient(answer(relative_distances(f), target), f), right, what="the gradient")


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
    checks={
        "five images": distance_agrees,
        "its gradient": distance_learns,
        "symmetry and zero": distance_is_even,
    },
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
    require(math.isfinite(found), "the cosine is not finite (NaN or infinite)")
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
