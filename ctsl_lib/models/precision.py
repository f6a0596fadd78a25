"""The precision in which the layers before the embedding compute."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]


def autocast(device: "torch.device", precision: Precision) -> "torch.autocast":
    """A context in which layers compute in this precision; weights, logits and losses stay float32.

    Args:
        device: the device of the network.
        precision: "bf16" for bfloat16, "fp32" for no change.
    """
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
