r"""The relation losses of all peers at once, exact and fast: nothing of size B x B x D, nothing of size B^3 kept.

With centred embeddings and the Gram matrix G = X X^T, every inner product of differences is four numbers,

.. math:: \langle f_u - f_v, f_w - f_v \rangle = G_{uw} - G_{uv} - G_{vw} + G_{vv},

so distances and cosines need O(B^2 D + B^3) operations instead of O(B^3 D). The cosines are made for a few
vertices v at a time; their gradient is taken on the spot and only its sums, of size B x B, are kept. Float64 is
for G and the differences of its entries: in float32 they cancel to nothing for images that nearly coincide.
`reference` has the same losses as the formulas are written; notebook 08 derives what is here.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

COINCIDENT = 1e-6
"""Two images whose distance is below this share of the batch's mean distance count as one point.

The direction between them is not defined, and its gradient (1 / distance) would be unbounded.
"""
CHUNK = {"cpu": 2**16, "cuda": 2**26}
"""Cosines made at once: what stays in a core's cache; on a GPU half a GiB in float64, all at B <= 400."""


class Relations(NamedTuple):
    """For each of the K peers the mean loss towards the other peers; its gradient reaches that peer alone."""

    distance: Tensor
    """(K,); zeros where it was not asked for."""
    angle: Tensor
    """(K,); zeros where it was not asked for."""


def relation_losses(
    embeddings: Sequence[Tensor], *, distance: bool = True, angle: bool = True, compiled: bool = False
) -> Relations:
    """Distance and angle loss of every peer towards all others, at the cost of little more than one.

    Entry k of each is the mean over j != k of `losses.distance_loss` or `losses.angle_loss` of peers k and j,
    with j detached. Huber is even, so a pair's value is the same in both directions and is computed once; the
    cosines of a peer are computed once for all its pairs. The result can be differentiated once.

    Args:
        embeddings: K >= 2 tensors (B, D_k) of the same B images; widths may differ.
        distance: whether to compute the distance losses (B >= 2).
        angle: whether to compute the angle losses (B >= 3).
        compiled: compile the inner loop with torch.compile: seconds once, then less time at large B on a CPU.
            Rounding differs, so it is not chosen behind your back.

    Returns: two vectors of K losses, float64 if an embedding is, else float32.
    Raises: ValueError on fewer than 2 peers, unequal or too small batches, or (on a CPU) non-finite values.
    Source: as `losses.distance_loss`, `losses.angle_loss`.
    """
    check_embeddings(
        {f"embedding {k}": embedding for k, embedding in enumerate(embeddings)},
        minimum=3 if angle else 2,
        term="relation_losses",
    )
    return unchecked_relation_losses(embeddings, distance=distance, angle=angle, compiled=compiled)


def moving_relation_losses(
    embeddings: Sequence[Tensor], *, distance: bool = True, angle: bool = True, compiled: bool = False
) -> Relations:
    """`relation_losses` without the detaching: the gradient of entry k reaches the other peers as well."""
    peers = range(len(embeddings))
    sums: dict[int, list[Relations]] = {k: [] for k in peers}
    for k, j in combinations(peers, 2):
        pair = relation_losses([embeddings[k], embeddings[j]], distance=distance, angle=angle, compiled=compiled)
        for side in (k, j):
            sums[side].append(Relations(both_ways(pair.distance), both_ways(pair.angle)))
    means = [[torch.stack(values).mean() for values in zip(*sums[k], strict=True)] for k in peers]
    return Relations(*(torch.stack(values) for values in zip(*means, strict=True)))


def both_ways(values: Tensor) -> Tensor:
    """A pair's loss with gradients for both sides, where each entry of `values` has its own side's alone."""
    return values[0] + (values[1] - values[1].detach())


def unchecked_relation_losses(
    embeddings: Sequence[Tensor], *, distance: bool = True, angle: bool = True, compiled: bool = False
) -> Relations:
    """`relation_losses` of embeddings that have passed `check_embeddings`."""
    body = _compiled_chunk() if compiled else _angle_chunk
    with torch.autocast(embeddings[0].device.type, enabled=False):
        return Relations(*_RelationLosses.apply(distance, angle, body, *embeddings))


