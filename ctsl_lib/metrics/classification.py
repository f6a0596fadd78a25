"""Accuracy, calibration and agreement of answers."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share of images, in percent, whose label is among the k largest logits.

    Args:
        logits: (N, C) answers.
        labels: (N,) class indices.
        k: how many of the largest logits count, from 1 to C.

    Returns: a number from 0 to 100. Raises: ValueError if k is out of range, and on shapes that do not fit.
    """
    _check(logits, labels)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k must be between 1 and the {logits.shape[1]} classes, got {k}")
    hits = (logits.topk(k, dim=1).indices == labels[:, None]).any(dim=1)
    return 100 * hits.double().mean().item()


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    r"""Mean distance between confidence and accuracy, in percent.

    .. math:: \mathrm{ECE} = \sum_m \frac{|S_m|}{N}\,\lvert \mathrm{acc}(S_m) - \mathrm{conf}(S_m) \rvert

    over equal bins S_m = (m/bins, (m+1)/bins] of the largest probability.

    Args:
        logits: (N, C) answers.
        labels: (N,) class indices.
        bins: the number of bins.

    Returns: a number from 0 to 100; 0 for perfect calibration. Raises: ValueError on shapes that do not fit.
    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    _check(logits, labels)
    confidence, answer = logits.double().softmax(dim=1).max(dim=1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = (answer == labels).double() - confidence
    # On the CPU, since a GPU adds in an order that differs from time to time.
    per_bin = torch.zeros(bins, dtype=torch.float64).index_add_(0, index.cpu(), gap.cpu())
    return 100 * per_bin.abs().sum().item() / len(labels)


def agreement(logits: Sequence[Tensor]) -> float:
    """Share of images, in percent, on which two peers give the same answer; the mean over all pairs of peers.

    `logits` holds (N, C) answers of each peer. Raises: ValueError on fewer than 2 peers, and on shapes that do not fit.
    """
    if len(logits) < 2:
        raise ValueError(f"agreement compares 2 or more peers, got {len(logits)}")
    shapes = [tuple(z.shape) for z in logits]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise ValueError(f"logits of all peers must be of one shape (N, C), N >= 1, got {shapes}")
    answers = [z.argmax(dim=1) for z in logits]
    shares = [(a == b).double().mean().item() for a, b in combinations(answers, 2)]
    return 100 * sum(shares) / len(shares)


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.numel() == 0:
        raise ValueError(
            f"logits must be (N, C) and labels (N,), N >= 1, got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
