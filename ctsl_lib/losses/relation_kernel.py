r"""The relation losses of all peers at once: exact, fast, and without large tensors.

With centred embeddings and the Gram matrix G = X X^T, every inner product of differences is four numbers,

.. math:: \langle f_u - f_v, f_w - f_v \rangle = G_{uw} - G_{uv} - G_{vw} + G_{vv},

so distances and cosines take O(B^2 D + B^3) operations instead of O(B^3 D). The cosines are computed for a few
vertices v at a time. Their gradient is computed right away and summed into (B, B) matrices, so that no tensor of
size (B, B, D) exists and none of size (B, B, B) is kept. G and the differences of its entries are float64: in
float32 the difference of two nearly equal entries, which images that nearly coincide have, would be all rounding.
The formulas themselves are in `functional`; notebook 08 derives what is computed here.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctsl_lib.losses.checks import check_embeddings, zero_if_finite

COINCIDENT = 1e-6
"""Two images closer than this share of the batch's mean distance count as one point.

There is no direction between two images at one point, and near it the gradient, 1 / distance, has no bound.
"""
CHUNK = {"cpu": 2**16, "cuda": 2**26}
"""How many cosines are computed at once: on a CPU as many as stay in a core's cache; on a GPU half a GiB of
float64, which is all of them for B <= 400."""


class Relations(NamedTuple):
    """The relation losses of K peers: entry k is the mean of peer k's losses against each of the other peers."""

    distance: Tensor
    """(K,) distance losses; zeros if they were not asked for."""
    angle: Tensor
    """(K,) angle losses; zeros if they were not asked for."""


def relation_losses(
    embeddings: Sequence[Tensor], *, distance: bool = True, angle: bool = True, compiled: bool = False
) -> Relations:
    """Distance and angle loss of every peer against all others, at little more than the cost of one pair.

    Entry k is the mean over j != k of `losses.distance_loss` or `losses.angle_loss` of peers k and j, with j
    detached: its gradient reaches peer k alone. The Huber loss is even, so a pair has the same value in both
    directions and is computed once; the cosines of a peer are computed once for all its pairs. The result can be
    differentiated once: it has no second derivatives.

    >>> relation_losses([torch.tensor([[0.0], [1.0], [2.0]]), torch.eye(3)]).distance  # see `losses.distance_loss`
    tensor([0.0625, 0.0625])

    Args:
        embeddings: K >= 2 tensors (B, D_k) of the same B images; widths may differ.
        distance: whether to compute the distance losses (B >= 2).
        angle: whether to compute the angle losses (B >= 3).
        compiled: compile the inner loop with torch.compile. This takes seconds once and then saves time for large
            B on a CPU; it rounds differently, so it is never switched on unless you ask.

    Returns: two vectors of K losses without a unit, float64 if an embedding is, else float32.
    Raises: ValueError on fewer than 2 peers, unequal or too small batches, or (on a CPU) non-finite values.
    Source: Park et al. 2019, arXiv 1904.05068, for a student and its teacher; here between peers.
    """
    check_embeddings(
        {f"embedding {k}": embedding for k, embedding in enumerate(embeddings)},
        minimum=3 if angle else 2,
        term="relation_losses",
    )
    return unchecked_relation_losses(embeddings, distance=distance, angle=angle, compiled=compiled)


def both_ways(values: Tensor) -> Tensor:
    """The loss of a pair with gradients for both peers, from two equal values that have one peer's gradient each."""
    return values[0] + (values[1] - values[1].detach())


def unchecked_relation_losses(
    embeddings: Sequence[Tensor], *, distance: bool = True, angle: bool = True, compiled: bool = False
) -> Relations:
    """`relation_losses` without the checks, for embeddings that have passed `check_embeddings`.

    Args:
        embeddings, distance, angle, compiled: see `relation_losses`.
    """
    body = _compiled_chunk() if compiled else _angle_chunk
    with torch.autocast(embeddings[0].device.type, enabled=False):
        return Relations(*_RelationLosses.apply(distance, angle, body, *embeddings))


