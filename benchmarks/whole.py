"""Whole trainings of a pair, by the kit and by the ways in which public code computes the same.

Network, initial weights, images, objective, optimiser, schedule, precision and number of threads are the same for all.
Neither torchdistill nor mdistiller has a loop for peers who teach one another, so their losses stand in a plain loop
(channels first, no meters, no progress bar, nothing saved), which is less than theirs do in each step.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from benchmarks.cases import random_images
from benchmarks.usual_forms import (
    PairRelations,
    PILImages,
    kernel_relations,
    mdistiller_relations,
    torchdistill_relations,
    usual_kl,
)
from ctsl_lib.data.specs import Digits
from ctsl_lib.data.types import Dataset, Split
from ctsl_lib.losses.methods import ABLATIONS
from ctsl_lib.losses.objective import Objective
from ctsl_lib.metrics.evaluation import accuracies
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.batches import Batches
from ctsl_lib.training.loop import train
from ctsl_lib.training.optimizer import make_optimizer
from ctsl_lib.training.recipe import Recipe, learning_rate_factor

OBJECTIVE = ABLATIONS["MLI+MLR"]
"""Labels, responses, distances and angles, with the kit's weights."""
RELATIONS: dict[str, PairRelations] = {
    "kernel": kernel_relations,
    "torchdistill": torchdistill_relations,
    "mdistiller": mdistiller_relations,
}
SEED = 0
TEST_BATCH = 64
"""Images in a batch of the DataLoader that tests."""
Batch = tuple[Tensor, Tensor]
Training = Callable[[], list[float]]
"""Does a training; returns each epoch's mean loss, summed over terms and peers."""


class Setting(NamedTuple):
    """A training that all do."""

    network: str
    images: int
    """Random ones of 3x32x32; 0: the built-in digits, as in the quick profile."""
    recipe: Recipe

    def data(self) -> Dataset:
        """The images."""
        return random_images(self.images) if self.images else Digits().load(SEED)

    def peers(self, data: Dataset, layout: torch.memory_format) -> list[Peer]:
        """The untrained pair."""
        pair = [build_peer(self.network, data.channels, data.num_classes, seed=k) for k in range(2)]
        return [peer.to(memory_format=layout) for peer in pair]


DIGITS = Setting("tiny_cnn", 0, Recipe())


def images(network: str, count: int) -> Setting:
    """An epoch of random images in batches of 128, in float32, cropped and mirrored."""
    return Setting(network, count, Recipe(epochs=1, batch_size=128, padding=4, mirror=True))


def kit(setting: Setting) -> Training:
    """The training by the kit's loop."""
    data = setting.data()

    def call() -> list[float]:
        peers = setting.peers(data, torch.channels_last)
        history = train(peers, OBJECTIVE, data, setting.recipe, SEED, progress=False)
        return [
            sum(term[epoch] for peer in history.terms for term in peer.values())
            for epoch in range(setting.recipe.epochs)
        ]

    return call


def plain(setting: Setting, relations: str, loader: bool = False) -> Training:
    """The training by a plain loop.

    Args:
        setting: what to train.
        relations: the name of a form in RELATIONS.
        loader: whether images come from a DataLoader with transforms for each image, in this process, as the public
            code's do; else the kit's batches.
    """
    data, recipe = setting.data(), setting.recipe
    epoch_of = _loader_batches(data, recipe) if loader else partial(_kit_batches, data, recipe)
    test = partial(_loader_accuracies, data) if loader else partial(_kit_accuracies, data)

    def call() -> list[float]:
        peers = setting.peers(data, torch.contiguous_format)
        optimizer = make_optimizer([p for peer in peers for p in peer.parameters()], recipe)
        steps = recipe.epochs * (len(data.train) // recipe.batch_size)
        scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(recipe, step / steps))
        curve = []
        for epoch in range(recipe.epochs):
            losses = []
            for peer in peers:
                peer.train()
            for batch, labels in epoch_of(epoch):
                optimizer.zero_grad()
                loss = pair_loss(peers, batch, labels, RELATIONS[relations])
                loss.backward()
                optimizer.step()
                scheduler.step()
                losses.append(loss.item())
            test(peers)
            curve.append(sum(losses) / len(losses))
        return curve

    return call


