"""Networks by name: the kit's own and those that a user registers."""

from collections.abc import Callable

import torch
from torch import nn

from ctsl_lib.models.peer import Peer
from ctsl_lib.models.precision import StridedDepthwise
from ctsl_lib.randomness import seeded

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