class _Geometry(NamedTuple):
    """How one peer arranges the images of a batch; all lengths are in units of the mean distance.

    The losses do not depend on the scale of the embeddings. Bringing every embedding to the same scale first
    keeps the squares of very large or very small numbers from becoming infinite or zero.
    """

    points: Tensor
    """(B, D) float64, with mean 0, so that no digits are lost to an offset that all images share."""
    gram: Tensor
    """(B, B) float64."""
    distances: Tensor
    """(B, B) float64, psi_D; 0 on the diagonal and between images that coincide."""
    inverse: Tensor
    """(B, B) float64: 1 / distance; 0 where the distance is 0."""
    units: tuple[Tensor, Tensor]
    """Two factors whose product is the mean distance in the embeddings' own unit. They are kept apart because the
    product may be too large for a number. The first is 1 if all embeddings are zero, the second if all coincide."""

    @classmethod
    def of(cls, embedding: Tensor) -> "_Geometry":
        points = embedding.double()
        peak = _positive_or_one(points.abs().amax())
        points = points / peak
        points = points - points.mean(dim=0)
        gram = points @ points.T
        distances = _distances(gram)
        mean = _positive_or_one(distances.sum() / (len(points) * (len(points) - 1)))
        distances = distances / mean
        inverse = torch.where(distances > 0, 1 / distances, 0)
        return cls(points / mean, gram / mean.square(), distances, inverse, (peak, mean))


def _distances(gram: Tensor) -> Tensor:
    """(B, B) distances from the Gram matrix; 0 on the diagonal and where two images coincide."""
    norms = gram.diagonal()[:, None] + gram.diagonal()
    distances = (norms - 2 * gram).clamp(min=0).sqrt().fill_diagonal_(0)
    mean = distances.sum() / (len(gram) * (len(gram) - 1))
    # The second condition is for two equal images far away from all others: rounding gives them a small distance.
    apart = (distances > COINCIDENT * mean) & (distances > 1e-7 * norms.sqrt())
    return torch.where(apart, distances, 0)


def _positive_or_one(value: Tensor) -> Tensor:
    return torch.where(value > 0, value, 1)


class _RelationLosses(torch.autograd.Function):
    """Values and gradients in one pass: the gradient of a loss L is kept as a (B, B) matrix A, dL/dX = A X."""

    @staticmethod
    def forward(
        ctx: Any, distance: bool, angle: bool, body: "Chunk", *embeddings: Tensor
    ) -> tuple[Tensor, Tensor]:
        working = _working_dtype(embeddings)
        peers = [_Geometry.of(embedding) for embedding in embeddings]
        learners = [k for k in range(len(peers)) if ctx.needs_input_grad[3 + k]]
        zeros = peers[0].gram.new_zeros(len(peers))
        values, of_distance, of_angle = [zeros, zeros], list[Tensor](), list[Tensor]()
        if distance:
            values[0], of_distance = _distance_terms(peers, learners)
        if angle:
            values[1], of_angle = _angle_terms(peers, learners, working, body)
        ctx.save_for_backward(*(peers[k].points for k in learners), *of_distance, *of_angle)
        ctx.units = [peers[k].units for k in learners]
        ctx.learners, ctx.terms = learners, [term for term, on in enumerate((distance, angle)) if on]
        ctx.dtypes = [embedding.dtype for embedding in embeddings]
        unchecked = zero_if_finite(*embeddings)
        return (values[0] + unchecked).to(working), (values[1] + unchecked).to(working)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        learners, count = ctx.learners, len(ctx.learners)
        points, matrices = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        gradients: list[Tensor | None] = [None] * (3 + len(ctx.dtypes))  # forward has three more arguments first
        for i, k in enumerate(learners):
            weighted = [
                grads[term][k].double() * matrices[position * count + i]
                for position, term in enumerate(ctx.terms)
            ]
            if weighted:
                peak, mean = ctx.units[i]
                slope = sum(weighted[1:], weighted[0]) @ points[i]
                gradients[3 + k] = (slope / mean / peak).to(ctx.dtypes[k])
        return tuple(gradients)


