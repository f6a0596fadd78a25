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
