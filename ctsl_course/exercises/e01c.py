"""Exercises of notebook 01c: calibration, intervals, agreement."""

import numpy as np
import torch
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.metrics.classification import expected_calibration_error


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


def ece_open_above(confidence: Tensor, right: Tensor, bins: int) -> float:
    """Mistake: bins without their upper end, so that images of confidence 1 are in none."""
    return ece_right(torch.where(confidence < 1, confidence, 0), right, bins)


def ece_agrees(answer: Tried) -> None:
    sure = torch.tensor([0.55, 0.70, 0.75, 0.90, 0.95], dtype=torch.float64)
    hit = torch.tensor([0, 1, 0, 1, 1])
    found = answer(sure, hit, 5)
    require(np.ndim(found) == 0 or np.size(found) == 1, "the ECE must be one number")
    require(
        float(found) == float(found), "the result is NaN: a bin without any image has no mean, so leave it out"
    )
    mistakes = {
        "this is the plain mean of the bins' gaps: weigh each with its share of the images": 0.85 / 3,
        "gaps of opposite sign cancel: take the absolute value in each bin": -0.17,
        "0.17 comes out if the absolute value is taken only at the end, or if the bins' gaps are divided by the number "
        "of bins: take it in each bin, and weigh with the share of the images": 0.17,
        "this is in percent, a share is asked for": 23,
    }
    equals(float(found), 0.23, mistakes, what="the ECE of section 1's five predictions")


def ece_counts_the_surest(answer: Tried) -> None:
    sure, hit = torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64), torch.tensor([0, 0, 1])
    found = float(answer(sure, hit, 5))
    require(abs(found - 1 / 6) > 1e-3, "images of confidence 1 are in no bin: (0.8, 1.0] has its upper end in it")
    equals(found, 5 / 6, what="the ECE of two wrong answers of confidence 1 and a right one of confidence 0.5")


def ece_agrees_with_the_library(answer: Tried) -> None:
    logits, labels = 2 * some(500, 4), torch.arange(500) % 4
    sure, said = logits.double().softmax(dim=1).max(dim=1)
    for bins in (1, 15):
        right = expected_calibration_error(logits, labels, bins=bins) / 100
        equals(float(answer(sure, (said == labels).long(), bins)), right, what=f"the ECE with {bins} bin(s)")


code(
    "01c.1",
    "How honest is a network?",
    minutes=15,
    difficulty="**",
    text="""
        Write the expected calibration error (01c.1). Then ask yourself: with one bin, what is it? And why can it
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
        ece_open_above: "has its upper end in it",
    },
    checks={
        "five predictions by hand": ece_agrees,
        "confidence 1": ece_counts_the_surest,
        "the library, 1 and 15 bins": ece_agrees_with_the_library,
    },
    why="""
        With one bin it is |accuracy − mean confidence|. Where a bin is split, gaps of opposite sign no longer cancel
        (triangle inequality), so the number can only grow: an ECE means little without its number of bins.
    """,
)

pencil(
    "01c.2",
    "How many seeds for half a standard deviation?",
    minutes=8,
    difficulty="**",
    text=r"""
        How many seeds are needed before the half width of (01c.2) is at most $s/2$? Use `stats.t.ppf(0.975, n - 1)`.
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

pencil(
    "01c.3",
    "Room to teach",
    minutes=6,
    difficulty="*",
    text=r"""
        Two peers are right on 90 % and on 80 % of the images, and their mistakes are independent. On which share of
        the images is exactly one of them right? And on which share would a pair be right that always knew whom to
        believe?
    """,
    hints=(
        "Exactly one is right in two ways: the first alone, or the second alone.",
        "Formula (01c.3) for the first question. Such a pair is wrong only where both are.",
    ),
    name="my_shares",
    answer={"exactly one": 0.9 * 0.2 + 0.1 * 0.8, "the pair": 1 - 0.1 * 0.2},
    wrong=[
        ({"exactly one": 0.18}, "this is the first alone; the second may also be right alone"),
        ({"exactly one": 0.28}, "this also counts the images on which both are wrong"),
        (
            {"the pair": 0.72},
            "this is the share on which both are right; one is enough for a pair that knows whom to believe",
        ),
    ],
    why=r"""
        $0.9 \cdot 0.2 + 0.1 \cdot 0.8 = 0.26$ and $1 - 0.1 \cdot 0.2 = 0.98$. Real peers err on the same images, so
        both shares are smaller.
    """,
)
