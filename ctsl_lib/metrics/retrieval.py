"""Person re-identification: rank a gallery for each query, and judge the rankings by CMC and mAP.

The protocol is Market-1501's (Zheng et al. 2015, "Scalable Person Re-identification: A Benchmark", ICCV). For each
query, gallery images of the same person *by the same camera* are ignored, because finding the next video frame is
too easy. Images of identity -1 (junk) are ignored for every query. Images of identity 0 (distractors) are ranked and
always count as wrong. An image that is not ignored is *valid* for the query, and *right* if it shows its person.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.data.specs import Metric
from ctsl_lib.data.types import DISTRACTOR, JUNK
from ctsl_lib.errors import NonFiniteInputError

CHUNK = 128
"""How many queries are ranked at once; with 16,000 gallery images they take a few tens of MiB."""


class Labelled(NamedTuple):
    """Embeddings (N, D) with the identity and the camera of each image, both (N,) int64."""

    embedding: Tensor
    identity: Tensor
    camera: Tensor


class RankedQuery(NamedTuple):
    """The nearest valid gallery images of a query, best first."""

    gallery: Tensor
    """(k,) indices of these images in the gallery."""
    right: Tensor
    """(k,) whether each shows the person of the query."""


def retrieval_metrics(
    query: Labelled, gallery: Labelled, *, metric: Metric = "cosine", ranks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    r"""CMC and mean average precision (mAP).

    For query q let r_1 < ... < r_m be the ranks, counted from 1, of the right images among the valid ones.

    .. math:: \mathrm{CMC}_k = \mathrm{mean}_q [r_1 \le k], \quad
              \mathrm{mAP} = \mathrm{mean}_q\, \frac1m \sum_{i=1}^m \frac{i}{r_i}

    Of two images at the same computed distance, the one that comes first in the gallery ranks first. (Equal embeddings
    may be rounded to unequal cosine distances.) A query without a right image is left out of both means. (The first
    published code for this data set computed the average precision by trapezoids, which gives slightly different
    numbers; later code uses the sum above.)

    Args:
        query, gallery: embeddings of one width, with identities and cameras.
        metric: the distance that the gallery is ranked by.
        ranks: the k of CMC.

    Returns: `rank1`, `rank5`, ... and `mAP` in percent, and `queries`, the number of queries in the means.
    Raises: ValueError on an unknown metric, shapes that do not fit, an empty query or gallery set, or if no query has a
        right image; NonFiniteInputError on embeddings that are not finite.
    Source: Zheng et al. 2015, as above.
    """
    _check(query, gallery, metric)
    precisions, firsts = [], []
    for block in _distances(query, gallery, metric):
        for ranks_of_right in _ranks_of_right(*block):
            if ranks_of_right:
                precisions.append(fmean(i / rank for i, rank in enumerate(ranks_of_right, start=1)))
                firsts.append(ranks_of_right[0])
    if not firsts:
        raise ValueError("no query counts: none has a gallery image of the same person by another camera")
    metrics = {f"rank{k}": 100 * fmean(first <= k for first in firsts) for k in ranks}
    return metrics | {"mAP": 100 * fmean(precisions), "queries": float(len(firsts))}


def ranked_gallery(query: Labelled, gallery: Labelled, k: int, *, metric: Metric = "cosine") -> list[RankedQuery]:
    """The nearest valid gallery images of each query, for pictures.

    Args:
        query, gallery, metric: see `retrieval_metrics`.
        k: how many images for each query; fewer are returned if fewer are valid.

    Returns: one ranking for each query. Raises: ValueError on input that does not fit.
    """
    _check(query, gallery, metric)
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    rankings = []
    for distance, right, valid in _distances(query, gallery, metric):
        order = distance.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)[:, :k]
        for row in range(len(order)):
            kept = order[row][valid[row, order[row]]]
            rankings.append(RankedQuery(kept, right[row, kept]))
    return rankings


def _distances(query: Labelled, gallery: Labelled, metric: Metric) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For a few queries at a time three (n, G) tensors: numbers that rank the gallery, what is right, what is valid.

    The numbers are cosine distances, 1 - x.q, or |x|^2 / 2 - x.q, which ranks like the Euclidean distance: it is half
    the squared distance |x - q|^2 without |q|^2 / 2, which is the same for the whole gallery.
    """
    prepared: Callable[[Tensor], Tensor] = F.normalize if metric == "cosine" else _centring(gallery.embedding)
    images = prepared(gallery.embedding.float())
    start_at = 1 if metric == "cosine" else _half_squares(images)
    for start in range(0, len(query.embedding), CHUNK):
        part = slice(start, start + CHUNK)
        own = prepared(query.embedding[part].float())
        distance = start_at - (images @ own.T).T.contiguous()  # faster than own @ images.T
        same = query.identity[part, None] == gallery.identity
        valid = ~(same & (query.camera[part, None] == gallery.camera)) & (gallery.identity != JUNK)
        yield distance, same & valid & (gallery.identity != DISTRACTOR), valid


