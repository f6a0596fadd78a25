"""Tiny networks for the built-in images, which train in seconds."""

import torch.nn.functional as F
from torch import Tensor, nn

from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import register


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _three_convolutions(channels: int, num_classes: int, width: int) -> Peer:
    backbone = nn.Sequential(
        _conv(channels, width),
        _conv(width, 2 * width),
        nn.MaxPool2d(2),
        _conv(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Peer(backbone, width=4 * width, num_classes=num_classes)


@register("tiny_cnn")
def tiny_cnn(channels: int, num_classes: int) -> Peer:
    """Three convolutions of 16, 32 and 64 channels, then global average pooling; for images of 8x8 to 32x32."""
    return _three_convolutions(channels, num_classes, width=16)


@register("pocket_cnn")
def pocket_cnn(channels: int, num_classes: int) -> Peer:
    """`tiny_cnn` with a quarter of the channels: a small student."""
    return _three_convolutions(channels, num_classes, width=4)


@register("wide_cnn")
def wide_cnn(channels: int, num_classes: int) -> Peer:
    """`tiny_cnn` with twice the channels: a larger teacher."""
    return _three_convolutions(channels, num_classes, width=32)


@register("tiny_reid")
def tiny_reid(channels: int, num_classes: int) -> Peer:
    """Four convolutions of 16, 32, 64 and 64 channels with early pooling; for pictures of 64x32."""
    backbone = nn.Sequential(
        nn.MaxPool2d(2),
        _conv(channels, 16),
        nn.MaxPool2d(2),
        _conv(16, 32),
        nn.MaxPool2d(2),
        _conv(32, 64),
        _conv(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Peer(backbone, width=64, num_classes=num_classes)


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, width, H, W)."""
        return F.relu(images + self.second(self.first(images)))


@register("tiny_resnet")
def tiny_resnet(channels: int, num_classes: int) -> Peer:
    """A residual network of 24 and 32 channels with early pooling; for images of 8x8 to 32x32."""
    backbone = nn.Sequential(
        _conv(channels, 24),
        nn.MaxPool2d(2),
        ResidualBlock(24),
        _conv(24, 32),
        ResidualBlock(32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Peer(backbone, width=32, num_classes=num_classes)
