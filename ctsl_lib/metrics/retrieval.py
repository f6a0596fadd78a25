"""Person re-identification: rank a gallery for each query, and judge the rankings by CMC and mAP.

The protocol is Market-1501's (Zheng et al. 2015, "Scalable Person Re-identification: A Benchmark", ICCV). For a
query, gallery images of the same person *by the same camera* are taken out: finding the next frame is no feat.
Images of identity -1 (junk) are taken out for every query. Images of identity 0 (distractors) stay, always wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.data.specs import Metric
from ctsl_lib.data.types import DISTRACTOR, JUNK

CHUNK = 128
"""Queries ranked at once: with 16,000 gallery images a few tens of MiB."""


class Labelled(NamedTuple):
    """Embeddings (N, D) with each image's identity and camera, (N,) int64."""

    embedding: Tensor
    identity: Tensor
    camera: Tensor


class RankedQuery(NamedTuple):
    """The nearest valid gallery images of a query, best first."""

    gallery: Tensor
    """Their indices."""
    right: Tensor
    """Whether each shows the query's person."""


def retrieval_metrics(
    query: Labelled, gallery: Labelled, *, metric: Metric = "cosine", ranks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    r"""CMC and mean average precision.

    For query q let r_1 < ... < r_m be the ranks, from 1, of its person's gallery images among all valid ones.

    .. math:: \mathrm{CMC}_k = \mathrm{mean}_q [r_1 \le k], \quad
              \mathrm{mAP} = \mathrm{mean}_q\, \frac1m \sum_{i=1}^m \frac{i}{r_i}

    Of images at the same distance the one that comes first in the gallery ranks first. A query whose person no
    valid gallery image shows does not count. (The data set's first code took the area under the precision-recall
    curve by trapezoids, which gives slightly other numbers; the sum above is what later code uses.)

    Args:
        query, gallery: embeddings with identities and cameras; both of one width.
        metric: cosine distance, or Euclidean.
        ranks: the k of CMC.

    Returns: `rank1`, `rank5`, ..., `mAP` in percent, and `queries`, how many counted.
    Raises: ValueError on unequal widths, non-finite embeddings, empty parts, or where no query counts.
    """
    _check(query, gallery)
    precisions, firsts = [], []
    for block in _distances(query, gallery, metric):
        for found in _ranks_of_right(*block):
            if found:
                precisions.append(fmean(i / rank for i, rank in enumerate(found, start=1)))
                firsts.append(found[0])
    if not firsts:
        raise ValueError("no query counts: none has a gallery image of the same person by another camera")
    metrics = {f"rank{k}": 100 * fmean(first <= k for first in firsts) for k in ranks}
    return metrics | {"mAP": 100 * fmean(precisions), "queries": float(len(firsts))}


def ranked_gallery(query: Labelled, gallery: Labelled, k: int, *, metric: Metric = "cosine") -> list[RankedQuery]:
    """The k nearest valid gallery images of each query, for pictures; fewer where there are not so many."""
    _check(query, gallery)
    found = []
    for distance, right, valid in _distances(query, gallery, metric):
        order = distance.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)[:, :k]
        for row in range(len(order)):
            kept = order[row][valid[row, order[row]]]
            found.append(RankedQuery(kept, right[row, kept]))
    return found


def _distances(query: Labelled, gallery: Labelled, metric: Metric) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For some queries at a time (n, G): numbers in the order of distances; what is right, what is valid."""
    prepared: Callable[[Tensor], Tensor] = F.normalize if metric == "cosine" else _centring(gallery.embedding)
    images = prepared(gallery.embedding.float())
    # Less x.q this is the cosine distance, or half the squared Euclidean one short of a term of the query alone.
    start_at = 1 if metric == "cosine" else _half_squares(images)
    for start in range(0, len(query.embedding), CHUNK):
        part = slice(start, start + CHUNK)
        own = prepared(query.embedding[part].float())
        distance = start_at - (images @ own.T).T.contiguous()  # faster than own @ images.T
        same = query.identity[part, None] == gallery.identity
        valid = ~(same & (query.camera[part, None] == gallery.camera)) & (gallery.identity != JUNK)
        yield distance, same & valid & (gallery.identity != DISTRACTOR), valid


def _centring(images: Tensor) -> Callable[[Tensor], Tensor]:
    """A shift, common to all and so without effect on distances: squares lose digits to what all have in common.

    The centre is the median of about a hundred images: it lies amid them wherever a single one may be and, unlike
    the mean, is whole where all values are, so that equal distances stay equal.
    """
    centre = images[:: len(images) // 100 + 1].float().median(dim=0).values
    return lambda points: points - centre


def _half_squares(points: Tensor) -> Tensor:
    """Half the square of each, some at a time for memory's sake; as an inner product it would be less exact."""
    return torch.cat([some.square().sum(dim=1) for some in points.split(CHUNK)]) / 2


def _ranks_of_right(distance: Tensor, right: Tensor, valid: Tensor) -> list[list[int]]:
    """For each query the ranks, from 1, of its right gallery images.

    They are few: to count what ranks before each is much cheaper than to sort the gallery.
    """
    # NumPy counts several times faster than torch. An invalid image is NaN, which is nearer than nothing.
    rows = distance.masked_fill(~valid, torch.nan).cpu().numpy()
    chosen = [row.nonzero()[:, 0].tolist() for row in right]
    return [sorted(_rank(row, index) for index in indices) for row, indices in zip(rows, chosen, strict=True)]


def _rank(row: np.ndarray, index: int) -> int:
    """From 1: before an image rank those that are nearer, and those that are as near and come first."""
    own = row[index]
    return 1 + int(np.count_nonzero(row[:index] <= own) + np.count_nonzero(row[index + 1 :] < own))


def _check(query: Labelled, gallery: Labelled) -> None:
    for name, side in (("query", query), ("gallery", gallery)):
        if side.embedding.ndim != 2 or not len(side.embedding):
            raise ValueError(f"{name} needs embeddings (N, D), N >= 1, got shape {tuple(side.embedding.shape)}")
        if not len(side.embedding) == len(side.identity) == len(side.camera):
            raise ValueError(
                f"{name} has {len(side.embedding)} embeddings, {len(side.identity)} identities and "
                f"{len(side.camera)} cameras"
            )
        # Of norms, since for all values at once it takes as much memory again as they do.
        if not torch.isfinite(torch.linalg.vector_norm(side.embedding.float(), dim=1)).all():
            raise ValueError(f"{name} embeddings hold values that are not finite or too large to square")
    if query.embedding.shape[1] != gallery.embedding.shape[1]:
        widths = [side.embedding.shape[1] for side in (query, gallery)]
        raise ValueError(f"query and gallery must have one width, got {widths[0]} and {widths[1]}")