def _distance_terms(peers: Sequence[_Geometry], learners: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """The distance losses (K,), and for each learner the matrix A of its gradient."""
    relative = [peer.distances for peer in peers]
    batch = len(relative[0])
    values, slopes, signs = _huber_pairs(relative)
    share = 1 / (batch * (batch - 1) * (len(peers) - 1))
    matrices = []
    for k in learners:
        # psi = d / mu, where mu is the mean of all d: each d changes the loss directly and by way of mu.
        through_mean = (slopes[k] * relative[k]).sum() / (batch * (batch - 1))
        slope = signs[k] * (slopes[k] - through_mean) * share
        matrices.append(_through_squares(slope * peers[k].inverse / 2))
    return values * share, matrices


def _angle_terms(
    peers: Sequence[_Geometry], learners: Sequence[int], working: torch.dtype, body: "Chunk"
) -> tuple[Tensor, list[Tensor]]:
    """The angle losses (K,), and for each learner the matrix A of its gradient."""
    batch = len(peers[0].gram)
    grams = [peer.gram for peer in peers]
    # With o_vu = G_vv / 2 - G_vu the inner product <f_u - f_v, f_w - f_v> is G_uw + o_vu + o_vw.
    offsets = [peer.gram.diagonal()[:, None] / 2 - peer.gram for peer in peers]
    inverses = [peer.inverse.to(working) for peer in peers]
    values = grams[0].new_zeros(len(peers))
    matrices = [torch.zeros_like(grams[0]) for _ in learners]
    radials = [torch.zeros_like(grams[0]) for _ in learners]
    size = max(1, CHUNK.get(grams[0].device.type, CHUNK["cuda"]) // batch**2)
    for start in range(0, batch, size):
        vertices = slice(start, start + size)
        some, inner, rows, radial = body(
            grams, [offset[vertices] for offset in offsets], [inverse[vertices] for inverse in inverses], learners
        )
        values += some
        for i, matrix in enumerate(matrices):
            matrix += inner[i]  # d/dG_uw
            matrix[vertices] -= 2 * rows[i]  # d/dG_vu and d/dG_vw
            matrix.diagonal()[vertices] += rows[i].sum(dim=1)  # d/dG_vv
            radials[i][vertices] = radial[i]
    share = 1 / (batch * (batch - 1) * (batch - 2) * (len(peers) - 1))
    for i, k in enumerate(learners):
        through_lengths = _through_squares(-peers[k].inverse.square() * radials[i])
        matrices[i] = (matrices[i] + matrices[i].T + through_lengths) * share
    return values * share, matrices


def _angle_chunk(
    grams: list[Tensor], offsets: list[Tensor], inverses: list[Tensor], learners: Sequence[int]
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """The cosines at some vertices v: their losses, and what the gradient of each learner needs.

    Args:
        grams, offsets, inverses: for each peer (B, B), (n, B) and (n, B), the last two with index [v, u].
        learners: the peers that need a gradient.

    Returns: (K,) sums of Huber losses; then three lists with a tensor for each learner. With the slope
        s_vuw = dL/dcosine and P = s / (d_vu d_vw) these are P summed over v (B, B), P summed over w (n, B), and
        s * cosine summed over w (n, B).
    """
    lengths = [inverse[:, :, None] * inverse[:, None, :] for inverse in inverses]
    cosines = [
        (gram + offset[:, :, None]).add_(offset[:, None, :]).to(length.dtype).mul_(length)
        for gram, offset, length in zip(grams, offsets, lengths, strict=True)
    ]
    values, slopes, signs = _huber_pairs(cosines)
    inner, rows, radial = [], [], []
    for k in learners:
        radial.append(signs[k] * cosines[k].mul_(slopes[k]).sum(dim=2))
        products = lengths[k].mul_(slopes[k])
        inner.append(signs[k] * products.sum(dim=0))
        rows.append(signs[k] * products.sum(dim=2))
    return values, inner, rows, radial


Chunk = Callable[
    [list[Tensor], list[Tensor], list[Tensor], Sequence[int]],
    tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]],
]


@cache
def _compiled_chunk() -> Chunk:
    return torch.compile(_angle_chunk, dynamic=False)


def _huber_pairs(psis: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], list[int]]:
    """Each peer's Huber losses (delta 1) against all others, summed (K,), with their slopes and the slopes' signs.

    `psis` holds psi_D or psi_A of each peer. With the difference x = own - other and the slope g = clamp(x, -1, 1)
    the Huber loss is g (x - g / 2). Where u = w there is neither distance nor angle, so the diagonals are set
    equal. A slope must be multiplied by the sign of its peer, which is returned apart so that two peers, whose
    slopes differ by the sign alone, can share one tensor.
    """
    signs = [1] + [-1] * (len(psis) - 1)
    values = [psis[0].new_zeros((), dtype=torch.float64) for _ in psis]
    slopes: dict[int, Tensor] = {}
    for k, j in combinations(range(len(psis)), 2):
        difference = psis[k] - psis[j]
        difference.diagonal(dim1=-2, dim2=-1).zero_()
        slope = difference.clamp(-1, 1)
        value = difference.sub_(slope, alpha=0.5).mul_(slope).sum()
        for peer, sign in ((k, signs[k]), (j, -signs[j])):
            # The first slope of a peer always has sign +1, so it need not be copied.
            slopes[peer] = slopes[peer].add(slope, alpha=sign) if peer in slopes else slope
            values[peer] = values[peer] + value
    return torch.stack(values), [slopes[k] for k in range(len(psis))], signs


def _through_squares(slope: Tensor) -> Tensor:
    """The matrix A with dL/dX = A X, for a loss whose slopes are dL/d|f_u - f_v|^2 = slope_uv."""
    both = slope + slope.T
    return 2 * (both.sum(dim=1).diag() - both)


def _working_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
