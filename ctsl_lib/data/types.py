"""Data sets as tensors in memory."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal, Self

import torch
from torch import Tensor

from ctsl_lib.data.specs import Metric
from ctsl_lib.errors import DataError

JUNK, DISTRACTOR = -1, 0
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class OnDevice:
    """Something with fields that are tensors, or hold tensors, which can be moved to a device together."""

    def to(self, device: torch.device | str) -> Self:
        """The same with all tensors on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if hasattr(value, "to")}
        return replace(self, **moved)


def _check(images: Tensor, **about: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(
            "images must be uint8 of shape (N, channels, height, width), in steps from 0 to 255; "
            f"got {str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
        )
    for name, values in about.items():
        if values.dtype != torch.int64 or values.shape != images.shape[:1]:
            raise DataError(
                f"{name} must be int64 of shape (N,) for {len(images)} images; "
                f"got {str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
            )


@dataclass(frozen=True)
class Split(OnDevice):
    """Images with their labels; `true_labels` differ from `labels` where label noise was added."""

    images: Tensor
    """(N, channels, height, width) uint8."""
    labels: Tensor
    """(N,) int64, what a network is trained or judged on."""
    true_labels: Tensor
    """(N,) int64, before label noise."""

    def __post_init__(self) -> None:
        _check(self.images, labels=self.labels, true_labels=self.true_labels)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Sightings(OnDevice):
    """Pictures of persons, each with who it shows and which camera took it."""

    images: Tensor
    """(N, channels, height, width) uint8."""
    identity: Tensor
    """(N,) int64; 0 is a distractor, somebody who is never searched for."""
    camera: Tensor
    """(N,) int64."""

    def __post_init__(self) -> None:
        _check(self.images, identity=self.identity, camera=self.camera)

    def __len__(self) -> int:
        return len(self.identity)


@dataclass(frozen=True)
class RetrievalSplit(OnDevice):
    """What retrieval is judged on: each query is searched for in the gallery. Nobody in it was trained on."""

    query: Sightings
    gallery: Sightings
    distance: Metric
    """Between embeddings; the gallery is ranked by it."""

    def __len__(self) -> int:
        return len(self.query)


EvaluationSplit = Split | RetrievalSplit


@dataclass(frozen=True)
class Dataset(OnDevice):
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
        """uint8 images -> float32 with mean 0 and standard deviation 1 over the training set; always a copy."""
        mean, std = self._statistics
        return images.to(torch.float32, copy=True).sub_(mean).div_(std)

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation as tensors on the images' device: made once, as a copy to a GPU stalls it."""
        device = self.train.images.device
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return mean, std
