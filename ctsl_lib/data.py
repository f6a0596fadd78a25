"""Data sets as tensors in memory, split once and for all by a seed; batches augmented all at once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

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


@dataclass(frozen=True)
class Dataset:
    """The three splits of a data set and what a network has to know of it."""

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel over the training images, in units of a uint8 step."""
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return self.train.images.shape[1]

    def split(self, name: SplitName) -> Split:
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

        def move(split: Split) -> Split:
            return Split(split.images.to(device), split.labels.to(device), split.true_labels.to(device))

        parts = {name: move(self.split(name)) for name in ("train", "validation", "test")}
        return Dataset(name=self.name, class_names=self.class_names, mean=self.mean, std=self.std, **parts)


class Digits(BaseModel, frozen=True, extra="forbid"):
    """scikit-learn's 1,797 real 8x8 images of handwritten digits, made hard by little and noisy data."""

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
        pixels, labels = load_digits(return_X_y=True)
        images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 8, 8)
        targets = torch.tensor(labels, dtype=torch.int64)
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
        )


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


@dataclass(frozen=True)
class Augmentation:
    """A random shift, and perhaps a mirror image, for every image of a data set: one epoch's worth.

    Each image has its own draw, which depends on the seed and the epoch alone, not on batches or their order.
    """

    shifts: Tensor
    """(N, 2) pixels down and right, each between 0 and 2 * padding; `padding` means not moved."""
    mirrored: Tensor
    """(N,) bool."""
    padding: int
    mirror: bool

    @classmethod
    def draw(cls, n: int, padding: int, mirror: bool, seed: int, epoch: int) -> "Augmentation":
        """Draws for `n` images in epoch number `epoch`."""
        source = generator(seed, "augmentation", epoch)
        shifts = torch.randint(2 * padding + 1, (n, 2), generator=source)
        mirrored = torch.rand(n, generator=source) < 0.5 if mirror else torch.zeros(n, dtype=torch.bool)
        return cls(shifts, mirrored, padding, mirror)

    def to(self, device: torch.device | str) -> "Augmentation":
        """The same draws on `device`."""
        return Augmentation(self.shifts.to(device), self.mirrored.to(device), self.padding, self.mirror)

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Crop each image at its own place out of a border of zeros, and mirror those drawn for it.

        Args:
            images: (N, channels, H, W), the whole data set.
            indices: (B,) which of them make the batch.
        """
        batch = images.index_select(0, indices)
        if self.padding == 0 and not self.mirror:
            return batch
        (height, width), shifts = batch.shape[2:], self.shifts[indices]
        batch = F.pad(batch, (self.padding,) * 4)
        rows = torch.arange(height, device=batch.device) + shifts[:, :1]
        columns = torch.arange(width, device=batch.device) + shifts[:, 1:]
        if self.mirror:
            columns = torch.where(self.mirrored[indices, None], columns.flip(1), columns)
        # One gather crops and mirrors the whole batch: pixel (row, column) of the padded image, for all channels.
        places = rows[:, :, None] * batch.shape[3] + columns[:, None, :]
        places = places.flatten(1)[:, None].expand(-1, batch.shape[1], -1)
        return batch.flatten(2).gather(2, places).view(-1, batch.shape[1], height, width)
