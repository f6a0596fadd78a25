"""The paper's networks for small images: torchvision's classes with a first layer that keeps the size of the image.

Networks made for images of 224x224 halve them two to four times before the first block. Here the first convolution
is 3x3 with stride 1, and the pooling right after it is left out, but for AlexNet, SqueezeNet and VGG-11; the rest is
torchvision's.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models import AlexNet, MobileNetV2, ResNet, ShuffleNetV2, SqueezeNet
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import VGG, cfgs, make_layers

from ctsl_lib.models.peer import Peer, peer_from
from ctsl_lib.models.registry import register


def _stem(channels: int, width: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does in ResNet
    return layer


def _resnet(channels: int, num_classes: int, blocks: Sequence[int]) -> Peer:
    network = ResNet(BasicBlock, list(blocks), num_classes=num_classes)
    network.conv1 = _stem(channels, 64)
    network.maxpool = nn.Identity()
    return peer_from(network, "fc")


@register("resnet14_wide")
def resnet14_wide(channels: int, num_classes: int) -> Peer:
    """ResNet-18 with [1, 2, 2, 1] blocks: what the paper may also mean by ResNet14; see `resnet14`."""
    return _resnet(channels, num_classes, [1, 2, 2, 1])


@register("resnet18")
def resnet18(channels: int, num_classes: int) -> Peer:
    """ResNet-18 (He et al. 2016, arXiv 1512.03385)."""
    return _resnet(channels, num_classes, [2, 2, 2, 2])


@register("resnet34")
def resnet34(channels: int, num_classes: int) -> Peer:
    """ResNet-34."""
    return _resnet(channels, num_classes, [3, 4, 6, 3])


def _narrow_resnet(channels: int, num_classes: int, blocks: int) -> Peer:
    """Three stages of 16, 32 and 64 channels, 6 * blocks + 2 layers, from torchvision's residual blocks.

    Where the width changes, the shortcut is a 1x1 convolution, as in public code for distillation; He et al. pad with
    zeros there.
    """
    layers: list[nn.Module] = [_stem(channels, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    inputs = 16
    for width in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 16 else 1
            shortcut = None
            if inputs != width:
                shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            layers.append(BasicBlock(inputs, width, stride, shortcut))
            inputs = width
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return Peer(backbone, width=64, num_classes=num_classes)


@register("resnet8")
def resnet8(channels: int, num_classes: int) -> Peer:
    """The CIFAR ResNet of He et al. 2016, section 4.2, with n = 1: for runs on a CPU."""
    return _narrow_resnet(channels, num_classes, blocks=1)


@register("resnet14")
def resnet14(channels: int, num_classes: int) -> Peer:
    """The CIFAR ResNet of He et al. 2016, section 4.2, with n = 2: we assume that it is the paper's ResNet14.

    The paper does not define it. A survey by the same group (Gou et al. 2021, arXiv 2006.05525, tables 5 and 6)
    lists a ResNet14 at 66.88 % on CIFAR-100 and 90.66 % on CIFAR-10, slightly below its ResNet-20. That fits this
    network of about 0.18 million parameters, but not `resnet14_wide` with 6.4 million.
    """
    return _narrow_resnet(channels, num_classes, blocks=2)


@register("resnet20")
def resnet20(channels: int, num_classes: int) -> Peer:
    """The CIFAR ResNet of He et al. 2016, section 4.2, with n = 3."""
    return _narrow_resnet(channels, num_classes, blocks=3)


@register("resnet56")
def resnet56(channels: int, num_classes: int) -> Peer:
    """The CIFAR ResNet with n = 9: the usual teacher of `resnet20` in public tables."""
    return _narrow_resnet(channels, num_classes, blocks=9)


@register("vgg11")
def vgg11(channels: int, num_classes: int) -> Peer:
    """VGG-11 with batch norm (Simonyan and Zisserman 2014, arXiv 1409.1556), for images of 32x32 or larger."""
    layers = make_layers(cfgs["A"], batch_norm=True)
    layers[0] = nn.Conv2d(channels, 64, kernel_size=3, padding=1)
    network = VGG(layers, num_classes=num_classes)
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier[0] = nn.Linear(512, 4096)
    return peer_from(network, "classifier.6")


def _add_batch_norm(network: nn.Module) -> None:
    """Put a batch normalisation behind each convolution of a network that has none."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv2d):
            setattr(network, name, nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)))
        else:
            _add_batch_norm(layer)


def _alexnet(channels: int, num_classes: int) -> AlexNet:
    network = AlexNet(num_classes=num_classes)
    network.features[0] = nn.Conv2d(channels, 64, kernel_size=3, padding=1)
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier[1] = nn.Linear(256, 4096)
    return network


@register("alexnet")
def alexnet(channels: int, num_classes: int) -> Peer:
    """torchvision's AlexNet with 3x3 instead of 11x11 in its first layer, and global pooling before the classifier.

    It has no batch normalisation and does not learn under the recipe of the profile `overnight`; see `alexnet_bn`.
    """
    return peer_from(_alexnet(channels, num_classes), "classifier.6")


@register("alexnet_bn")
def alexnet_bn(channels: int, num_classes: int) -> Peer:
    """`alexnet` with batch normalisation behind each convolution; what that changes stands in data/search."""
    network = _alexnet(channels, num_classes)
    _add_batch_norm(network.features)
    return peer_from(network, "classifier.6")


class _PooledSqueezeNet(nn.Module):
    """SqueezeNet with global average pooling before the classifier, which makes the classifier a linear layer."""

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = SqueezeNet(version="1_1").features
        self.features[0] = nn.Conv2d(channels, 64, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(images)
        out: torch.Tensor = self.fc(self.dropout(features.mean(dim=(2, 3))))
        return out


@register("squeezenet")
def squeezenet(channels: int, num_classes: int) -> Peer:
    """SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360), pooling before the classifier, no ReLU after it.

    It has no batch normalisation and does not learn under the recipe of the profile `overnight`; see `squeezenet_bn`.
    """
    return peer_from(_PooledSqueezeNet(channels, num_classes), "fc")


@register("squeezenet_bn")
def squeezenet_bn(channels: int, num_classes: int) -> Peer:
    """`squeezenet` with batch normalisation behind each convolution and no dropout, as public code for CIFAR has it.

    What the normalisation changes stands in data/search. Source of both: github.com/weiaicunzai/pytorch-cifar100.
    """
    network = _PooledSqueezeNet(channels, num_classes, dropout=0)
    _add_batch_norm(network.features)
    return peer_from(network, "fc")


@register("mobilenetv2")
def mobilenetv2(channels: int, num_classes: int) -> Peer:
    """MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) without the first two of its five strides of 2."""
    setting = [
        [1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1],
    ]  # fmt: skip
    network = MobileNetV2(num_classes=num_classes, inverted_residual_setting=setting)
    first = network.features[0]
    assert isinstance(first, nn.Sequential)
    first[0] = _stem(channels, 32)
    return peer_from(network, "classifier.1")


@register("shufflenetv2")
def shufflenetv2(channels: int, num_classes: int) -> Peer:
    """ShuffleNetV2 x1 (Ma et al. 2018, arXiv 1807.11164) without its first two strides of 2."""
    network = ShuffleNetV2([4, 8, 4], [24, 116, 232, 464, 1024], num_classes=num_classes)
    network.conv1[0] = _stem(channels, 24)
    network.maxpool = nn.Identity()
    return peer_from(network, "fc")
