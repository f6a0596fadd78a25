"""Networks for person re-identification: torchvision's, unchanged, for pictures of 256x128."""

import torch
import torchvision

from ctsl_lib.errors import DataError
from ctsl_lib.models.peer import Peer, peer_from
from ctsl_lib.models.registry import register

WHOLE = {
    "reid_resnet18": ("resnet18", "fc"),
    "reid_resnet50": ("resnet50", "fc"),
    "reid_mobilenetv2": ("mobilenet_v2", "classifier.1"),
    "reid_shufflenetv2": ("shufflenet_v2_x1_0", "fc"),
}
"""Network -> torchvision's name for it, and its last layer. Embeddings have width 512, 2048, 1280 and 1024."""


def _register_whole(name: str) -> None:
    whole, classifier = WHOLE[name]

    @register(name)
    def build(channels: int, num_classes: int) -> Peer:
        if channels != 3:
            raise ValueError(f"torchvision's networks take images of 3 channels, got {channels}")
        return peer_from(torchvision.models.get_model(whole, num_classes=num_classes), classifier)


for _name in WHOLE:
    _register_whole(_name)

IMAGENET = {
    name: torchvision.models.get_model_weights(whole)["IMAGENET1K_V1"].url for name, (whole, _) in WHOLE.items()
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
