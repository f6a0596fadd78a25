"""The relation losses as their formulas are written: the yardstick for `relations`, and what notebook 03 derives.

Every difference of two embeddings is formed, (B, B, D) numbers, and every cosine kept, (B, B, B): right, short,
slow, and hungry for memory. Training uses `losses`, which gives the same numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.losses.relation_kernel import COINCIDENT


def distance_loss(embedding: Tensor, target_embedding: Tensor) -> Tensor:
    """`losses.distance_loss` by direct differences."""
    own, target = relative_distances(embedding), relative_distances(target_embedding)
    batch = len(own)
    return F.huber_loss(own, target, reduction="sum") / (batch * (batch - 1))


def angle_loss(embedding: Tensor, target_embedding: Tensor) -> Tensor:
    """`losses.angle_loss` by direct differences."""
    own, target = cosines(embedding), cosines(target_embedding)
    batch = len(own)
    return F.huber_loss(own, target, reduction="sum") / (batch * (batch - 1) * (batch - 2))


def relative_distances(embedding: Tensor) -> Tensor:
    """The (B, B) matrix psi_D(u, v): distances between images in units of their mean."""
    _, distances, mean = _differences(embedding)
    return distances / torch.where(mean > 0, mean, 1)


def cosines(embedding: Tensor) -> Tensor:
    """The (B, B, B) tensor psi_A with index [v, u, w]: the cosine at vertex v between images u and w.

    It is 0 where two of the three are the same image, or coincide with the vertex.
    """
    differences, distances, _ = _differences(embedding)
    coincident = (distances == 0)[..., None]
    # Both `where` are needed: one inside the quotient keeps its gradient finite, one outside sets the value.
    directions = torch.where(coincident, 0, differences / torch.where(coincident, 1, distances[..., None]))
    cosine = directions @ directions.transpose(1, 2)
    return cosine.masked_fill(torch.eye(len(cosine), dtype=torch.bool, device=cosine.device), 0)


def _differences(embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences f_u - f_v as (B, B, D) with index [v, u], their norms, and the mean norm, at one scale for all.

    Norms are 0, without a gradient, where two images coincide.
    """
    points = embedding if embedding.dtype == torch.float64 else embedding.float()
    peak = points.detach().abs().amax()
    points = points / torch.where(peak > 0, peak, 1)  # changes neither loss, and no square overflows or vanishes
    differences = points[None, :, :] - points[:, None, :]
    squares = differences.square().sum(dim=2)
    batch = len(squares)
    mean = squares.detach().sqrt().sum() / (batch * (batch - 1))
    far = squares.detach().sqrt() > COINCIDENT * mean
    distances = torch.where(far, torch.where(far, squares, 1).sqrt(), 0)
    return differences, distances, distances.sum() / (batch * (batch - 1))
