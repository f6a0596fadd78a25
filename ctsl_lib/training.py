"""One loop for every method and for both stages."""

import math
import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from ctsl_lib.checkpoints import Checkpoint
from ctsl_lib.data import Augmentation, Dataset, SplitName
from ctsl_lib.evaluation import accuracies, predict
from ctsl_lib.networks import Peer
from ctsl_lib.objectives import Objective
from ctsl_lib.seeds import derive_seed, generator


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """How to train: optimiser, schedule, epochs, batches, augmentation."""

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=32, ge=3)
    """Images a step; the last, incomplete batch of an epoch is left out."""
    learning_rate: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["one_cycle", "cosine", "steps"] = "one_cycle"
    """one_cycle: up over the first 30 %, then down a cosine. cosine: down. steps: times `drop` at `drop_at`."""
    drop_at: tuple[float, ...] = (0.3, 0.6, 0.8)
    """For `steps`: where to lower the rate, as shares of the training (0.3, 0.6, 0.8 of 200: 60, 120, 160)."""
    drop: float = Field(default=0.2, gt=0, lt=1)
    padding: int = Field(default=1, ge=0)
    """Random shift of each image by up to this many pixels; 0 for none."""
    mirror: bool = False
    """Random left-right flip of each image."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between two points of the accuracy curve."""


class History(BaseModel, frozen=True):
    """What training went through, a value for every epoch (accuracies: for every evaluated epoch)."""

    terms: list[dict[str, list[float]]]
    """For each peer: term -> weighted mean over the epoch's batches."""
    accuracy: list[list[float]]
    """For each peer: top-1 in percent."""
    evaluated: list[int]
    """The epochs, counted from 1, that `accuracy` belongs to."""

    def add_terms(self, means: Sequence[dict[str, float]]) -> None:
        """Append an epoch's mean of every term, for each peer."""
        for found, curves in zip(means, self.terms, strict=True):
            for name, mean in found.items():
                curves.setdefault(name, []).append(mean)

    def add_accuracy(self, epoch: int, values: Sequence[float]) -> None:
        """Append the accuracy of each peer after this epoch."""
        self.evaluated.append(epoch)
        for curve, value in zip(self.accuracy, values, strict=True):
            curve.append(value)


class NonFiniteLossError(RuntimeError):
    """Training has left the numbers: a term became NaN or infinite."""


