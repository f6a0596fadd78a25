"""Exercises of notebook 08: Gram matrices, a gradient by hand, the price of differences."""

import torch
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried, needs_no_autograd
from ctsl_lib.losses.functional import distance_loss, relative_distances


def my_gram_distances(X: Tensor) -> Tensor:
    """The (B, B) *squared* distances of (B, D) embeddings from one matrix product, exact even far from the origin."""
    raise NotImplementedError


def gram_right(X: Tensor) -> Tensor:
    """Centre first; rounding may leave a tiny negative number, which no square is."""
    X = X - X.mean(dim=0)
    G = X @ X.T
    norms = G.diagonal()
    return (norms[:, None] + norms - 2 * G).clamp(min=0)


def gram_uncentred(X: Tensor) -> Tensor:
    G = X @ X.T
    return (G.diagonal()[:, None] + G.diagonal() - 2 * G).clamp(min=0)


def gram_unclamped(X: Tensor) -> Tensor:
    X = X - X.mean(dim=0)
    G = X @ X.T
    return G.diagonal()[:, None] + G.diagonal() - 2 * G


def gram_with_roots(X: Tensor) -> Tensor:
    return gram_right(X).sqrt()


def gram_with_one_product(X: Tensor) -> Tensor:
    X = X - X.mean(dim=0)
    G = X @ X.T
    return G.diagonal()[:, None] + G.diagonal() - G


def gram_with_one_mean(X: Tensor) -> Tensor:
    X = X - X.mean()
    G = X @ X.T
    return (G.diagonal()[:, None] + G.diagonal() - 2 * G).clamp(min=0)


def gram_agrees(answer: Tried) -> None:
    X = some(8, 5)
    squares = (X[:, None] - X[None]).square().sum(dim=2)
    G = X @ X.T
    mistakes = {
        "these are distances, squared ones are asked for": squares.sqrt(),
        "the inner product counts twice in (08.2): -2 G": gram_with_one_product(X),
        "these are the inner products: subtract them from the squared lengths": G,
    }
    equals(answer(X), squares, mistakes, what="the squared distances")


def gram_survives_a_shift(answer: Tried) -> None:
    X = some(8, 5)
    squares = (X[:, None] - X[None]).square().sum(dim=2)
    found = answer(X + 3000 * torch.tensor([1.0, -1, 2, 0, -3]))
    error = ((found - squares).abs().max() / squares.max()).item()
    require(
        error < 0.01,
        f"shifted by 3000 the worst error is {100 * error:.0f} %: subtract the batch's mean embedding first",
    )


def gram_is_not_negative(answer: Tried) -> None:
    X = some(1, 40).expand(30, 40) + 1e-4 * some(30, 40, seed=1)
    X = torch.cat([X, -X])
    lowest = answer(X).min().item()
    require(lowest >= 0, f"a squared distance is {lowest:.0e}: rounding can make it negative, so clamp at 0")


code(
    "08.1",
    "Centring",
    minutes=12,
    difficulty="**",
    text="""
        Write (08.2) with u = w for a whole batch: squared distances from a Gram matrix. Then put right what goes
        wrong in float32 where the embeddings lie far from the origin. Which of the two pictures of section 3 does
        that mend, and which not?
    """,
    hints=(
        "Distances do not change if the same vector is subtracted from all images.",
        "`X - X.mean(dim=0)` first, and `.clamp(min=0)` last.",
    ),
    stub=my_gram_distances,
    solution=gram_right,
    wrong={
        gram_uncentred: "subtract the batch's mean",
        gram_unclamped: "clamp at 0",
        gram_with_roots: "squared ones are asked for",
        gram_with_one_product: "counts twice",
        gram_with_one_mean: "mean embedding first",
    },
    checks={
        "the values": gram_agrees,
        "a shift of 3000": gram_survives_a_shift,
        "no negative square": gram_is_not_negative,
    },
    why="""
        The shift: after centring, the numbers in G are as small as the differences. Not the near-duplicates: their two
        rows of G still agree in almost all digits.
    """,
)


def my_distance_gradient(X: Tensor, target_psi: Tensor) -> Tensor:
    """Gradient of L_DD with respect to (B, D) embeddings, without autograd; target_psi is the other peer's psi_D."""
    raise NotImplementedError


