"""Networks by name: the kit's own and those that a user registers.

Importing this module is enough to build any of them: the module that defines a network is imported when needed.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctsl_lib.models.peer import Peer

Builder = Callable[[int, int], "Peer"]

BUILT_IN = {
    "ctsl_lib.models.tiny": ("tiny_cnn", "tiny_resnet", "tiny_reid"),
    "ctsl_lib.models.paper": (
        "resnet8", "resnet14", "resnet20", "resnet14_wide", "resnet18", "resnet34", "vgg11", "alexnet",
        "squeezenet", "mobilenetv2", "shufflenetv2",
    ),
    "ctsl_lib.models.reid": ("reid_resnet18", "reid_resnet50", "reid_mobilenetv2", "reid_shufflenetv2"),
}  # fmt: skip
"""Module -> the networks that it registers when it is imported."""
HOME = {name: module for module, names in BUILT_IN.items() for name in names}

NETWORKS: dict[str, Builder] = {}
"""Name -> function of (channels of the images, number of classes) that returns an untrained Peer.

It holds what has been imported; `network_names` lists all.
"""


def register(name: str) -> Callable[[Builder], Builder]:
    """Add a network to the registry under `name`: decorate a function (channels, num_classes) -> Peer.

    Raises: ValueError where the name is taken.
    """

    def add(builder: Builder) -> Builder:
        if name in NETWORKS or HOME.get(name, builder.__module__) != builder.__module__:
            raise ValueError(f"a network named {name!r} is registered already")
        NETWORKS[name] = builder
        return builder

    return add


def network_names() -> list[str]:
    """All names that `build_peer` knows."""
    return sorted({*HOME, *NETWORKS})


def check_network(name: str) -> str:
    """Return `name` if it is a network's, else raise a ValueError that lists what is."""
    if name not in HOME and name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(network_names())}; got {name!r}")
    return name


def build_peer(name: str, channels: int, num_classes: int, seed: int) -> "Peer":
    """An untrained network whose initial weights depend on `seed` alone; they lie channels last.

    Args:
        name: one of `network_names`.
        channels: of the images. num_classes: how many answers there are.
        seed: of the weights.
    """
    from ctsl_lib.models.peer import prepared
    from ctsl_lib.randomness import seeded

    check_network(name)
    if name not in NETWORKS:
        import_module(HOME[name])
    with seeded(seed):
        peer = NETWORKS[name](channels, num_classes)
    return prepared(peer)
