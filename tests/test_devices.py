"""What a step would do on a GPU, found out without one: fake tensors say that they lie there and hold no values.

An operation that mixes devices fails, and so does one that needs a value, for which the CPU would wait for the GPU. The
backward pass cannot be asked: PyTorch has no thread for a GPU that is not there.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ctsl_lib.data.augmentation import Augmentation, Erasing
from ctsl_lib.errors import PlanError
from ctsl_lib.experiments import provenance
from ctsl_lib.experiments.trial import _try_compiler
from ctsl_lib.losses import functional
from ctsl_lib.losses.methods import ABLATIONS, METHODS
from ctsl_lib.losses.objective import REGISTERED, Objective
from ctsl_lib.losses.relation_kernel import unchecked_relation_losses
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.registry import build_peer, network_names
from ctsl_lib.randomness import same_every_time

OBJECTIVES = METHODS | ABLATIONS | {f"{term} alone": Objective(**{term: 1.0}) for term in REGISTERED}
IMAGES, BATCH, CLASSES = 40, 16, 10


def answers(count: int) -> list[PeerOutput]:
    """Logits and embeddings of a batch, each a leaf with a gradient."""

    def leaf(width: int) -> Tensor:
        return torch.empty(BATCH, width, device="cuda", requires_grad=True)

    return [PeerOutput(leaf(CLASSES), leaf(8)) for _ in range(count)]


def moved(network: Peer) -> Peer:
    """The network with weights that hold nothing, in the same layout, on a GPU that need not be there."""
    for layer in network.modules():
        for name, value in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            empty = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
            delattr(layer, name)
            if isinstance(value, nn.Parameter):
                layer.register_parameter(name, nn.Parameter(empty))
            else:
                layer.register_buffer(name, empty)
    return network


@pytest.mark.parametrize("peers", [2, 3])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_terms_stay_on_the_gpu_and_wait_for_nothing(name: str, peers: int) -> None:
    with FakeTensorMode():
        labels = torch.empty(BATCH, dtype=torch.int64, device="cuda")
        terms = OBJECTIVES[name](answers(peers), labels, [copy.detach() for copy in answers(peers)])
        assert {value.device.type for of_peer in terms for value in of_peer.values()} == {"cuda"}


@pytest.mark.parametrize("name", network_names())
def test_networks_stay_on_the_gpu_and_wait_for_nothing(name: str) -> None:
    network = build_peer(name, 3, CLASSES, seed=0)
    with FakeTensorMode():
        output = moved(network)(torch.empty(BATCH, 3, 64, 64, device="cuda"))
        assert (output.logits.device.type, output.embedding.device.type) == ("cuda", "cuda")


def test_augmentation_stays_on_the_gpu_and_waits_for_nothing() -> None:
    with FakeTensorMode():
        images = torch.empty(IMAGES, 3, 32, 32, dtype=torch.uint8, device="cuda")
        batch = torch.empty(BATCH, dtype=torch.int64, device="cuda")
        shifted = Augmentation.draw(IMAGES, 4, True, seed=0, epoch=0).to("cuda")(images, batch)
        erased = Erasing.draw(IMAGES, 0.5, 1.0, seed=0, epoch=0).to("cuda")(shifted.float(), batch)
        assert erased.shape == (BATCH, 3, 32, 32) and erased.device.type == "cuda"


def test_fake_tensors_tell_who_waits_and_who_mixes_devices() -> None:
    with FakeTensorMode():
        values = torch.empty(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            values.sum().item()
        with pytest.raises(Exception, match="device"):
            values + torch.empty(3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("finite", [1.0, 1e30])
def test_what_is_not_checked_on_a_gpu_leaves_a_loss_that_is_not_finite(
    bad: float, finite: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functional, "check_finite", lambda **_: None)
    embedding, labels = torch.arange(24.0).reshape(6, 4) * finite, torch.tensor([0, 0, 1, 1, 2, 3])
    for row in range(6):
        broken = embedding.clone()
        broken[row, 1] = bad
        losses = unchecked_relation_losses([embedding, broken])
        assert not torch.isfinite(torch.stack(losses)).any()
        assert not torch.isfinite(functional.triplet_loss(broken, labels))
    assert torch.isfinite(torch.stack(unchecked_relation_losses([embedding, embedding.flip(0)]))).all()


@pytest.fixture
def cudnn() -> Iterator[None]:
    """Puts settings of the process back."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


@pytest.mark.usefixtures("cudnn")
def test_a_gpu_is_to_add_in_the_same_order_every_time() -> None:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    same_every_time(torch.device("cpu"))
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (False, True)
    same_every_time(torch.device("cuda"))
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here PyTorch can use the GPU")
def test_a_driver_that_pytorch_cannot_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "NVIDIA_DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.warns(UserWarning, match="can use no GPU, so everything runs on the CPU"):
        assert provenance.default_device().type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert provenance.default_device().type == "cpu"  # a warning would be an error here


def test_what_compiling_for_a_gpu_lacks_is_told_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "bin" / "gcc"
    compiler.parent.mkdir()
    monkeypatch.setenv("PATH", str(compiler.parent))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(
        PlanError, match="needs a C compiler, and gcc or clang is not there; install it, or set compile"
    ):
        _try_compiler()
    compiler.touch(mode=0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(PlanError, match=r"Python's headers, and .*Python\.h is not there"):
        _try_compiler()
    (tmp_path / "Python.h").touch()
    _try_compiler()
    monkeypatch.setenv("CC", "my-compiler")
    with pytest.raises(PlanError, match="needs a C compiler, and my-compiler is not there"):
        _try_compiler()
