"""What the kit is measured against: the usual public forms, in our own words, as short as they are there.

One thing differs: sums are divided by the number of pairs and triples, not by B^2 and B^3: so values compare. The
relation losses of torchdistill and mdistiller, for whole trainings, keep their own means and get other weights instead.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ctsl_lib.data.specs import Metric
from ctsl_lib.losses.objective import Objective
from ctsl_lib.losses.relation_kernel import relation_losses
from ctsl_lib.metrics.retrieval import Labelled
from ctsl_lib.models.peer import Peer


def usual_distance_loss(embedding: Tensor, target: Tensor) -> Tensor:
    """Distances by the expanded norm with a clamp, divided by the mean of those that are not zero."""
    own, other = _usual_distances(embedding), _usual_distances(target)
    batch = len(own)
    loss = F.smooth_l1_loss(own / own[own > 0].mean(), other / other[other > 0].mean(), reduction="sum")
    return loss / (batch * (batch - 1))


def usual_angle_loss(embedding: Tensor, target: Tensor) -> Tensor:
    """All differences, normalised, and all their inner products, each side anew."""
    batch = len(embedding)
    loss = F.smooth_l1_loss(_usual_cosines(embedding), _usual_cosines(target), reduction="sum")
    return loss / (batch * (batch - 1) * (batch - 2))


def _usual_distances(points: Tensor) -> Tensor:
    squares = points.square().sum(dim=1)
    distances = (squares[:, None] + squares[None, :] - 2 * points @ points.T).clamp(min=1e-12).sqrt()
    return distances * (1 - torch.eye(len(points)))


def _usual_cosines(points: Tensor) -> Tensor:
    directions = F.normalize(points[None, :, :] - points[:, None, :], dim=2)
    return torch.bmm(directions, directions.transpose(1, 2)).flatten()


class PairRelations(Protocol):
    """Both relation losses of a pair of peers in both directions, weighted, as one scalar."""

    def __call__(self, first: Tensor, second: Tensor, distance: float, angle: float) -> Tensor:
        """The loss of two (B, D) embeddings, whose peers learn from one another."""


def mdistiller_relations(first: Tensor, second: Tensor, distance: float, angle: float) -> Tensor:
    """As mdistiller computes them, in our words: means over all B^2 and B^3, the target's side without gradients.

    Source: github.com/megvii-research/mdistiller, mdistiller/distillers/RKD.py at commit e8c5bb3.
    """
    by_pairs, by_triples = _own_means(len(first))
    total: Tensor = torch.zeros(())
    for own, other in ((first, second), (second, first)):
        with torch.no_grad():
            target_distances = _usual_distances(other)
            target_distances = target_distances / target_distances[target_distances > 0].mean()
        distances = _usual_distances(own)
        distances = distances / distances[distances > 0].mean()
        total = total + distance * by_pairs * F.smooth_l1_loss(distances, target_distances)
        with torch.no_grad():
            target_cosines = _usual_cosines(other)
        total = total + angle * by_triples * F.smooth_l1_loss(_usual_cosines(own), target_cosines)
    return total


def torchdistill_relations(first: Tensor, second: Tensor, distance: float, angle: float) -> Tensor:
    """By torchdistill's own RKDLoss (optional extra `bench`), once in each direction."""
    by_pairs, by_triples = _own_means(len(first))
    loss = _torchdistill_loss(distance * by_pairs, angle * by_triples)
    total: Tensor = torch.zeros(())
    for own, other in ((first, second), (second, first)):
        total = total + loss({"s": {"output": own}}, {"t": {"output": other.detach()}})
    return total


def kernel_relations(first: Tensor, second: Tensor, distance: float, angle: float) -> Tensor:
    """By the kit's kernel, in one call for both peers."""
    found = relation_losses([first, second])
    return distance * found.distance.sum() + angle * found.angle.sum()


def _own_means(batch: int) -> tuple[float, float]:
    """Factors that turn means over all B^2 and B^3 into means over pairs and triples of different images."""
    return batch / (batch - 1), batch**2 / ((batch - 1) * (batch - 2))