def _centring(images: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that subtracts one centre from all embeddings. Distances stay the same, but squares keep more digits.

    The centre is the median of about a hundred images. A single far image cannot move it and, unlike the mean, it is
    a whole number if all values are, so that equal distances stay equal after rounding.
    """
    centre = images[:: len(images) // 100 + 1].float().median(dim=0).values
    return lambda points: points - centre


def _half_squares(points: Tensor) -> Tensor:
    """Half the squared length of each point; a few at a time to save memory. An inner product would round more."""
    return torch.cat([some.square().sum(dim=1) for some in points.split(CHUNK)]) / 2


def _ranks_of_right(distance: Tensor, right: Tensor, valid: Tensor) -> list[list[int]]:
    """For each query the ranks, counted from 1, of its right gallery images.

    A query has few of them, so counting the images that rank before each is much cheaper than sorting the gallery.
    """
    # Invalid images become NaN: a comparison with NaN is false, so they are never counted as nearer than an image.
    rows = distance.masked_fill(~valid, torch.nan).cpu().numpy()  # NumPy counts several times faster than torch
    chosen = [row.nonzero()[:, 0].tolist() for row in right.cpu()]
    return [sorted(_rank(row, index) for index in indices) for row, indices in zip(rows, chosen, strict=True)]


def _rank(row: np.ndarray, index: int) -> int:
    """The rank, counted from 1, of one image: those before it are nearer, or as near and earlier in the gallery."""
    own = row[index]
    return 1 + int(np.count_nonzero(row[:index] <= own) + np.count_nonzero(row[index + 1 :] < own))


def _check(query: Labelled, gallery: Labelled, metric: Metric) -> None:
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}; got {metric!r}")
    for name, images in (("query", query), ("gallery", gallery)):
        if images.embedding.ndim != 2 or not len(images.embedding):
            raise ValueError(f"{name} needs embeddings (N, D), N >= 1, got shape {tuple(images.embedding.shape)}")
        if not images.embedding.shape[:1] == images.identity.shape == images.camera.shape:
            identity, camera = tuple(images.identity.shape), tuple(images.camera.shape)
            raise ValueError(
                f"{name} needs an identity (N,) and a camera (N,) for each of its {len(images.embedding)} embeddings, "
                f"got shapes {identity} and {camera}"
            )
        # Checking the norms takes less memory than checking all values: that would double the memory in use.
        if not torch.isfinite(torch.linalg.vector_norm(images.embedding.float(), dim=1)).all():
            raise NonFiniteInputError(f"{name} embeddings hold values that are not finite or too large to square")
    if query.embedding.shape[1] != gallery.embedding.shape[1]:
        widths = [images.embedding.shape[1] for images in (query, gallery)]
        raise ValueError(f"query and gallery must have one width, got {widths[0]} and {widths[1]}")
