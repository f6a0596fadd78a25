"""Which image comes when in an epoch: at random, or in batches of a few classes (identity sampling)."""

import torch
from torch import Tensor

from ctsl_lib.randomness import generator


def order(labels: Tensor, batch_size: int, images_per_class: int, seed: int, epoch: int) -> Tensor:
    """Which image comes when in an epoch: (M,) indices, batch after batch.

    Args:
        labels: (N,) of the training images.
        batch_size: images in a batch.
        images_per_class: 0 for a random order. Else, as K, every batch holds batch_size / K different classes, K
            images of each. All classes come equally often up to one turn, and so do the images of a class; one with
            fewer than K images shows some of them twice in a batch, and so may one whose turn ends within a batch.
        seed: of the run. epoch: from 0; each has its own order.

    Raises: ValueError where a batch needs more classes than there are.
    """
    source = generator(seed, "order", epoch)
    if not images_per_class:
        return torch.randperm(len(labels), generator=source)
    size = batch_size // images_per_class
    labels = labels.cpu()  # once: from a GPU each copy waits
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    if len(members) < size:
        raise ValueError(
            f"batch_size / images_per_class must be at most the {len(members)} classes, got {size}; "
            "take smaller batches or more images of each class"
        )
    turns = len(labels) // batch_size
    queues: list[Tensor] = [group[:0] for group in members]
    found: list[Tensor] = []
    classes: list[int] = []
    for _ in range(turns):
        if len(classes) < size:
            again = torch.randperm(len(members), generator=source).tolist()
            waiting = set(classes)  # those come late in the new turn: no class may be in one batch twice
            classes += sorted(again, key=waiting.__contains__)
        for label in classes[:size]:
            while len(queues[label]) < images_per_class:
                group = members[label]
                shuffled = group[torch.randperm(len(group), generator=source)]
                queues[label] = torch.cat([queues[label], shuffled])
            found.append(queues[label][:images_per_class])
            queues[label] = queues[label][images_per_class:]
        classes = classes[size:]
    return torch.cat(found)
