"""Splits and label noise, fixed by a seed."""

from collections.abc import Sequence

import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from ctsl_lib.errors import DataError
from ctsl_lib.randomness import generator


def stratified(
    indices: Tensor, labels: Tensor, *, size: int, seed: int, names: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Split off some of the indices with every class in proportion.

    Args:
        indices: (N,) into `labels`. labels: class indices.
        size: how many to split off.
        seed: fixes the choice.
        names: of the classes, for the message.

    Returns: the others, and those split off.
    Raises: DataError where a class would be missing from one of both parts.
    """
    present, counts = labels[indices].unique(return_counts=True)
    classes, single = len(present), present[counts == 1].tolist()
    if single:
        raise DataError(
            f"class {names[single[0]] if names else single[0]} has a single image here, and {size} of {len(indices)} "
            "are to be split off with every class in both parts; add images, or leave n_train and n_validation out"
        )
    if min(size, len(indices) - size) < classes:
        raise DataError(
            f"{size} of {len(indices)} images cannot be split off with every class in proportion, as both parts need "
            f"{classes} images or more; change n_train or n_validation"
        )
    others, chosen = train_test_split(
        indices.numpy(), test_size=size, stratify=labels[indices].numpy(), random_state=seed % 2**32
    )
    parts = torch.from_numpy(others), torch.from_numpy(chosen)
    classes_of = [set(labels[part].unique().tolist()) for part in parts]
    for label, count in zip(present.tolist(), counts.tolist(), strict=True):
        if not all(label in found for found in classes_of):
            raise DataError(
                f"class {names[label] if names else label} has {count} of the {len(indices)} images here, too few to "
                f"be in both parts when {size} are split off; add images, or change n_train or n_validation"
            )
    return parts


def add_label_noise(labels: Tensor, share: float, *, num_classes: int, seed: int) -> Tensor:
    """A copy of the labels in which some are redrawn at random from all classes, so that a few stay right.

    Args:
        labels: (N,) class indices.
        share: of them that is redrawn, rounded to whole images.
        num_classes: how many classes there are.
        seed: fixes which are redrawn, and what they become.

    Raises: ValueError on a share outside [0, 1).
    """
    if not 0 <= share < 1:
        hint = f" Did you mean {share / 100:g}?" if 1 < share < 100 else ""
        raise ValueError(f"label_noise must be in [0, 1), got {share}.{hint}")
    draw = generator(seed, "label noise")
    chosen = torch.randperm(len(labels), generator=draw)[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[chosen] = torch.randint(num_classes, chosen.shape, generator=draw)
    return noisy
