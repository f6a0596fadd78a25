"""Data sets as tensors in memory, split once and for all by a seed."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from ctsl_lib.cache import digest
from ctsl_lib.retrieval import Metric
from ctsl_lib.seeds import derive_seed, generator

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


class Digits(BaseModel, frozen=True, extra="forbid"):
    """scikit-learn's 1,797 real 8x8 images of handwritten digits, made hard by little and noisy data."""

    metric: ClassVar[str] = "top1"
    """The number that a network is judged by first; see `evaluation.evaluate`."""

    name: Literal["digits"] = "digits"
    n_train: int = Field(default=400, ge=20, le=800)
    """Number of training images."""
    label_noise: float = Field(default=0.4, ge=0, lt=1)
    """Share of training images that carry a random label (any of the ten, so a tenth of them stay right)."""

    def load(self, seed: int) -> Dataset:
        """The data set whose choice of training images and wrong labels follows from `seed`.

        The 797 test images are the same for every seed, so that nothing chosen on the validation images of
        one seed has seen the test images of another. Of the remaining 1,000, 200 validate, `n_train` train.
        """
        images, targets = _all_digits()
        rest, test = stratified(torch.arange(len(targets)), targets, size=797, seed=0)
        rest, validation = stratified(rest, targets, size=200, seed=derive_seed(seed, "validation"))
        train = rest
        if self.n_train < len(rest):
            _, train = stratified(rest, targets, size=self.n_train, seed=derive_seed(seed, "train"))
        noisy = add_label_noise(targets[train], self.label_noise, num_classes=10, seed=seed)
        values = images[train].float()
        return Dataset(
            name=self.name,
            train=Split(images[train], noisy, targets[train]),
            validation=Split(images[validation], targets[validation], targets[validation]),
            test=Split(images[test], targets[test], targets[test]),
            class_names=tuple(str(digit) for digit in range(10)),
            mean=(values.mean().item(),),
            std=(values.std().item(),),
            digest=self.digest(),
        )

    def digest(self) -> str:
        """A hash of all 1,797 images and their labels, before any noise."""
        return digest(values.numpy() for values in _all_digits())


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    """(1797, 1, 8, 8) uint8 images and (1797,) int64 labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 8, 8)
    return images, torch.tensor(labels, dtype=torch.int64)


def stratified(indices: Tensor, labels: Tensor, *, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split off `size` of the indices with every class in proportion: (the others, those split off)."""
    others, chosen = train_test_split(
        indices.numpy(), test_size=size, stratify=labels[indices].numpy(), random_state=seed % 2**32
    )
    return torch.from_numpy(others), torch.from_numpy(chosen)


def add_label_noise(labels: Tensor, share: float, *, num_classes: int, seed: int) -> Tensor:
    """A copy of `labels` in which round(share * N) randomly chosen ones are drawn anew from all classes."""
    if not 0 <= share < 1:
        hint = f" Did you mean {share / 100:g}?" if 1 < share < 100 else ""
        raise ValueError(f"label_noise must be in [0, 1), got {share}.{hint}")
    draw = generator(seed, "label noise")
    chosen = torch.randperm(len(labels), generator=draw)[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[chosen] = torch.randint(num_classes, chosen.shape, generator=draw)
    return noisy
