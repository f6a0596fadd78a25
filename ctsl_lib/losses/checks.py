"""What the losses ask of their input; a ValueError names what does not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ctsl_lib.errors import NonFiniteInputError


def check_embeddings(embeddings: Mapping[str, Tensor], *, minimum: int, term: str) -> None:
    """Check that these are embeddings (B, D) of one batch, and that all numbers are finite.

    Args:
        embeddings: name of the argument -> tensor; two or more, whose widths D may differ.
        minimum: the smallest B that the loss is defined for.
        term: the name of the loss, for the message.

    Raises: ValueError that names what is wrong and the shapes that were given.
    """
    shapes = " and ".join(f"{name} {tuple(embedding.shape)}" for name, embedding in embeddings.items())
    sizes = {embedding.shape[:1] for embedding in embeddings.values()}
    if len(embeddings) < 2:
        raise ValueError(f"{term} compares 2 or more peers, got {len(embeddings)}")
    if any(embedding.ndim != 2 for embedding in embeddings.values()):
        raise ValueError(f"{term} needs embeddings of shape (B, D), got {shapes}")
    if len(sizes) > 1:
        raise ValueError(f"{' and '.join(embeddings)} must hold the same images, got {shapes}")
    if next(iter(sizes))[0] < minimum:
        raise ValueError(f"{term} compares {minimum} or more images, so the batch is too small: got {shapes}")
    check_finite(**embeddings)


def check_finite(**tensors: Tensor) -> None:
    """Raise a NonFiniteInputError, which is a ValueError, if a tensor on the CPU holds NaN or infinity.

    On a GPU nothing is checked here, because the program would have to wait for the GPU's answer. There such a
    value makes the loss non-finite, see `zero_if_finite`, and the training loop stops when it sees that.
    """
    for name, values in tensors.items():
        if values.device.type == "cpu" and not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise NonFiniteInputError(
                f"{name} of shape {tuple(values.shape)} holds {bad} values that are not finite"
            )


def zero_if_finite(*tensors: Tensor) -> Tensor:
    """A float64 scalar to add: 0, or NaN if a tensor holds NaN or infinity, which a comparison would pass over."""
    return torch.stack([(0 * values.detach()).sum().double() for values in tensors]).sum()
