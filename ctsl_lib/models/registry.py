"""Networks by name: the kit's own and those that a user registers.

After an import of this module any of the kit's networks can be built; the module that defines it is imported then.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctsl_lib.models.peer import Peer

Builder = Callable[[int, int], "Peer"]

BUILT_IN = {
    "ctsl_lib.models.tiny": ("tiny_cnn", "pocket_cnn", "wide_cnn", "tiny_resnet", "tiny_reid"),
    "ctsl_lib.models.paper": (
        "resnet8", "resnet14", "resnet20", "resnet56", "resnet14_wide", "resnet18", "resnet34", "vgg11", "alexnet",
        "alexnet_bn", "squeezenet", "squeezenet_bn", "mobilenetv2", "shufflenetv2",
    ),
    "ctsl_lib.models.reid": ("reid_resnet18", "reid_resnet50", "reid_mobilenetv2", "reid_shufflenetv2"),
}  # fmt: skip
"""Module -> names of the networks that it registers when it is imported."""
HOME = {name: module for module, names in BUILT_IN.items() for name in names}

NETWORKS: dict[str, Builder] = {}
"""Name -> function (channels, num_classes) -> untrained Peer, for the networks whose module has been imported.

`network_names` lists all of them.
"""


def register(name: str) -> Callable[[Builder], Builder]:
    """Add a network to the registry: decorate a function (channels of the images, number of classes) -> Peer.

    >>> from torch import nn
    >>> from ctsl_lib.models.peer import Peer
    >>> @register("linear_peer")
    ... def linear_peer(channels: int, num_classes: int) -> Peer:
    ...     backbone = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
    ...     return Peer(backbone, width=16 * channels, num_classes=num_classes)
    >>> build_peer("linear_peer", channels=1, num_classes=10, seed=0).classifier
    Linear(in_features=16, out_features=10, bias=True)

    Raises: ValueError if the name is taken.
    """

    def add(builder: Builder) -> Builder:
        if name in NETWORKS or HOME.get(name, builder.__module__) != builder.__module__:
            raise ValueError(f"a network named {name!r} is registered already")
        NETWORKS[name] = builder
        return builder

    return add


def network_names() -> list[str]:
    """The names of all networks that `build_peer` can build."""
    return sorted({*HOME, *NETWORKS})


def check_network(name: str) -> str:
    """Return `name` if it is the name of a network, else raise a ValueError that lists all names."""
    if name not in HOME and name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(network_names())}; got {name!r}")
    return name


def build_peer(name: str, channels: int, num_classes: int, seed: int) -> "Peer":
    """An untrained network; its initial weights depend on `seed` alone and are stored channels last.

    Args:
        name: one of `network_names`.
        channels: of the images.
        num_classes: the number of classes.
        seed: fixes the initial weights.

    Raises: ValueError if there is no network of that name, or if it is no `Peer` with an answer for each class.
    """
    from ctsl_lib.models.peer import Peer, prepared
    from ctsl_lib.randomness import OwnGenerator, seeded

    check_network(name)
    if name not in NETWORKS:
        import_module(HOME[name])
    with seeded(seed), OwnGenerator(seed):
        peer = NETWORKS[name](channels, num_classes)
    if not isinstance(peer, Peer):
        got = type(peer).__name__
        raise ValueError(f"the network {name!r} must be a Peer(backbone, width, num_classes), got {got}")
    if (outputs := peer.classifier.out_features) != num_classes:
        raise ValueError(f"the network {name!r} must answer for {num_classes} classes, got {outputs}")
    return prepared(peer)
