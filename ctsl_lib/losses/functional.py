r"""The four kinds of knowledge as pure functions of tensors, each with its formula.

Cross entropy is PyTorch's own. The *response* loss compares answers; against a frozen copy it is the self-learning
loss. The *relation* losses compare *distances* and *angles*: `relative_distances` and `cosines` are psi_D and psi_A
of the formulas, and `distance_formula` and `angle_formula` are the losses word for word. `distance_loss` and
`angle_loss` give the same numbers faster, by `relation_kernel`. The *triplet* loss learns from labels and is usual
for person re-identification.

No function here detaches anything: whoever calls it decides, visibly, which argument may learn.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.losses.checks import check_embeddings, check_finite, zero_if_finite
from ctsl_lib.losses.relation_kernel import COINCIDENT, both_ways, unchecked_relation_losses


def response_loss(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""KL divergence from a target's softened answer to one's own.

    .. math:: L = \frac1B \sum_b \sum_c q_{bc} \log\frac{q_{bc}}{p_{bc}}, \quad
              p = \mathrm{softmax}(z/t),\ q = \mathrm{softmax}(z'/t)

    The sum runs over classes, the mean over the batch alone: PyTorch's ``reduction="mean"`` would divide by
    the number of classes as well. There is no factor t^2.

    >>> own, target = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[3.0, 1.0]]).log()
    >>> response_loss(own, target)  # p = (1/2, 1/2) and q = (3/4, 1/4): 3/4 ln(3/2) + 1/4 ln(1/2)
    tensor(0.1308)

    Args:
        logits: (B, C) own answers z.
        target_logits: (B, C) the target's answers z'. Detach them here if they must not learn.
        temperature: t > 0; a larger one softens both answers.

    Returns: a scalar in nats, at least 0 up to rounding; exactly 0 if both are equal.
    Raises: ValueError on shapes that are not one (B, C), on non-finite input, or a t that is not finite and above 0.
    Source: Zhang et al. 2018, arXiv 1706.00384 (t = 1, between peers); Yuan et al. 2020, arXiv 1909.11723
        (t > 1, own frozen copy); Hinton et al. 2015, arXiv 1503.02531 (the temperature).
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    if logits.ndim != 2 or logits.shape != target_logits.shape or logits.numel() == 0:
        raise ValueError(
            "logits and target_logits must be non-empty and of one shape (B, C), "
            f"got {tuple(logits.shape)} and {tuple(target_logits.shape)}"
        )
    check_finite(logits=logits, target_logits=target_logits)
    log_p = F.log_softmax(at_least_float32(logits) / temperature, dim=1)
    log_q = F.log_softmax(at_least_float32(target_logits) / temperature, dim=1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def relative_distances(embedding: Tensor) -> Tensor:
    r"""psi_D: the distances between images, in units of their mean.

    .. math:: \psi_D(u,v) = \frac{\lVert f_u - f_v \rVert}{\mu}, \quad
              \mu = \frac{1}{B(B-1)} \sum_{u \ne v} \lVert f_u - f_v \rVert

    It is 0 between images that coincide.
    """
    _, distances, mean = _differences(embedding)
    return distances / torch.where(mean > 0, mean, 1)


def distance_formula(embedding: Tensor, target_embedding: Tensor) -> Tensor:
    """`distance_loss` as its formula is written: the yardstick for tests, slow and hungry for memory.

    Args:
        embedding, target_embedding: see `distance_loss`.

    Returns: see `distance_loss`.
    """
    psi, target_psi = relative_distances(embedding), relative_distances(target_embedding)
    batch = len(psi)
    return F.huber_loss(psi, target_psi, reduction="sum") / (batch * (batch - 1))


def distance_loss(embedding: Tensor, target_embedding: Tensor) -> Tensor:
    r"""How differently two networks space the images of a batch.

    .. math:: L_{DD} = \frac{1}{B(B-1)} \sum_{u \ne v} \mathrm{Huber}\big(\psi_D(u,v) - \psi'_D(u,v)\big)

    with psi_D of `relative_distances` and a Huber loss with delta 1. `distance_formula` is this formula in code;
    here `relation_kernel` computes the same number. Shifting, rotating or scaling either embedding changes nothing.

    >>> line, equilateral = torch.tensor([[0.0], [1.0], [2.0]]), torch.eye(3)
    >>> distance_loss(line, equilateral)  # psi_D 3/4, 3/4, 3/2 and 1, 1, 1: (1/16 + 1/16 + 1/4) / 2 / 3 = 1/16
    tensor(0.0625)

    Args:
        embedding: (B, D) own embeddings f, B >= 2.
        target_embedding: (B, D') the target's embeddings; D' may differ from D. Detach them here if they
            must not learn.

    Returns: a scalar without a unit, at least 0; 0 if both have the same relative distances.
    Raises: ValueError on batches that are unequal or smaller than 2, or on non-finite input.
    Source: Park et al. 2019, arXiv 1904.05068, eqs. 6 to 8, between peers.
    """
    pair = {"embedding": embedding, "target_embedding": target_embedding}
    check_embeddings(pair, minimum=2, term="distance_loss")
    return both_ways(unchecked_relation_losses(list(pair.values()), angle=False).distance)


def cosines(embedding: Tensor) -> Tensor:
    r"""psi_A: the cosine at each vertex v between every two images u and w, as (B, B, B) with index [v, u, w].

    .. math:: \psi_A(u,v,w) = \Big\langle \tfrac{f_u - f_v}{\lVert f_u - f_v \rVert},
                                          \tfrac{f_w - f_v}{\lVert f_w - f_v \rVert} \Big\rangle

    It is 0 where two of the three are the same image, and where u or w coincides with the vertex.
    """
    differences, distances, _ = _differences(embedding)
    coincident = (distances == 0)[..., None]
    # Both `where` are needed: one inside the quotient keeps its gradient finite, one outside sets the value.
    directions = torch.where(coincident, 0, differences / torch.where(coincident, 1, distances[..., None]))
    cosine = directions @ directions.transpose(1, 2)
    return cosine.masked_fill(torch.eye(len(cosine), dtype=torch.bool, device=cosine.device), 0)


def angle_formula(embedding: Tensor, target_embedding: Tensor) -> Tensor:
    """`angle_loss` as its formula is written: the yardstick for tests, slow and hungry for memory.

    Args:
        embedding, target_embedding: see `angle_loss`.

    Returns: see `angle_loss`.
    """
    psi, target_psi = cosines(embedding), cosines(target_embedding)
    batch = len(psi)
    return F.huber_loss(psi, target_psi, reduction="sum") / (batch * (batch - 1) * (batch - 2))


def angle_loss(embedding: Tensor, target_embedding: Tensor) -> Tensor:
    r"""How differently two networks arrange the images of a batch, seen from each image.

    .. math:: L_{AD} = \frac{1}{B(B-1)(B-2)} \sum_{u \ne v \ne w \ne u}
              \mathrm{Huber}\big(\psi_A(u,v,w) - \psi'_A(u,v,w)\big)

    with psi_A of `cosines` and a Huber loss with delta 1. `angle_formula` is this formula in code; here
    `relation_kernel` computes the same number. Shifting, rotating or scaling either embedding changes nothing.
    Seen from v, an image that coincides with v has no direction: its cosines are 0 and pass no gradient.

    >>> line, equilateral = torch.tensor([[0.0], [1.0], [2.0]]), torch.eye(3)
    >>> angle_loss(line, equilateral)  # cosines 1, -1, 1 and 1/2 thrice: Huber (1/8 + (3/2 - 1/2) + 1/8) / 3 = 5/12
    tensor(0.4167)

    Args:
        embedding: (B, D) own embeddings f, B >= 3.
        target_embedding: (B, D') the target's embeddings; D' may differ from D. Detach them here if they
            must not learn.

    Returns: a scalar without a unit, in [0, 1.5]; 0 if both have the same angles.
    Raises: ValueError on batches that are unequal or smaller than 3, or on non-finite input.
    Source: Park et al. 2019, arXiv 1904.05068, eqs. 9 and 10, between peers.
    """
    pair = {"embedding": embedding, "target_embedding": target_embedding}
    check_embeddings(pair, minimum=3, term="angle_loss")
    return both_ways(unchecked_relation_losses(list(pair.values()), distance=False).angle)


def _differences(embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences f_u - f_v as (B, B, D) with index [v, u], their lengths (B, B), and the mean length.

    All are divided by the largest coordinate, which changes no loss and keeps squares from becoming infinite or
    zero. Lengths are 0, and pass no gradient, between images that coincide.
    """
    points = at_least_float32(embedding)
    peak = points.detach().abs().amax()
    points = points / torch.where(peak > 0, peak, 1)
    differences = points[None, :, :] - points[:, None, :]
    squares = differences.square().sum(dim=2)
    batch = len(squares)
    mean = squares.detach().sqrt().sum() / (batch * (batch - 1))
    apart = squares.detach().sqrt() > COINCIDENT * mean
    distances = torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)
    return differences, distances, distances.sum() / (batch * (batch - 1))


def triplet_loss(embedding: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    r"""How much nearer the farthest image of the same class should be than the nearest image of another one.

    .. math:: L = \frac{1}{|A|} \sum_{a \in A} \max\Big(0,\ m
              + \max_{p \ne a,\, y_p = y_a} \lVert f_a - f_p \rVert
              - \min_{n:\, y_n \ne y_a} \lVert f_a - f_n \rVert \Big)

    A holds the images for which the batch has both another image of their class and one of another class; identity
    sampling (`Recipe.images_per_class`) makes such batches. The loss learns from labels and is not one of the
    paper's terms.

    >>> line, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    >>> triplet_loss(line, labels, margin=2)  # (2 + 1 - 3) + (2 + 1 - 2) + (2 + 4 - 2) + (2 + 4 - 6) = 5, over 4
    tensor(1.2500)

    Args:
        embedding: (B, D) embeddings f.
        labels: (B,) class indices y.
        margin: m >= 0, in the embeddings' unit.

    Returns: a scalar in the embeddings' unit, at least 0; 0 if every image keeps the margin, or if A is empty. Two
        images that coincide have distance 0 and pass no gradient to one another.
    Raises: ValueError on shapes that do not fit, non-finite input, or a negative margin.
    Source: Hermans et al. 2017, arXiv 1703.07737, eq. 5 (batch hard).
    """
    if not margin >= 0:
        raise ValueError(f"margin must be 0 or more, got {margin}")
    if embedding.ndim != 2 or labels.shape != embedding.shape[:1] or embedding.numel() == 0:
        raise ValueError(
            "embedding must be non-empty of shape (B, D) and labels (B,), "
            f"got {tuple(embedding.shape)} and {tuple(labels.shape)}"
        )
    check_finite(embedding=embedding)
    points = at_least_float32(embedding)
    same = labels[:, None] == labels
    with torch.no_grad():  # finds the hardest images; their distances are computed again below
        scaled = points.double() / points.double().abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
        centred = scaled - scaled.mean(dim=0)
        distances = torch.cdist(centred, centred)
        farthest = distances.masked_fill(~same, -torch.inf).fill_diagonal_(-torch.inf).argmax(dim=1)
        nearest = distances.masked_fill(same, torch.inf).argmin(dim=1)
    anchors = (same.sum(dim=1) > 1) & ~same.all(dim=1)
    gaps = _lengths(points - points[farthest]) - _lengths(points - points[nearest])
    violated = torch.where(anchors, F.relu(margin + gaps), 0) + zero_if_finite(points)
    return violated.sum() / anchors.sum().clamp(min=1)


def _lengths(differences: Tensor) -> Tensor:
    """The length of each row; that of a zero row passes no gradient, as the square root has no slope there."""
    peaks = differences.detach().abs().amax(dim=1)
    apart = peaks > 0
    peaks = torch.where(apart, peaks, 1)
    squares = (differences / peaks[:, None]).square().sum(dim=1)  # from 1 to D: neither infinite nor 0
    return torch.where(apart, peaks * torch.where(apart, squares, 1).sqrt(), 0)


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32 or, if they were in it already, in float64."""
    return values if values.dtype == torch.float64 else values.float()
