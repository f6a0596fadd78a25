"""In which precision the layers before the embedding compute."""

from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Within it, layers before the embedding compute in this precision; weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class StridedDepthwise(nn.Conv2d):
    """A convolution that stays in float32 under autocast on a CPU.

    The backward pass of strided depthwise convolutions in bfloat16 is many times slower there.
    """

    @classmethod
    def like(cls, other: nn.Conv2d) -> "StridedDepthwise":
        """The same convolution, with the parameters of `other`."""
        layer = cls(
            other.in_channels, other.out_channels, other.kernel_size, other.stride, other.padding,  # type: ignore[arg-type]
            other.dilation, other.groups, other.bias is not None, other.padding_mode, device="meta",  # type: ignore[arg-type]
        )  # fmt: skip
        layer.weight, layer.bias = other.weight, other.bias
        return layer

    def forward(self, images: Tensor) -> Tensor:
        """As Conv2d."""
        if images.device.type != "cpu":
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float())