def pair_loss(
    peers: Sequence[Peer],
    batch: Tensor,
    labels: Tensor,
    relations: PairRelations,
    objective: Objective = OBJECTIVE,
) -> Tensor:
    """The objective for two peers, summed over both.

    Args:
        peers: two networks.
        batch, labels: (B, channels, H, W) normalised images and their (B,) classes.
        relations: the form of the relation losses.
        objective: the weights.
    """
    first, second = (peer(batch) for peer in peers)
    total = relations(first.embedding, second.embedding, objective.distance, objective.angle)
    for own, other in ((first, second), (second, first)):
        total = total + objective.ce * F.cross_entropy(own.logits, labels)
        total = total + objective.response * usual_kl(own.logits, other.logits.detach(), 1.0)
    return total


def _kit_batches(data: Dataset, recipe: Recipe, epoch: int) -> Iterator[Batch]:
    for batch, labels, _ in Batches(data, recipe, SEED, epoch):
        yield batch, labels


def _kit_accuracies(data: Dataset, peers: Sequence[Peer]) -> list[float]:
    assert isinstance(data.test, Split)
    return accuracies(peers, data.test, data)


def _loader_batches(data: Dataset, recipe: Recipe) -> Callable[[int], Iterable[Batch]]:
    train_set = PILImages(
        data.train.images, data.train.labels, padding=recipe.padding, mirror=recipe.mirror, **_statistics(data)
    )
    loader: Iterable[Batch] = DataLoader(train_set, recipe.batch_size, shuffle=True, drop_last=True)
    return lambda epoch: loader


def _loader_accuracies(data: Dataset, peers: Sequence[Peer]) -> list[float]:
    assert isinstance(data.test, Split)
    test_set = PILImages(data.test.images, data.test.labels, padding=0, mirror=False, **_statistics(data))
    right = [0] * len(peers)
    for peer in peers:
        peer.eval()
    with torch.no_grad():
        for batch, labels in DataLoader(test_set, TEST_BATCH):
            for k, peer in enumerate(peers):
                right[k] += int((peer(batch).logits.argmax(dim=1) == labels).sum())
    return [100 * count / len(test_set) for count in right]


def _statistics(data: Dataset) -> dict[str, list[float]]:
    return {"mean": [value / 255 for value in data.mean], "std": [value / 255 for value in data.std]}


class Difference(NamedTuple):
    """How far a form is from the kit's, relative."""

    loss: float
    """Of the mean loss of an epoch, after as many steps of both loops on the same batches."""
    gradient: float
    """Of the gradient of all weights, at the initial weights and the first batch, in float64: in float32 a unit whose
    input is nearly zero may be on in one memory layout and off in another."""


def difference(setting: Setting, relations: str) -> Difference:
    """Whether a plain loop does the same training as the kit.

    Args:
        setting: what to train, here for one epoch.
        relations: the name of a form in RELATIONS.
    """
    setting = setting._replace(recipe=setting.recipe.model_copy(update={"epochs": 1}))
    curves = [call() for call in (kit(setting), plain(setting, relations))]
    data = setting.data()
    batch, labels = next(_kit_batches(data, setting.recipe, 0))
    batch, gradients = batch.double(), []
    for own in (True, False):
        layout = torch.channels_last if own else torch.contiguous_format
        peers = [peer.double() for peer in setting.peers(data, layout)]
        if own:
            found = OBJECTIVE([peer(batch) for peer in peers], labels)
            loss = torch.stack([value for terms in found for value in terms.values()]).sum()
        else:
            loss = pair_loss(peers, batch, labels, RELATIONS[relations])
        loss.backward()
        gradients.append(
            torch.cat([p.grad.flatten() for peer in peers for p in peer.parameters() if p.grad is not None])
        )
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    ours, theirs = (curve[0] for curve in curves)
    return Difference(abs(theirs / ours - 1), error.item())