class _Side(NamedTuple):
    """What the losses need to know of one peer's embeddings, in units of their mean distance.

    Both losses are the same at every scale, so all is computed at one: no square overflows or vanishes.
    """

    points: Tensor
    """(B, D) float64, centred: no shift may cost digits."""
    gram: Tensor
    """(B, B) float64."""
    distances: Tensor
    """(B, B) float64, psi_D; 0 on the diagonal and where two images coincide."""
    inverse: Tensor
    """(B, B) float64: 1 / distance; 0 where the distance is."""
    units: tuple[Tensor, Tensor]
    """Two factors of the mean distance (1 where all images coincide), whose product may be too large a number."""

    @classmethod
    def of(cls, embedding: Tensor) -> "_Side":
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
    # The second bound is rounding: it keeps twins that lie far from all others from looking like two images.
    apart = (distances > COINCIDENT * mean) & (distances > 1e-7 * norms.sqrt())
    return torch.where(apart, distances, 0)


def _positive_or_one(value: Tensor) -> Tensor:
    return torch.where(value > 0, value, 1)


class _RelationLosses(torch.autograd.Function):
    """Forms the gradients in the forward pass, each as a symmetric (B, B) matrix A: dL/dX = A X."""

    @staticmethod
    def forward(
        ctx: Any, distance: bool, angle: bool, body: "Chunk", *embeddings: Tensor
    ) -> tuple[Tensor, Tensor]:
        working = _working_dtype(embeddings)
        sides = [_Side.of(embedding) for embedding in embeddings]
        learners = [k for k in range(len(sides)) if ctx.needs_input_grad[3 + k]]
        zeros = sides[0].gram.new_zeros(len(sides))
        values, matrices = [zeros, zeros], []
        if distance:
            values[0], found = _distance_terms(sides, learners)
            matrices += found
        if angle:
            values[1], found = _angle_terms(sides, learners, working, body)
            matrices += found
        ctx.save_for_backward(*(sides[k].points for k in learners), *matrices)
        ctx.units = [sides[k].units for k in learners]
        ctx.learners, ctx.terms = learners, [term for term, on in enumerate((distance, angle)) if on]
        ctx.dtypes = [embedding.dtype for embedding in embeddings]
        return values[0].to(working), values[1].to(working)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        learners, count = ctx.learners, len(ctx.learners)
        points, matrices = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        found: list[Tensor | None] = [None] * (3 + len(ctx.dtypes))
        for i, k in enumerate(learners):
            weighted = [
                grads[term][k].double() * matrices[position * count + i]
                for position, term in enumerate(ctx.terms)
            ]
            if weighted:
                peak, mean = ctx.units[i]
                slope = sum(weighted[1:], weighted[0]) @ points[i]
                found[3 + k] = (slope / mean / peak).to(ctx.dtypes[k])
        return tuple(found)


