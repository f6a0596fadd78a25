"""Exercises of notebook 01: temperature and KL divergence."""

import math

import torch
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried

pencil(
    "01.1",
    "Soften an answer",
    minutes=4,
    difficulty="*",
    text=r"""
        Let $e^z = (81, 9, 1)$. What is $p^t$ at $t = 2$? Give the three probabilities.
    """,
    hints=(
        "Dividing the logits by 2 does something simple to their exponentials.",
        "Square roots: $e^{z/2} = (9, 3, 1)$. Then divide by the sum.",
    ),
    name="my_answer",
    answer=(9 / 13, 3 / 13, 1 / 13),
    wrong=[
        ((81 / 91, 9 / 91, 1 / 91), "this is the answer at t = 1"),
        (
            (0.9877, 0.0122, 0.00015),
            "this is t = 1/2: dividing by 2 takes the root of each number, not its square",
        ),
        ((9, 3, 1), "these are the exponentials; divide by their sum, so that they are probabilities"),
    ],
    why=r"""
        $(9, 3, 1) / 13 = (0.692, 0.231, 0.077)$. At $t = 4$ one takes the root once more: $(3, \sqrt3, 1)/5.732$.
    """,
)

pencil(
    "01.2",
    "Two directions of KL",
    minutes=6,
    difficulty="*",
    text=r"""
        Let $q = (\frac12, \frac12)$ and $p = (\frac14, \frac34)$. Work out both directions of the divergence, in nats.
    """,
    hints=(
        "The distribution that comes first is the weight in the sum, and the numerator in the logarithm.",
        r"$\mathrm{KL}(q\|p) = \frac12 \ln \frac{1/2}{1/4} + \frac12 \ln \frac{1/2}{3/4}$.",
    ),
    name="my_kl",
    answer={"KL(q||p)": 0.5 * math.log(4 / 3), "KL(p||q)": 0.75 * math.log(1.5) - 0.25 * math.log(2)},
    wrong=[
        ({"KL(q||p)": 0.1308, "KL(p||q)": 0.1438}, "the two directions are swapped: the first one is the weight"),
        ({"KL(q||p)": 0.2075}, "KL(q||p) is in units of ln 2 (bits)"),
        ({"KL(p||q)": 0.1438}, "KL(p||q) is no other number than KL(q||p) in your answer: KL is not symmetric"),
    ],
    why=r"""
        $\frac12 \ln 2 + \frac12 \ln \frac23 = \frac12 \ln \frac43 = 0.144$ and
        $\frac14 \ln \frac12 + \frac34 \ln \frac32 = 0.131$.
    """,
)


def my_soft_answer(logits: Tensor, t: float) -> Tensor:
    """The (B, C) probabilities at temperature t, from `exp` and sums alone."""
    raise NotImplementedError


def soft_right(logits: Tensor, t: float) -> Tensor:
    """Subtracting the largest logit changes nothing but keeps `exp` finite."""
    scaled = logits / t
    e = (scaled - scaled.amax(dim=1, keepdim=True)).exp()
    return e / e.sum(dim=1, keepdim=True)


def soft_multiplied(logits: Tensor, t: float) -> Tensor:
    e = (logits * t).exp()
    return e / e.sum(dim=1, keepdim=True)


def soft_after(logits: Tensor, t: float) -> Tensor:
    return logits.softmax(dim=1) / t


def soft_overflow(logits: Tensor, t: float) -> Tensor:
    e = (logits / t).exp()
    return e / e.sum(dim=1, keepdim=True)


def soft_over_batch(logits: Tensor, t: float) -> Tensor:
    e = (logits / t).exp()
    return e / e.sum(dim=0, keepdim=True)


def soft_of_the_batch(logits: Tensor, t: float) -> Tensor:
    e = ((logits - logits.max()) / t).exp()
    return e / e.sum(dim=1, keepdim=True)


def soft_agrees(answer: Tried) -> None:
    z = 2 * some(4, 5)
    mistakes = {
        "you multiply by t: a higher temperature then sharpens; divide": (3 * z).softmax(dim=1),
        "you divide the probabilities by t; divide the logits, before the softmax": z.softmax(dim=1) / 3,
        "your sum runs over the images (dim=0), it must run over the classes (dim=1)": (z / 3).softmax(dim=0),
        "the temperature is not used": z.softmax(dim=1),
    }
    equals(answer(z, 3.0), (z / 3).softmax(dim=1), mistakes, what="the answer at t = 3")


def soft_stays_finite(answer: Tried) -> None:
    z = torch.tensor([[1000.0, 999.0, -1000.0], [0.0, 1.0, 2.0]])
    found = answer(z, 1.0)
    require(
        torch.isfinite(found).all(),
        "right for small logits, but exp overflows for a logit of 1000: subtract each row's largest logit first",
    )
    equals(found, z.softmax(dim=1), what="the answer for a logit of 1000")


code(
    "01.3",
    "A softmax with a temperature",
    minutes=10,
    difficulty="**",
    text="""
        Write formula (01.1) with `exp` and sums, without `softmax`. It must also survive a logit of 1000, for which
        `exp` is infinite.
    """,
    hints=(
        "Which number can you add to all logits of an image without changing its answer?",
        "Subtract each row's maximum, `amax(dim=1, keepdim=True)`, before you call `exp`.",
    ),
    stub=my_soft_answer,
    solution=soft_right,
    wrong={
        soft_multiplied: "a higher temperature then sharpens",
        soft_after: "before the softmax",
        soft_overflow: "exp overflows",
        soft_over_batch: "over the images (dim=0)",
        soft_of_the_batch: "each row's largest logit",
    },
    checks={"formula (01.1) at t = 3": soft_agrees, "logits of 1000": soft_stays_finite},
    why="Every library subtracts the maximum in just this way. The answer stays the same, the overflow is gone.",
)
