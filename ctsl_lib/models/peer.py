"""Peers: a backbone that makes an embedding, and a linear classifier on top of it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn


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


def prepared(peer: Peer) -> Peer:
    """The peer as training wants it: weights channels last, strided depthwise convolutions in float32 on CPUs."""
    for place, layer in list(peer.named_modules()):
        if type(layer) is nn.Conv2d and max(layer.stride) > 1 and 1 < layer.groups == layer.in_channels:
            peer.set_submodule(place, StridedDepthwise.like(layer))
    return peer.to(memory_format=torch.channels_last)


def count_parameters(module: nn.Module) -> int:
    """Number of learnable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def frozen_copy(peer: Peer) -> Peer:
    """A copy of a peer that no longer learns: in evaluation mode, without gradients."""
    return deepcopy(peer).eval().requires_grad_(False)


def frozen_copies(peers: Sequence[Peer]) -> list[Peer]:
    """A frozen copy of each; a teacher that stands for several peers is copied, and will answer, only once."""
    copies = {id(peer): frozen_copy(peer) for peer in peers}
    return [copies[id(peer)] for peer in peers]
