"""The precision in which the layers before the embedding compute."""

import platform
import warnings
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]


def autocast(device: "torch.device", precision: Precision) -> "torch.autocast":
    """A context in which layers compute in this precision; weights, logits and losses stay float32.

    On a CUDA device "fp32" is what PyTorch makes of float32: cuDNN's convolutions round products to TF32 on Ampere and
    newer, unless `torch.backends.cudnn.allow_tf32` is switched off.

    Args:
        device: the device of the network.
        precision: "bf16" for bfloat16, "fp32" for no change.
    """
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def bf16_in_hardware(device: "torch.device") -> bool | None:
    """Whether a device has instructions for bfloat16, without which it is emulated; None if PyTorch cannot tell.

    Args:
        device: of any kind; PyTorch can ask CUDA devices and x86 CPUs.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
        tell = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return None if tell is None else bool(tell())
    return None


def warn_of_emulation(device: "torch.device", precision: Precision) -> None:
    """Warn, once in a process, if bfloat16 is asked for on a device that must emulate it.

    Args:
        device: the device of the network.
        precision: that of the recipe.
    """
    if precision == "bf16" and bf16_in_hardware(device) is False:
        warnings.warn(
            f"precision is bf16, but there are no bf16 instructions on this {device.type.upper()}: the results are of "
            "bf16, the speed is below that of fp32. precision=fp32 is faster here, and another run with another record",
            stacklevel=2,
        )