def train(
    peers: Sequence[Peer],
    objective: Objective,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    frozen: Sequence[Peer] | None = None,
    evaluate_on: SplitName = "test",
    checkpoint: Checkpoint | None = None,
    progress: bool | None = None,
) -> History:
    """Train the peers together, in place, on the device that they are on.

    Args:
        peers: K >= 1 networks; K = 1 has no mutual terms.
        objective: weights of the terms, the same for every peer.
        data: the data set, on the peers' device.
        recipe: how to train.
        seed: fixes the order of images, augmentation and dropout.
        frozen: a trained copy for every peer, for the self term; never changed.
        evaluate_on: the split for the accuracy curve; choose settings on "validation" only.
        checkpoint: where to keep the state between epochs, and to go on from if there is one.
        progress: show a bar; by default unless the environment variable CTSL_PROGRESS is 0.

    Returns: the history. Raises: ValueError on settings that do not fit, NonFiniteLossError.
    """
    n, batch_size = len(data.train), recipe.batch_size
    if not peers:
        raise ValueError("peers must hold 1 or more networks, got none")
    if batch_size > n:
        raise ValueError(f"batch_size must be at most the {n} training images, got {batch_size}")
    if objective.self > 0 and (frozen is None or len(frozen) != len(peers)):
        raise ValueError(f"the self term needs {len(peers)} frozen copies; train stage 1 first")
    steps = n // batch_size
    optimizer = torch.optim.SGD(
        [parameter for peer in peers for parameter in peer.parameters()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(recipe, step / (recipe.epochs * steps)))
    frozen_logits = _FrozenLogits(frozen, data, cache=recipe.padding == 0 and not recipe.mirror)
    history = History(terms=[{} for _ in peers], accuracy=[[] for _ in peers], evaluated=[])
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is not None:
        for peer, state in zip(peers, saved["peers"], strict=True):
            peer.load_state_dict(state)
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        history = History.model_validate(saved["history"])
    first = 0 if saved is None else int(saved["epoch"])

    epochs = range(first, recipe.epochs)
    bar = tqdm(
        epochs, desc="training", unit="epoch", initial=first, total=recipe.epochs, disable=not show(progress)
    )
    with torch.random.fork_rng():
        for epoch in bar:
            torch.manual_seed(derive_seed(seed, "dropout", epoch))
            batches = _Batches(data, recipe, seed, epoch, frozen_logits)
            history.add_terms(_epoch(peers, objective, batches, optimizer, scheduler))
            if (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs:
                history.add_accuracy(epoch + 1, accuracies(peers, data.split(evaluate_on), data))
            if checkpoint is not None:
                state = {
                    "epoch": epoch + 1,
                    "peers": [peer.state_dict() for peer in peers],
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "history": history.model_dump(),
                }
                checkpoint.end_of_epoch(state, epoch + 1, recipe.epochs)
    return history


def _epoch(
    peers: Sequence[Peer],
    objective: Objective,
    batches: "_Batches",
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
) -> list[dict[str, float]]:
    """Once through the training images; returns for each peer term -> mean over the batches."""
    everyone = range(len(peers))
    groups = [everyone] if objective.update == "simultaneous" else [range(k, k + 1) for k in everyone]
    sums: list[dict[str, Tensor]] = [{} for _ in peers]
    for peer in peers:
        peer.train()
    for step, (images, labels, copies) in enumerate(batches):
        for group in groups:
            optimizer.zero_grad()
            outputs = [peer(images) for peer in peers]  # all forwards first
            losses = objective(outputs, labels, copies, only=group)  # for each peer a dict: term -> scalar
            total = torch.stack([value for loss in losses for value in loss.values()]).sum()
            _check_finite(total, dict(zip(group, losses, strict=True)), batches.epoch, step)
            total.backward()
            optimizer.step()
            for k, loss in zip(group, losses, strict=True):
                for name, value in loss.items():
                    sums[k][name] = sums[k].get(name, 0) + value.detach()
        scheduler.step()
    return [{name: value.item() / len(batches) for name, value in found.items()} for found in sums]


class _Batches:
    """The batches of one epoch: augmented images, labels, the frozen copies' logits."""

    def __init__(
        self, data: Dataset, recipe: Recipe, seed: int, epoch: int, frozen_logits: "_FrozenLogits"
    ) -> None:
        self.data, self.recipe, self.epoch, self.frozen_logits = data, recipe, epoch, frozen_logits
        n, device = len(data.train), data.train.images.device
        self.order = torch.randperm(n, generator=generator(seed, "order", epoch)).to(device)
        self.augmentation = Augmentation.draw(n, recipe.padding, recipe.mirror, seed, epoch).to(device)

    def __len__(self) -> int:
        return len(self.order) // self.recipe.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, list[Tensor] | None]]:
        train, size = self.data.train, self.recipe.batch_size
        for batch in self.order[: len(self) * size].split(size):
            images = self.data.normalise(self.augmentation(train.images, batch))
            yield images, train.labels[batch], self.frozen_logits(batch, images)


def learning_rate_factor(recipe: Recipe, done: float) -> float:
    """The learning rate, as a share of the recipe's, after the share `done` of the training."""
    if recipe.schedule == "steps":
        return recipe.drop ** sum(done >= share for share in recipe.drop_at)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    rise = 0.3
    if done < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise))
    return 0.5 * (1 + math.cos(math.pi * min((done - rise) / (1 - rise), 1)))


class _FrozenLogits:
    """Answers of the frozen copies to a batch; computed once for all where images are never changed."""

    def __init__(self, frozen: Sequence[Peer] | None, data: Dataset, cache: bool) -> None:
        self.frozen = list(dict.fromkeys(frozen or ()))  # one teacher of several peers answers once
        self.index = [self.frozen.index(copy) for copy in frozen or ()]
        self.all_logits: list[Tensor] | None = None
        if cache:
            self.all_logits = [predict(copy, data.train.images, data).logits for copy in self.frozen]
        for copy in self.frozen:
            copy.eval()

    @torch.no_grad()
    def __call__(self, batch: Tensor, images: Tensor) -> list[Tensor] | None:
        if not self.frozen:
            return None
        if self.all_logits is not None:
            answers = [logits[batch] for logits in self.all_logits]
        else:
            answers = [copy(images).logits for copy in self.frozen]
        return [answers[i] for i in self.index]


def _check_finite(total: Tensor, losses: dict[int, dict[str, Tensor]], epoch: int, step: int) -> None:
    if not torch.isfinite(total):
        values = ", ".join(
            f"peer {k} {name} = {value.item():g}" for k, loss in losses.items() for name, value in loss.items()
        )
        raise NonFiniteLossError(f"loss is not finite in epoch {epoch + 1}, step {step + 1}: {values}")


def show(progress: bool | None) -> bool:
    """Whether to draw progress bars: as asked, else unless CTSL_PROGRESS is 0 (runners of notebooks set it)."""
    return os.environ.get("CTSL_PROGRESS", "1") != "0" if progress is None else progress


def frozen_copy(peer: Peer) -> Peer:
    """A copy of a peer that no longer learns: in evaluation mode, without gradients."""
    return deepcopy(peer).eval().requires_grad_(False)


def frozen_copies(peers: Sequence[Peer]) -> list[Peer]:
    """A frozen copy of each; a teacher that stands for several peers is copied, and will answer, only once."""
    copies = {id(peer): frozen_copy(peer) for peer in peers}
    return [copies[id(peer)] for peer in peers]
