"""Networks for person re-identification: torchvision's, unchanged, for pictures of 256x128."""

from collections.abc import Callable

import torch
import torchvision
from torch import nn

from ctsl_lib.errors import DataError
from ctsl_lib.models.peer import Peer, peer_from
from ctsl_lib.models.registry import register


def _whole(network: Callable[..., nn.Module], classifier: str, channels: int, num_classes: int) -> Peer:
    if channels != 3:
        raise ValueError(f"torchvision's networks take images of 3 channels, got {channels}")
    return peer_from(network(num_classes=num_classes), classifier)


@register("reid_resnet18")
def reid_resnet18(channels: int, num_classes: int) -> Peer:
    """torchvision's ResNet-18; embeddings of width 512."""
    return _whole(torchvision.models.resnet18, "fc", channels, num_classes)


@register("reid_resnet50")
def reid_resnet50(channels: int, num_classes: int) -> Peer:
    """torchvision's ResNet-50; embeddings of width 2048."""
    return _whole(torchvision.models.resnet50, "fc", channels, num_classes)


@register("reid_mobilenetv2")
def reid_mobilenetv2(channels: int, num_classes: int) -> Peer:
    """torchvision's MobileNetV2; embeddings of width 1280."""
    return _whole(torchvision.models.mobilenet_v2, "classifier.1", channels, num_classes)


@register("reid_shufflenetv2")
def reid_shufflenetv2(channels: int, num_classes: int) -> Peer:
    """torchvision's ShuffleNetV2 x1; embeddings of width 1024."""
    return _whole(torchvision.models.shufflenet_v2_x1_0, "fc", channels, num_classes)


IMAGENET = {
    "reid_resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url,
    "reid_resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url,
    "reid_mobilenetv2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.url,
    "reid_shufflenetv2": torchvision.models.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1.url,
}
"""Network -> address of the ImageNet weights that torchvision offers for its backbone."""


def load_imagenet(name: str, peer: Peer) -> None:
    """Give a network torchvision's ImageNet weights; they are downloaded once and kept in torch's cache.

    Args:
        name: the network's name in the registry.
        peer: the network; its backbone is changed in place, its classifier keeps its random weights.

    Raises: ValueError if torchvision has no weights for this network, DataError if the download fails.
    """
    if name not in IMAGENET:
        raise ValueError(
            f"initial must be 'random' for {name}: torchvision has ImageNet weights for {', '.join(IMAGENET)}"
        )
    url = IMAGENET[name]
    try:
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # what a damaged file makes torch.load raise is written nowhere
        raise DataError(
            f"ImageNet weights of {name} could not be fetched from {url} ({error}). Put that file into "
            f"{torch.hub.get_dir()}/checkpoints, or start from random weights with initial='random'"
        ) from error
    own = peer.backbone.state_dict()
    peer.backbone.load_state_dict({key: value for key, value in state.items() if key in own})
