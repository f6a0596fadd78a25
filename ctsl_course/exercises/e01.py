"""Exercises of notebook 01: temperature, KL divergence, calibration, intervals."""

import math

import torch
from torch import Tensor

from ctsl_course.exercises.diagnose import Tried, equals, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_lib.metrics.classification import expected_calibration_error

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
    z = torch.tensor([[1000.0, 0.0, -1000.0]])
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
    },
    checks={"formula (01.1) at t = 3": soft_agrees, "logits of 1000": soft_stays_finite},
    why="Every library subtracts the maximum in just this way. The answer stays the same, the overflow is gone.",
)


def my_ece(confidence: Tensor, right: Tensor, bins: int) -> float:
    """Expected calibration error as a share. confidence: (N,) in (0, 1]; right: (N,) of 0 and 1."""
    raise NotImplementedError


def ece_right(confidence: Tensor, right: Tensor, bins: int) -> float:
    """The gap of each bin, weighed with the bin's share of the images."""
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            gap = right[inside].double().mean() - confidence[inside].double().mean()
            total += inside.double().mean().item() * abs(gap.item())
    return total


def ece_unweighted(confidence: Tensor, right: Tensor, bins: int) -> float:
    gaps = []
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            gaps.append((right[inside].double().mean() - confidence[inside].double().mean()).abs().item())
    return sum(gaps) / len(gaps)


def ece_empty_bins(confidence: Tensor, right: Tensor, bins: int) -> float:
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        gap = right[inside].double().mean() - confidence[inside].double().mean()
        total += inside.double().mean().item() * abs(gap.item())
    return total


def ece_signed(confidence: Tensor, right: Tensor, bins: int) -> float:
    return (right.double() - confidence.double()).mean().item()


def ece_agrees(answer: Tried) -> None:
    sure = torch.tensor([0.55, 0.70, 0.75, 0.90, 0.95], dtype=torch.float64)
    hit = torch.tensor([0, 1, 0, 1, 1])
    found = answer(sure, hit, 5)
    require(isinstance(found, float) or getattr(found, "numel", lambda: 0)() == 1, "the ECE must be one number")
    require(
        float(found) == float(found), "the result is NaN: a bin without any image has no mean, so leave it out"
    )
    mistakes = {
        "this is the plain mean of the bins' gaps: weigh each with its share of the images": 0.85 / 3,
        "gaps of opposite sign cancel: take the absolute value in each bin": -0.17,
        "gaps of opposite sign cancel: the absolute value belongs to each bin, not to their sum": 0.17,
        "this is in percent, a share is asked for": 23,
    }
    equals(float(found), 0.23, mistakes, what="the ECE of section 5's five predictions")


def ece_agrees_with_the_library(answer: Tried) -> None:
    logits, labels = 2 * some(500, 4), torch.arange(500) % 4
    sure, said = logits.double().softmax(dim=1).max(dim=1)
    for bins in (1, 15):
        right = expected_calibration_error(logits, labels, bins=bins) / 100
        equals(float(answer(sure, (said == labels).long(), bins)), right, what=f"the ECE with {bins} bin(s)")


code(
    "01.4",
    "How honest is a network?",
    minutes=15,
    difficulty="**",
    text="""
        Write the expected calibration error (01.7). Then ask yourself: with one bin, what is it? And why can it
        only grow when each bin is split into smaller ones?
    """,
    hints=(
        "Most bins of a good network are empty. What is the mean of nothing?",
        "Loop over bins, skip the empty ones, and add `share of images * |accuracy - mean confidence|`.",
    ),
    stub=my_ece,
    solution=ece_right,
    wrong={
        ece_unweighted: "weigh each with its share",
        ece_empty_bins: "a bin without any image",
        ece_signed: "gaps of opposite sign cancel",
    },
    checks={"five predictions by hand": ece_agrees, "the library, 1 and 15 bins": ece_agrees_with_the_library},
    why="""
        With one bin it is |accuracy − mean confidence|. Where a bin is split, gaps of opposite sign no longer cancel
        (triangle inequality), so the number can only grow: an ECE means little without its number of bins.
    """,
)

pencil(
    "01.5",
    "How many seeds for half a standard deviation?",
    minutes=8,
    difficulty="**",
    text=r"""
        How many seeds are needed before the half width of (01.8) is at most $s/2$? Use `stats.t.ppf(0.975, n - 1)`.
    """,
    hints=(
        "The table value depends on the number of seeds, so try the numbers in turn.",
        r"The smallest $n$ with $t_{0.975,\,n-1} / \sqrt n \le 0.5$.",
    ),
    name="my_seeds",
    answer=18,
    wrong=[
        (16, "this is for 1.96, the value of very many seeds; Student's value is larger"),
        (17, "with 17 seeds the half width is 0.514 s, still too much"),
        (13, "this is for a 90 % interval: 95 % leave 2.5 % on each side, so the quantile is 0.975"),
    ],
    tolerance=0.001,
    why="`next(n for n in range(2, 99) if stats.t.ppf(0.975, n - 1) / np.sqrt(n) <= 0.5)` is 18.",
)