def _distance_terms(sides: Sequence[_Side], learners: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """Values (K,), and for each learner the matrix of its gradient."""
    relative = [side.distances for side in sides]
    batch, peers = len(relative[0]), len(sides)
    values, slopes, signs = _huber_pairs(relative)
    share = 1 / (batch * (batch - 1) * (peers - 1))
    matrices = []
    for k in learners:
        # psi = d / mu, and mu depends on every d: the second term is the way through mu.
        through_mean = (slopes[k] * relative[k]).sum() / (batch * (batch - 1))
        slope = signs[k] * (slopes[k] - through_mean) * share
        matrices.append(_through_squares(slope * sides[k].inverse / 2))
    return values * share, matrices


def _angle_terms(
    sides: Sequence[_Side], learners: Sequence[int], working: torch.dtype, body: "Chunk"
) -> tuple[Tensor, list[Tensor]]:
    """Values (K,), and for each learner the matrix of its gradient."""
    batch, peers = len(sides[0].gram), len(sides)
    grams = [side.gram for side in sides]
    # Half of G_vv belongs to either image: <f_u - f_v, f_w - f_v> = G_uw + o_vu + o_vw.
    offsets = [side.gram.diagonal()[:, None] / 2 - side.gram for side in sides]
    inverses = [side.inverse.to(working) for side in sides]
    values = grams[0].new_zeros(peers)
    matrices = [torch.zeros_like(grams[0]) for _ in learners]
    radials = [torch.zeros_like(grams[0]) for _ in learners]
    size = max(1, CHUNK.get(grams[0].device.type, CHUNK["cuda"]) // batch**2)
    for start in range(0, batch, size):
        vertices = slice(start, start + size)
        found, inner, rows, radial = body(
            grams, [offset[vertices] for offset in offsets], [inverse[vertices] for inverse in inverses], learners
        )
        values += found
        for i, matrix in enumerate(matrices):
            matrix += inner[i]  # d/dG_uw
            matrix[vertices] -= 2 * rows[i]  # d/dG_vu and d/dG_vw
            matrix.diagonal()[vertices] += rows[i].sum(dim=1)  # d/dG_vv
            radials[i][vertices] = radial[i]
    share = 1 / (batch * (batch - 1) * (batch - 2) * (peers - 1))
    for i, k in enumerate(learners):
        through_lengths = _through_squares(-sides[k].inverse.square() * radials[i])
        matrices[i] = (matrices[i] + matrices[i].T + through_lengths) * share
    return values * share, matrices


def _angle_chunk(
    grams: list[Tensor], offsets: list[Tensor], inverses: list[Tensor], learners: Sequence[int]
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """The cosines at some vertices v: losses, and for each learner three sums of its slopes.

    Args:
        grams: (B, B) of each peer. offsets, inverses: (n, B) of each peer, with index [v, u].
        learners: the peers whose sums to make.

    Returns: (K,) sums of Huber losses; then for each learner, with slope s_vuw = dL/dcosine and
        P = s / (d_vu d_vw): the sum over v of P (B, B), over w of P (n, B), over w of s * cosine (n, B).
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


def _huber_pairs(sides: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], list[int]]:
    """Sum of the Huber losses (delta 1) of each side to all others (K,), and their slopes for each side.

    With x = own - other and slope g = clamp(x, -1, 1) a Huber loss is g (x - g / 2). Where u = w there is no
    angle and no distance: both sides' diagonals count as equal. The slopes are to be multiplied by the signs,
    which come last, as two peers' slopes are one tensor then.
    """
    signs = [1] + [-1] * (len(sides) - 1)
    values = [sides[0].new_zeros((), dtype=torch.float64) for _ in sides]
    slopes: dict[int, Tensor] = {}
    for k, j in combinations(range(len(sides)), 2):
        difference = sides[k] - sides[j]
        difference.diagonal(dim1=-2, dim2=-1).zero_()
        slope = difference.clamp(-1, 1)
        value = difference.sub_(slope, alpha=0.5).mul_(slope).sum()
        for side, sign in ((k, signs[k]), (j, -signs[j])):
            # A side first comes with a plus, and is not copied then.
            slopes[side] = slopes[side].add(slope, alpha=sign) if side in slopes else slope
            values[side] = values[side] + value
    return torch.stack(values), [slopes[k] for k in range(len(sides))], signs


def _through_squares(slope: Tensor) -> Tensor:
    """A of dL/dX = A X for dL/d|f_u - f_v|^2 = slope_uv."""
    both = slope + slope.T
    return 2 * (both.sum(dim=1).diag() - both)


def check_embeddings(embeddings: Mapping[str, Tensor], *, minimum: int, term: str) -> None:
    """Raise a ValueError unless these are embeddings (B, D) of the same B >= `minimum` images."""
    shapes = " and ".join(f"{name} {tuple(embedding.shape)}" for name, embedding in embeddings.items())
    sizes = {embedding.shape[:1] for embedding in embeddings.values()}
    if len(embeddings) < 2:
        raise ValueError(f"{term} compares 2 or more peers, got {len(embeddings)}")
    if any(embedding.ndim != 2 for embedding in embeddings.values()):
        raise ValueError(f"{term} needs embeddings of shape (B, D), got {shapes}")
    if len(sizes) > 1:
        raise ValueError(f"{' and '.join(embeddings)} must hold the same images, got {shapes}")
    if next(iter(sizes))[0] < minimum:
        raise ValueError(f"{term} compares {minimum} or more images, so the batch is too small: got {shapes}")
    check_finite(**embeddings)


def check_finite(**tensors: Tensor) -> None:
    """Raise a ValueError for values that are not finite; on a CPU alone, as asking a GPU would stall it.

    On a GPU such values end in the loss, where `training.train` looks for them.
    """
    for name, values in tensors.items():
        if values.device.type == "cpu" and not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise ValueError(f"{name} of shape {tuple(values.shape)} holds {bad} values that are not finite")


def _working_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
