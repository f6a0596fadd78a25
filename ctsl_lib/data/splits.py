"""Splits and label noise, fixed by a seed."""

import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from ctsl_lib.randomness import generator


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
