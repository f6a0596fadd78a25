"""The paper's networks: sizes, shapes, and that each learns."""

import hashlib
import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from ctsl_lib.errors import DataError
from ctsl_lib.experiments.run import initial_peers
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.models import reid as zoo
from ctsl_lib.models.peer import Peer, StridedDepthwise, count_parameters, peer_from, prepared
from ctsl_lib.models.registry import build_peer

# Counts at 100 classes; those of ResNet-18, ResNet-34, [1, 2, 2, 1] and VGG-11 equal the usual CIFAR variants.
PARAMETERS = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet14_wide": 6_425_508,
    "resnet18": 11_220_132,
    "resnet20": 278_324,
    "resnet34": 21_328_292,
    "resnet56": 861_620,
    "vgg11": 28_518_244,
    "alexnet": 20_691_876,
    "alexnet_bn": 20_694_180,
    "squeezenet": 773_796,
    "squeezenet_bn": 779_684,
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


@pytest.mark.parametrize("name", ["resnet8", "shufflenetv2", "squeezenet_bn"])
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


def test_a_layer_that_is_replaced_for_speed_keeps_its_hooks() -> None:
    strided = nn.Conv2d(4, 4, 3, stride=2, groups=4)
    seen: list[str] = []
    strided.register_forward_pre_hook(lambda *_: seen.append("before"))
    strided.register_forward_hook(lambda *_, **__: seen.append("after"), with_kwargs=True)
    strided.register_full_backward_hook(lambda *_: seen.append("back"))
    peer = prepared(Peer(nn.Sequential(strided, nn.Flatten()), 4, 3))
    assert isinstance(peer.backbone.get_submodule("0"), StridedDepthwise)
    peer(torch.randn(2, 4, 3, 3, requires_grad=True)).logits.sum().backward()
    assert seen == ["before", "after", "back"] and strided.weight.grad is not None


# --- networks for 256x128 --------------------------------------------------------------------------------

WIDTHS = {"reid_resnet18": 512, "reid_resnet50": 2048, "reid_mobilenetv2": 1280, "reid_shufflenetv2": 1024}
OFFICIAL = {
    "reid_resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "reid_resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    "reid_mobilenetv2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
    "reid_shufflenetv2": torchvision.models.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1,
}


@pytest.mark.parametrize("name", WIDTHS)
def test_reid_networks_are_those_of_torchvision(name: str) -> None:
    peer = build_peer(name, 3, 1000, seed=0).eval()
    assert count_parameters(peer) == OFFICIAL[name].meta["num_params"]
    with torch.no_grad():
        output = peer(torch.randn(1, 3, 256, 128))
    assert output.embedding.shape == (1, WIDTHS[name]) and output.logits.shape == (1, 1000)
    with pytest.raises(ValueError, match="images of 3 channels, got 1"):
        build_peer(name, 1, 10, seed=0)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """A local server with 'ImageNet' weights of reid_shufflenetv2: its URL and what it gives out."""
    torch.manual_seed(0)
    state = torchvision.models.shufflenet_v2_x1_0().state_dict()
    written = io.BytesIO()
    torch.save(state, written)
    name = f"weights-{hashlib.sha256(written.getvalue()).hexdigest()[:8]}.pth"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).write_bytes(written.getvalue())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{name}", state
    server.shutdown()
    server.server_close()


def test_imagenet_weights_are_fetched_once(
    served: tuple[str, dict[str, torch.Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, state = served
    monkeypatch.setitem(zoo.IMAGENET, "reid_shufflenetv2", url)
    spec = Spec(peers=("reid_shufflenetv2", "reid_shufflenetv2"), initial="imagenet")
    one, other = initial_peers(spec, 3, 20, "cpu")
    for name, value in one.backbone.state_dict().items():
        assert torch.equal(value, state[name]) and torch.equal(value, other.backbone.state_dict()[name])
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    (tmp_path / "site" / url.rsplit("/", 1)[1]).unlink()
    again = initial_peers(spec, 3, 20, "cpu")  # from torchvision's folder
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again[0].parameters(), strict=True))


def test_without_a_network_the_way_out_is_named(
    served: tuple[str, dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = served
    monkeypatch.setitem(zoo.IMAGENET, "reid_shufflenetv2", url.replace("weights-", "other-"))
    spec = Spec(peers=("reid_shufflenetv2",), initial="imagenet")
    with pytest.raises(DataError, match=r"could not be fetched from http.*Put that file into .*initial='random'"):
        initial_peers(spec, 3, 20, "cpu")
    with pytest.raises(
        ValueError,
        match=r"initial must be 'random' for tiny_reid: torchvision has ImageNet weights for reid_resnet18, ",
    ):
        initial_peers(spec.model_copy(update={"peers": ("tiny_reid",)}), 3, 20, "cpu")


def test_damaged_imagenet_weights_are_refused(
    served: tuple[str, dict[str, torch.Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = served
    monkeypatch.setitem(zoo.IMAGENET, "reid_shufflenetv2", url)
    path = tmp_path / "site" / url.rsplit("/", 1)[1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="invalid hash value"):
        initial_peers(Spec(peers=("reid_shufflenetv2",), initial="imagenet"), 3, 20, "cpu")
