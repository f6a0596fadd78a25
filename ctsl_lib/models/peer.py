"""Peers: a backbone that makes an embedding, and a linear classifier on top of it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn


class PeerOutput(NamedTuple):
    """A peer's output for a batch of B images: (B, C) logits and the (B, D) embedding that they are computed from."""

    logits: Tensor
    embedding: Tensor
    maps: tuple[Tensor, ...] = ()
    """What a network of your own hands over beside, such as (B, channels, H, W) feature maps, for terms of your own."""

    def detach(self) -> "PeerOutput":
        """The same output as a fixed target, through which no gradient flows back."""
        return PeerOutput(self.logits.detach(), self.embedding.detach(), tuple(x.detach() for x in self.maps))


class Peer(nn.Module):
    """One network of a group that learns together: a backbone, which makes embeddings, and a linear classifier."""

    def __init__(self, backbone: nn.Module, width: int, num_classes: int) -> None:
        """Put a new classifier on top of a backbone.

        Args:
            backbone: maps (B, channels, H, W) images to (B, width) embeddings.
            width: of the embedding.
            num_classes: the number of classes.
        """
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> PeerOutput:
        """Logits and embedding of (B, channels, H, W) normalised images; float32 even under autocast."""
        embedding = self.backbone(images)
        if torch.is_autocast_enabled(embedding.device.type):
            embedding = embedding.float()
        with torch.autocast(embedding.device.type, enabled=False):
            return PeerOutput(self.classifier(embedding), embedding)


class StridedDepthwise(nn.Conv2d):
    """A convolution that keeps the precision of its weights under autocast on a CPU.

    On a CPU the backward pass of strided depthwise convolutions is many times slower in bfloat16.
    """

    @classmethod
    def like(cls, other: nn.Conv2d) -> "StridedDepthwise":
        """The same convolution as `other`: it shares all that `other` has, parameters and hooks included."""
        layer = cls.__new__(cls)
        layer.__dict__ = other.__dict__.copy()
        return layer

    def forward(self, images: Tensor) -> Tensor:
        """The convolution of (B, channels, H, W) images."""
        if images.device.type != "cpu":
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.to(self.weight.dtype))


def peer_from(network: nn.Module, classifier: str) -> Peer:
    """Make a peer of any network whose last layer is linear; the input of that layer becomes the embedding.

    Dropout before that layer is part of the embedding. In training the relation losses then compare other masks as
    well, and are above 0 even for two equal networks.

    Args:
        network: one of torchvision or your own, from images to logits. It is changed in place.
        classifier: the name of its last layer, such as "fc" or "classifier.6".

    Raises: ValueError if there is no linear layer of that name.
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
    """The peer in a form that trains fast: channels-last weights, and `StridedDepthwise` where it is of use."""
    for name, layer in list(peer.named_modules()):
        if type(layer) is nn.Conv2d and max(layer.stride) > 1 and 1 < layer.groups == layer.in_channels:
            peer.set_submodule(name, StridedDepthwise.like(layer))
    return peer.to(memory_format=torch.channels_last)


def count_parameters(module: nn.Module) -> int:
    """The number of learnable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def frozen_copy(peer: Peer) -> Peer:
    """A copy of a peer that no longer learns: it is in evaluation mode and has no gradients."""
    return deepcopy(peer).eval().requires_grad_(False)


def frozen_copies(peers: Sequence[Peer]) -> list[Peer]:
    """A frozen copy of each peer; one that is in the list several times is copied only once."""
    copies = {id(peer): frozen_copy(peer) for peer in peers}
    return [copies[id(peer)] for peer in peers]
