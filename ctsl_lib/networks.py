"""Peers: a backbone that makes an embedding, and a linear classifier on top of it."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctsl_lib.seeds import seeded


class PeerOutput(NamedTuple):
    """What a peer says of a batch of images: (B, C) logits and the (B, D) embedding they come from."""

    logits: Tensor
    embedding: Tensor

    def detach(self) -> "PeerOutput":
        """The same output as a fixed target: no gradient flows back through it."""
        return PeerOutput(self.logits.detach(), self.embedding.detach())


class Peer(nn.Module):
    """One network of a group that learns together: `backbone` maps images to embeddings of width `width`."""

    def __init__(self, backbone: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> PeerOutput:
        """(B, channels, H, W) normalised images -> logits and embedding, at least float32 under autocast too."""
        embedding = self.backbone(images)
        if torch.is_autocast_enabled(embedding.device.type):
            embedding = embedding.float()
        with torch.autocast(embedding.device.type, enabled=False):
            return PeerOutput(self.classifier(embedding), embedding)


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


def peer_from(network: nn.Module, classifier: str) -> Peer:
    """Any network whose last layer is linear, as a peer: what enters that layer becomes the embedding.

    Args:
        network: of torchvision, or your own; it maps images to logits. It is changed in place.
        classifier: the name of its last layer, such as "fc" or "classifier.6".

    Raises: ValueError where there is no linear layer of that name.
    """
    names = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if classifier not in names:
        raise ValueError(f"classifier must name a linear layer, one of {', '.join(names)}; got {classifier!r}")
    last = network.get_submodule(classifier)
    assert isinstance(last, nn.Linear)
    parent, _, child = classifier.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    peer = Peer(network, last.in_features, last.out_features)
    peer.classifier = last
    return peer


Builder = Callable[[int, int], Peer]
NETWORKS: dict[str, Builder] = {}
"""Name -> function of (channels of the images, number of classes) that returns an untrained Peer."""


def register(name: str) -> Callable[[Builder], Builder]:
    """Add a network to the registry under `name`: decorate a function (channels, num_classes) -> Peer."""

    def add(builder: Builder) -> Builder:
        if name in NETWORKS:
            raise ValueError(f"a network named {name!r} is registered already")
        NETWORKS[name] = builder
        return builder

    return add


def check_network(name: str) -> str:
    """Return `name` if it is registered, else raise a ValueError that lists what is."""
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(sorted(NETWORKS))}; got {name!r}")
    return name


def build_peer(name: str, channels: int, num_classes: int, seed: int) -> Peer:
    """An untrained network of the registry whose initial weights depend on `seed` alone.

    Its weights lie channels last, which convolutions are faster with.
    """
    check_network(name)
    with seeded(seed):
        peer = NETWORKS[name](channels, num_classes)
    for place, layer in list(peer.named_modules()):
        if type(layer) is nn.Conv2d and max(layer.stride) > 1 and 1 < layer.groups == layer.in_channels:
            peer.set_submodule(place, StridedDepthwise.like(layer))
    return peer.to(memory_format=torch.channels_last)


def count_parameters(module: nn.Module) -> int:
    """Number of learnable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


@register("tiny_cnn")
def tiny_cnn(channels: int, num_classes: int) -> Peer:
    """Three plain convolutions, 16-32-64 wide, global average pooling; for 8x8 to 32x32 images."""
    backbone = nn.Sequential(
        _conv(channels, 16),
        _conv(16, 32),
        nn.MaxPool2d(2),
        _conv(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Peer(backbone, width=64, num_classes=num_classes)


@register("tiny_reid")
def tiny_reid(channels: int, num_classes: int) -> Peer:
    """Four convolutions, 16-32-64-64 wide, early halvings, global average pooling; for 64x32 pictures."""
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
    """Two convolutions beside an identity path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Same shape in and out."""
        return F.relu(images + self.second(self.first(images)))


@register("tiny_resnet")
def tiny_resnet(channels: int, num_classes: int) -> Peer:
    """A residual network, 24 and 32 wide, early pooling, global average pooling; for 8x8 to 32x32 images."""
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
