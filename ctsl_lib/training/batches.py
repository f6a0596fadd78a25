"""The batches of an epoch: augmented images, labels, and the frozen copies' answers to the images."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ctsl_lib.data.augmentation import Augmentation, Erasing
from ctsl_lib.data.sampler import order
from ctsl_lib.data.types import Dataset
from ctsl_lib.losses.objective import REGISTERED, Objective
from ctsl_lib.metrics.evaluation import predict
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.precision import autocast
from ctsl_lib.training.recipe import Recipe


class FrozenAnswers:
    """The frozen copies' answers to each batch.

    They are computed only once, at the start, without augmentation and without terms of a user's own that
    need them, which may want more than logits.
    """

    def __init__(self, frozen: Sequence[Peer], data: Dataset, recipe: Recipe, objective: Objective) -> None:
        """Prepare the copies' answers.

        Args:
            frozen: for each peer its frozen copy, or the teacher.
            data: the data set, on the copies' device.
            recipe: whether images are augmented, and the precision.
            objective: who learns from the answers.
        """
        copies = list(dict.fromkeys(frozen))  # a teacher that several peers share answers once
        self.index = [copies.index(copy) for copy in frozen]
        self.frozen = copies
        self.precision = recipe.precision
        self.all_logits: list[Tensor] | None = None
        own = any(REGISTERED[name].needs == "frozen" for name, _ in objective.extra)
        if not recipe.augments and not own:
            images = data.train.images
            self.all_logits = [predict(copy, images, data, self.precision).logits for copy in self.frozen]

    @torch.no_grad()
    def __call__(self, batch: Tensor, images: Tensor) -> list[PeerOutput]:
        """For each peer what its copy answers.

        Args:
            batch: (B,) indices of the training images.
            images: (B, channels, H, W) the same images, augmented and normalised.
        """
        if self.all_logits is not None:  # the embedding is left out: only terms of a user's own read it
            answers = [PeerOutput(logits[batch], logits.new_empty(len(batch), 0)) for logits in self.all_logits]
        else:
            with autocast(images.device, self.precision):
                answers = [copy(images) for copy in self.frozen]
        return [answers[i] for i in self.index]


class Batches:
    """The batches of one epoch: iterate over augmented images, labels, and the frozen copies' answers."""

    def __init__(
        self, data: Dataset, recipe: Recipe, seed: int, epoch: int, frozen_answers: FrozenAnswers | None = None
    ) -> None:
        """Draw the order of the images and their augmentation.

        Args:
            data: the data set.
            recipe: batch size, sampling and augmentation.
            seed, epoch: together they fix all random numbers; epochs are counted from 0.
            frozen_answers: gives the frozen copies' answers, if somebody learns from them.
        """
        self.data, self.recipe, self.frozen_answers = data, recipe, frozen_answers
        self.seed, self.epoch = seed, epoch
        (n, _, height, width), device = data.train.images.shape, data.train.images.device
        self.order = order(data.train.labels, recipe.batch_size, recipe.images_per_class, seed, epoch).to(device)
        self.augmentation = Augmentation.draw(n, recipe.padding, recipe.mirror, seed, epoch).to(device)
        self.erasing: Erasing | None = None
        if recipe.erasing > 0:
            self.erasing = Erasing.draw(n, recipe.erasing, height / width, seed, epoch).to(device)

    def __len__(self) -> int:
        return len(self.order) // self.recipe.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, list[PeerOutput] | None]]:
        train, size = self.data.train, self.recipe.batch_size
        for batch in self.order[: len(self) * size].split(size):
            images = self.data.normalise(self.augmentation(train.images, batch))
            if self.erasing is not None:
                images = self.erasing(images, batch)
            answers = self.frozen_answers(batch, images) if self.frozen_answers is not None else None
            yield images, train.labels[batch], answers
