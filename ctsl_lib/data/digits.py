"""The built-in data: small images of handwritten digits, made hard by few and noisy labels."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ctsl_lib.data.cache import digest
from ctsl_lib.data.specs import Digits
from ctsl_lib.data.splits import add_label_noise, stratified
from ctsl_lib.data.types import Dataset, Split
from ctsl_lib.randomness import derive_seed


def load_splits(settings: Digits, seed: int) -> Dataset:
    """The data set whose choice of training images and wrong labels follows from `seed`.

    The 797 test images are the same for every seed, so that nothing chosen on the validation images of
    one seed has seen the test images of another. Of the remaining 1,000, 200 validate, `n_train` train.

    Args:
        settings: how many images train, and the share of wrong labels.
        seed: fixes which images train and validate, and which labels are wrong.

    Returns: the three splits; images (N, 1, 8, 8) uint8.
    """
    images, targets = _all_digits()
    rest, test = stratified(torch.arange(len(targets)), targets, size=797, seed=0)
    rest, validation = stratified(rest, targets, size=200, seed=derive_seed(seed, "validation"))
    train = rest
    if settings.n_train < len(rest):
        _, train = stratified(rest, targets, size=settings.n_train, seed=derive_seed(seed, "train"))
    noisy = add_label_noise(targets[train], settings.label_noise, num_classes=10, seed=seed)
    values = images[train].float()
    return Dataset(
        name=settings.name,
        train=Split(images[train], noisy, targets[train]),
        validation=Split(images[validation], targets[validation], targets[validation]),
        test=Split(images[test], targets[test], targets[test]),
        class_names=tuple(str(digit) for digit in range(10)),
        mean=(values.mean().item(),),
        std=(values.std().item(),),
        digest=content(),
    )


def content() -> str:
    """A hash of all 1,797 images and their labels, before any noise."""
    return digest(values.numpy() for values in _all_digits())


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    """(1797, 1, 8, 8) uint8 images and (1797,) int64 labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 8, 8)
    return images, torch.tensor(labels, dtype=torch.int64)
