"""Data sets as tensors in memory."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from ctsl_lib.data.specs import Metric

JUNK, DISTRACTOR = -1, 0
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """Images with their labels; `true_labels` differ from `labels` where label noise was added."""

    images: Tensor
    """(N, channels, height, width) uint8."""
    labels: Tensor
    """(N,) int64, what a network is trained or judged on."""
    true_labels: Tensor
    """(N,) int64, before label noise."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        """The same on `device`."""
        return Split(self.images.to(device), self.labels.to(device), self.true_labels.to(device))


@dataclass(frozen=True)
class Sightings:
    """Pictures of persons, each with who it shows and which camera took it."""

    images: Tensor
    """(N, channels, height, width) uint8."""
    identity: Tensor
    """(N,) int64; 0 is a distractor, somebody who is never searched for."""
    camera: Tensor
    """(N,) int64."""

    def __len__(self) -> int:
        return len(self.identity)

    def to(self, device: torch.device | str) -> "Sightings":
        """The same on `device`."""
        return Sightings(self.images.to(device), self.identity.to(device), self.camera.to(device))


@dataclass(frozen=True)
class RetrievalSplit:
    """What retrieval is judged on: each query is searched for in the gallery. Nobody in it was trained on."""

    query: Sightings
    gallery: Sightings
    distance: Metric
    """Between embeddings; the gallery is ranked by it."""

    def __len__(self) -> int:
        return len(self.query)

    def to(self, device: torch.device | str) -> "RetrievalSplit":
        """The same on `device`."""
        return RetrievalSplit(self.query.to(device), self.gallery.to(device), self.distance)


EvaluationSplit = Split | RetrievalSplit


@dataclass(frozen=True)
class Dataset:
    """The three splits of a data set and what a network has to know of it."""

    name: str
    train: Split
    validation: EvaluationSplit
    test: EvaluationSplit
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel over the training images, in units of a uint8 step."""
    std: tuple[float, ...]
    digest: str = ""
    """A hash of all images and labels that the splits are taken from; empty where it does not matter."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return self.train.images.shape[1]

    def split(self, name: SplitName) -> EvaluationSplit:
        """The split of that name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images -> float32 with mean 0 and standard deviation 1 over the training set."""
        mean, std = self._statistics
        return images.float().sub_(mean).div_(std)

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation as tensors on the images' device: made once, as a copy to a GPU stalls it."""
        device = self.train.images.device
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return mean, std

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data set with its tensors on `device`."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )
