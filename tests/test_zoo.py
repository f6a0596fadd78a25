"""The paper's networks: sizes, shapes, and that each learns."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from ctsl_lib import zoo  # noqa: F401  (registers)
from ctsl_lib.networks import build_peer, count_parameters, peer_from

# Counts at 100 classes; those of ResNet-18, ResNet-34, [1, 2, 2, 1] and VGG-11 equal the usual CIFAR variants.
PARAMETERS = {
    "resnet8": 83_892,
    "resnet14": 6_425_508,
    "resnet18": 11_220_132,
    "resnet20": 278_324,
    "resnet34": 21_328_292,
    "vgg11": 28_518_244,
    "alexnet": 20_691_876,
    "squeezenet": 773_796,
    "mobilenetv2": 2_351_972,
    "shufflenetv2": 1_356_104,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_and_shapes(name: str) -> None:
    peer = build_peer(name, 3, 100, seed=0)
    assert count_parameters(peer) == PARAMETERS[name]
    peer.eval()
    for size in (32, 64):
        with torch.no_grad():
            output = peer(torch.randn(2, 3, size, size))
        assert output.logits.shape == (2, 100) and output.embedding.shape == (2, peer.classifier.in_features)
        assert torch.equal(peer.classifier(output.embedding), output.logits)
    smallest = 32 if name == "vgg11" else 28  # VGG halves five times
    assert build_peer(name, 1, 10, seed=0).eval()(torch.randn(1, 1, smallest, smallest)).logits.shape == (1, 10)


@pytest.mark.parametrize("name", ["resnet8", "shufflenetv2"])
def test_a_network_can_fit_a_batch(name: str) -> None:
    torch.manual_seed(0)
    peer, images, labels = build_peer(name, 3, 4, seed=0), torch.randn(16, 3, 32, 32), torch.arange(16) % 4
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.05, momentum=0.9)
    first = last = None
    for _ in range(15):
        optimizer.zero_grad()
        last = F.cross_entropy(peer(images).logits, labels)
        first = first if first is not None else last.item()
        last.backward()
        optimizer.step()
    assert last is not None and last.item() < 0.5 * first


def test_weights_follow_the_seed() -> None:
    one, again, other = (build_peer("resnet8", 3, 10, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


def test_any_network_with_a_linear_last_layer_is_a_peer() -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=7).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = network(images)
    peer = peer_from(network, "fc").eval()
    assert torch.equal(peer(images).logits, expected) and peer(images).embedding.shape == (2, 512)
    own = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    assert peer_from(own, "3")(torch.randn(4, 3, 2, 2)).embedding.shape == (4, 5)
    with pytest.raises(ValueError, match="classifier must name a linear layer, one of 1, 3; got 'fc'"):
        peer_from(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)), "fc")