@cache
def _torchdistill_loss(distance: float, angle: float) -> Callable[..., Tensor]:
    from torchdistill.losses.mid_level import RKDLoss

    return cast(Callable[..., Tensor], RKDLoss("s", "t", distance, angle, reduction="mean"))


class PILImages(Dataset[tuple[Tensor, int]]):
    """Images as the usual data sets give them: one PIL image at a time through torchvision's transforms."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        padding: int = 4,
        mirror: bool = True,
        mean: Sequence[float] = (0.5,) * 3,
        std: Sequence[float] = (0.25,) * 3,
    ) -> None:
        """Keep the images as arrays.

        Args:
            images: (N, channels, H, W) uint8; one channel or three.
            labels: (N,) class indices.
            padding: the farthest shift of the random crop; 0 for none.
            mirror: whether half of the images are mirrored.
            mean, std: for each channel, of values between 0 and 1.
        """
        self.images: np.ndarray = images.permute(0, 2, 3, 1).squeeze(3).numpy()
        self.labels = labels.tolist()
        steps = [transforms.RandomCrop(images.shape[2], padding=padding)] if padding else []
        steps += [transforms.RandomHorizontalFlip()] if mirror else []
        self.transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def pil_batches(images: Tensor, labels: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a DataLoader in this process, without end."""
    loader = DataLoader(PILImages(images, labels), batch_size, shuffle=True, drop_last=True)
    while True:
        yield from loader


def plain_step(
    peers: Sequence[Peer],
    frozen: Sequence[Peer],
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
) -> float:
    """A step of the full method on two peers as public loops have it: float32, images channels first."""
    optimizer.zero_grad()
    outputs = [peer(images) for peer in peers]
    total: Tensor = torch.zeros(())
    for own, other, copy in zip(outputs, outputs[::-1], frozen, strict=True):
        with torch.no_grad():
            frozen_logits = copy(images).logits
        target = other.detach()
        total = total + objective.ce * F.cross_entropy(own.logits, labels)
        total = total + objective.response * usual_kl(own.logits, target.logits, 1.0)
        total = total + objective.distance * usual_distance_loss(own.embedding, target.embedding)
        total = total + objective.angle * usual_angle_loss(own.embedding, target.embedding)
        total = total + objective.self * usual_kl(own.logits, frozen_logits, objective.temperature)
    total.backward()
    optimizer.step()
    return total.item()


def usual_kl(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """KL divergence from a target's softened (B, C) answers, mean over the batch."""
    log_p = F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(log_p, F.softmax(target / temperature, dim=1), reduction="batchmean")


def usual_retrieval_metrics(query: Labelled, gallery: Labelled, metric: Metric) -> dict[str, float]:
    """CMC and mAP by all distances, all sorted, then query after query; junk is taken out beforehand."""
    order = np.argsort(_usual_distance_matrix(query.embedding, gallery.embedding, metric).numpy(), axis=1)
    identities, cameras = gallery.identity.numpy(), gallery.camera.numpy()
    matches = identities[order] == query.identity.numpy()[:, None]
    firsts, precisions = [], []
    for row, match, identity, camera in zip(order, matches, *(part.numpy() for part in query[1:]), strict=True):
        removed = (identities[row] == identity) & (cameras[row] == camera)
        right = match[~removed].astype(np.int32)
        if not right.any():
            continue
        found = right.cumsum()
        firsts.append(right.argmax() + 1)
        precisions.append((found / np.arange(1, len(found) + 1) * right).sum() / right.sum())
    metrics = {f"rank{k}": 100 * float(np.mean(np.array(firsts) <= k)) for k in (1, 5, 10)}
    return metrics | {"mAP": 100 * float(np.mean(precisions)), "queries": float(len(firsts))}


def _usual_distance_matrix(queries: Tensor, images: Tensor, metric: Metric) -> Tensor:
    if metric == "cosine":
        return 1 - F.normalize(queries) @ F.normalize(images).T
    squares = queries.square().sum(dim=1)[:, None] + images.square().sum(dim=1)
    return torch.addmm(squares, queries, images.T, alpha=-2)
