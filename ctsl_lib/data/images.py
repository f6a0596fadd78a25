"""Real image sets as data of a spec: decoded once into a cache, then mapped into memory."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ctsl_lib.data import cache
from ctsl_lib.data.archives import check, find
from ctsl_lib.data.cache import statistics
from ctsl_lib.data.class_folders import Arrays, read_class_folders
from ctsl_lib.data.specs import ImageFolder, Images
from ctsl_lib.data.splits import add_label_noise, stratified
from ctsl_lib.data.types import Dataset, Split
from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError
from ctsl_lib.randomness import derive_seed

DIGESTS = {"cifar10": "ecaa97ed548ce24ccaea80fc0220b19a", "cifar100": "75ebce90e558059c26e40f4775405a8d"}
"""What `Images.digest` must give for the published data sets that we could read ourselves."""


def load_splits(settings: Images, seed: int) -> Dataset:
    """The data set; which images train and validate, and which labels are wrong, follows from `seed`.

    Args:
        settings: a published set or class folders of one's own. seed: of the run.

    Returns: images (N, channels, H, W) uint8; `mean` and `std` are of all training images, in units of 0 to 255.
    Raises: DataError as `decoded` does, and where there are too few images.
    """
    source = decoded(settings)
    arrays = source.arrays
    names = arrays.class_names
    labels = torch.from_numpy(arrays.train_labels)
    train, validation = torch.arange(len(labels)), torch.empty(0, dtype=torch.int64)
    if settings.n_validation + (settings.n_train or 1) > len(labels):
        raise DataError(
            f"n_train and n_validation must be at most the {len(labels)} training images together, "
            f"got {settings.n_train} and {settings.n_validation}"
        )
    if settings.n_validation:
        train, validation = stratified(
            train, labels, size=settings.n_validation, seed=derive_seed(seed, "validation"), names=names
        )
    if settings.n_train is not None and settings.n_train < len(train):
        _, train = stratified(train, labels, size=settings.n_train, seed=derive_seed(seed, "train"), names=names)
    noisy = add_label_noise(labels[train], settings.label_noise, num_classes=len(names), seed=seed)
    images, test = torch.from_numpy(arrays.train_images), torch.from_numpy(arrays.test_images)
    test_labels = torch.from_numpy(arrays.test_labels)
    return Dataset(
        name=settings.name,
        train=Split(_rows(images, train), noisy, labels[train]),
        validation=Split(_rows(images, validation), labels[validation], labels[validation]),
        test=Split(test, test_labels, test_labels),
        class_names=names,
        mean=source.mean,
        std=source.std,
        digest=source.digest,
    )


def decoded(settings: Images) -> "Cached":
    """The decoded source that these settings name.

    Args:
        settings: see `load_splits`.

    Returns: its arrays, mapped into memory.
    Raises: DataError where it is not at hand or cannot be used.
    """
    if isinstance(settings, ImageFolder):
        path, size = data_root() / settings.path, settings.size
        if not path.exists():
            raise DataError(f"path must be a folder or zip of class folders; {path} does not exist")
        return cached(path, lambda: read_class_folders(path, size), size)
    name = settings.name
    path, read = find(name)
    return cached(path, lambda: check(name, read()), expected=DIGESTS.get(name))


def _rows(images: Tensor, chosen: Tensor) -> Tensor:
    """Those rows; the memory-mapped whole where all are chosen, which costs no memory."""
    return images if len(chosen) == len(images) else images[chosen]


class Cached(NamedTuple):
    """A decoded data set, mapped into memory, with the statistics of its training images."""

    arrays: Arrays
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str


def cached(
    path: Path, read: Callable[[], Arrays], variant: int | None = None, expected: str | None = None
) -> Cached:
    """The decoded images of the source at `path`, read only if the cache does not hold them yet.

    Images are put in an order of their own (by class, then by content), so that an archive and a tree of class
    folders with the same images give the same data set, hence the same results; but for Fashion-MNIST, whose classes
    are not in the order of their names, as those of folders are.

    Args:
        path: of the source; the cache follows its files' paths, sizes and times.
        read: called where the cache does not hold it. variant: such as the size that images are brought to.
        expected: digest that the images must have, if it is known.

    Raises: DataError where they have another, and what `read` raises.
    """

    def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = in_own_order(read())
        found = cache.digest(arrays[:4])
        if expected is not None and found != expected:
            raise DataError(f"{path} is readable but does not hold the published images: digest {found}")
        about = {"class_names": arrays.class_names, "digest": found} | statistics(arrays.train_images)
        return dict(zip(Arrays._fields[:4], arrays[:4], strict=True)), about

    entry = cache.cached(cache.entry_name(path, variant), build)
    about = entry.about
    arrays = Arrays(**entry.arrays, class_names=tuple(about["class_names"]))
    return Cached(arrays, tuple(about["mean"]), cache.spread(about["std"]), about["digest"])


def in_own_order(arrays: Arrays) -> Arrays:
    """The same images sorted by class and then by content, training and test images each for themselves."""

    def order(images: np.ndarray, labels: np.ndarray) -> list[int]:
        content = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        return sorted(range(len(labels)), key=lambda i: (labels[i], content[i]))

    train = order(arrays.train_images, arrays.train_labels)
    test = order(arrays.test_images, arrays.test_labels)
    return Arrays(
        arrays.train_images[train], arrays.train_labels[train],
        arrays.test_images[test], arrays.test_labels[test], arrays.class_names,
    )  # fmt: skip