def distance_gradient_right(X: Tensor, target_psi: Tensor) -> Tensor:
    """Slope of Huber, way through mu, way through the distance."""
    n = len(X)
    differences = X[:, None] - X[None]
    d = differences.square().sum(dim=2).sqrt()
    mu = d.sum() / (n * (n - 1))
    psi = d / mu
    s = (psi - target_psi).clamp(-1, 1)
    to_d = (s - (s * psi).sum() / (n * (n - 1))) / mu
    directions = differences / d.fill_diagonal_(1)[:, :, None]
    return 2 * (to_d[:, :, None] * directions).sum(dim=1) / (n * (n - 1))


def distance_gradient_fixed_mean(X: Tensor, target_psi: Tensor) -> Tensor:
    n = len(X)
    differences = X[:, None] - X[None]
    d = differences.square().sum(dim=2).sqrt()
    mu = d.sum() / (n * (n - 1))
    s = (d / mu - target_psi).clamp(-1, 1)
    return 2 * (s[:, :, None] / mu * differences / d.fill_diagonal_(1)[:, :, None]).sum(dim=1) / (n * (n - 1))


def distance_gradient_half(X: Tensor, target_psi: Tensor) -> Tensor:
    return distance_gradient_right(X, target_psi) / 2


def distance_gradient_ascent(X: Tensor, target_psi: Tensor) -> Tensor:
    return -distance_gradient_right(X, target_psi)


def distance_gradient_agrees(answer: Tried) -> None:
    X, other = some(6, 4).double() ** 3, some(6, 4, seed=1).double()
    leaf = X.clone().requires_grad_()
    right = gradient(distance_loss(leaf, other), leaf)
    psi = relative_distances(other)
    mistakes = {
        "mu is treated as a constant, but it depends on X as well": distance_gradient_fixed_mean(X, psi),
        "each pair stands twice in the sum, as (u, v) and as (v, u): yours is half of the gradient": right / 2,
        "the mean over the pairs is missing": 30 * right,
    }
    equals(answer(X, psi), right, mistakes, what="the gradient")
    needs_no_autograd(answer, X, psi)


code(
    "08.2",
    "The distance loss's gradient by hand",
    minutes=30,
    difficulty="***",
    text="""
        Write the gradient of the distance loss in the way of section 4: slopes of the Huber function towards psi_D, the
        way through mu, the way through each distance. The check compares with autograd in float64.
    """,
    hints=(
        "Three steps: Huber's slope; mu, to which every distance belongs; and the direction of each difference.",
        r"With $\psi = d/\mu$ and slopes $s$: $\partial d_{uv} = (s_{uv} - \overline{s\psi})/\mu$, the bar a mean over "
        r"pairs. It pulls at $u$ in the direction $(f_u - f_v)/d_{uv}$, and each pair stands twice in the sum."
        " At the end divide by the $B(B-1)$ pairs.",
    ),
    stub=my_distance_gradient,
    solution=distance_gradient_right,
    wrong={
        distance_gradient_fixed_mean: "mu is treated as a constant",
        distance_gradient_half: "stands twice",
        distance_gradient_ascent: "wrong sign",
    },
    checks={"against autograd": distance_gradient_agrees},
    why="""
        The way through mu makes the gradient orthogonal to X itself: scaling all embeddings changes nothing, so nothing
        pulls in that direction. Try `(gradient * (X - X.mean(dim=0))).sum()`.
    """,
)

pencil(
    "08.3",
    "The price of differences",
    minutes=5,
    difficulty="*",
    text="""
        A batch has B = 256 embeddings of width D = 512 in float32. How many MiB do all differences need (B · B ·
        D numbers), how many all cosines (B³), and how many one Gram matrix (B²)?
    """,
    hints=("4 bytes a number; a MiB has 2²⁰ bytes.", "256 = 2⁸ and 512 = 2⁹, so everything is a power of two."),
    name="my_memory",
    answer={"differences": 128, "cosines": 64, "Gram matrix": 0.25},
    wrong=[
        (
            {"differences": 32, "cosines": 16, "Gram matrix": 0.0625},
            "these are millions of numbers: each has 4 bytes",
        ),
        ({"differences": 134.2, "cosines": 67.1}, "these are megabytes of 10⁶ bytes; a MiB has 2²⁰"),
        (
            {"differences": 0.5},
            "differences: this is B · D, the embeddings themselves; there are B · B differences",
        ),
    ],
    tolerance=0.004,
    why="2⁸⁺⁸⁺⁹⁺² = 2²⁷ bytes are 128 MiB, 2²⁶ are 64 MiB, 2¹⁸ are a quarter. Only the last one is worth keeping.",
)
