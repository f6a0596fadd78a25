"""What is measured: each function builds a case, once in a worker process, and returns a call that does the work."""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.usual_forms import (
    pil_batches,
    plain_step,
    usual_angle_loss,
    usual_distance_loss,
    usual_retrieval_metrics,
)
from ctsl_lib.data.specs import Metric
from ctsl_lib.data.types import Dataset, Split
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses import functional as losses
from ctsl_lib.losses import reference
from ctsl_lib.losses.methods import FULL, METHODS
from ctsl_lib.losses.relation_kernel import relation_losses
from ctsl_lib.metrics.retrieval import Labelled, retrieval_metrics
from ctsl_lib.models.peer import Peer, frozen_copy
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.batches import Batches, FrozenAnswers
from ctsl_lib.training.loop import _epoch
from ctsl_lib.training.recipe import Recipe

Call = Callable[[], object]
CLASSES = 100


@cache
def built(maker: Callable[..., Call], *args: object) -> Call:
    """The case, built once in this process and run once to warm up."""
    call = maker(*args)
    call()
    return call


def measure(maker: Callable[..., Call], *args: object) -> float:
    """Seconds of one call of the case."""
    call = built(maker, *args)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def cpu_seconds(maker: Callable[..., Call], *args: object) -> float:
    """CPU seconds of one call of the case, which other programs on the machine hardly change."""
    call = built(maker, *args)
    started = time.process_time()
    call()
    return time.process_time() - started


def extra_memory(maker: Callable[..., Call], *args: object) -> float:
    """MiB by which one call raises the process's resident memory at its highest (Linux)."""
    call = maker(*args)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return float(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status")


# --- relation losses -------------------------------------------------------------------------------------


def _embeddings(batch: int, width: int, peers: int = 2) -> list[Tensor]:
    return [
        torch.randn(batch, width, generator=torch.Generator().manual_seed(k)).requires_grad_()
        for k in range(peers)
    ]


def relations_usual(batch: int, width: int, peers: int = 2) -> Call:
    """Distance and angle in every direction, forward and backward, in the usual public form."""
    return _separate(_embeddings(batch, width, peers), usual_distance_loss, usual_angle_loss)


def relations_reference(batch: int, width: int) -> Call:
    """The same with the kit's readable reference."""
    return _separate(_embeddings(batch, width), reference.distance_loss, reference.angle_loss)


def relations_separate(batch: int, width: int, peers: int = 2) -> Call:
    """The same with the kit's two functions."""
    return _separate(_embeddings(batch, width, peers), losses.distance_loss, losses.angle_loss)


def relations_combined(batch: int, width: int, peers: int = 2, compiled: bool = False) -> Call:
    """The same with the kit's one call for all peers."""
    sides = _embeddings(batch, width, peers)

    def call() -> None:
        found = relation_losses(sides, compiled=compiled)
        (found.distance.sum() + found.angle.sum()).backward()

    return call


def _separate(sides: Sequence[Tensor], distance: Callable[..., Tensor], angle: Callable[..., Tensor]) -> Call:
    def call() -> None:
        total: Tensor = torch.zeros(())
        for own in sides:
            for other in (side.detach() for side in sides if side is not own):
                total = total + distance(own, other) + angle(own, other)
        total.backward()

    return call


def relations_torchdistill(batch: int, width: int) -> Call:
    """The same with torchdistill's RKDLoss (optional extra `bench`)."""
    from torchdistill.losses.mid_level import RKDLoss

    loss = RKDLoss("s", "t", dist_factor=1.0, angle_factor=1.0, reduction="mean")
    sides = _embeddings(batch, width)

    def call() -> None:
        total: Tensor = torch.zeros(())
        for own, other in (sides, sides[::-1]):
            total = total + loss({"s": {"output": own}}, {"t": {"output": other.detach()}})
        total.backward()

    return call


def gradient_errors() -> dict[str, dict[str, float]]:
    """Case -> form -> relative gradient error against direct differences in float64, distance plus angle."""
    batch, width = 64, 128
    points, other = (side.detach() for side in _embeddings(batch, width))
    cases = {"random": points, "shifted by 1000": points + 1000, "collapsed": 1 + 1e-4 * points}
    for distance in (1e-2, 1e-3, 0.0):
        near = points.clone()
        near[1] = near[0] + distance * (near[2] - near[3]) / (near[2] - near[3]).norm()
        cases[f"near-duplicate at {distance:g}" if distance else "duplicate"] = near
    forms = {"usual": (usual_distance_loss, usual_angle_loss), "kit": (losses.distance_loss, losses.angle_loss)}
    found: dict[str, dict[str, float]] = {}
    for name, case in cases.items():
        exact = _gradient(reference.distance_loss, reference.angle_loss, case.double(), other.double())
        errors = {form: _gradient(*pair, case, other) - exact for form, pair in forms.items()}
        found[name] = {form: (error.norm() / exact.norm()).item() for form, error in errors.items()}
    return found


def _gradient(
    distance: Callable[..., Tensor], angle: Callable[..., Tensor], points: Tensor, other: Tensor
) -> Tensor:
    leaf = points.clone().requires_grad_()
    (distance(leaf, other) + angle(leaf, other)).backward()
    assert leaf.grad is not None
    return leaf.grad.double()


# --- a training step ---------------------------------------------------------------------------------------


def random_images(count: int, side: int = 32) -> Dataset:
    """Random pictures: how long a step takes does not depend on what they show."""
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=source)
    labels = torch.randint(CLASSES, (count,), generator=source)
    split = Split(images, labels, labels)
    return Dataset("random", split, split, split, tuple(map(str, range(CLASSES))), (127.5,) * 3, (64.0,) * 3)


def _networks(network: str) -> tuple[list[Peer], list[Peer]]:
    peers = [build_peer(network, 3, CLASSES, seed=k) for k in range(2)]
    return peers, [frozen_copy(peer) for peer in peers]


def step_plain(network: str, batch: int) -> Call:
    """A step of the full method by a plain loop: PIL DataLoader, channels first, usual relation losses."""
    peers, frozen = _networks(network)
    for peer in (*peers, *frozen):
        peer.to(memory_format=torch.contiguous_format)
    data = random_images(8 * batch).train
    batches = pil_batches(data.images, data.labels, batch)
    optimizer = _optimizer(peers)
    return lambda: plain_step(peers, frozen, FULL, *next(batches), optimizer)


def step_kit(network: str, batch: int, precision: str) -> Call:
    """The same step by the kit: an epoch of one batch."""
    peers, frozen = _networks(network)
    recipe = Recipe.model_validate({"batch_size": batch, "padding": 4, "mirror": True, "precision": precision})
    data = random_images(batch)
    answers = FrozenAnswers(frozen, data, recipe, FULL)
    optimizer = _optimizer(peers)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    return lambda: _epoch(peers, FULL, Batches(data, recipe, 0, 0, answers), optimizer, scheduler)


def _optimizer(peers: Sequence[Peer]) -> torch.optim.Optimizer:
    parameters = [parameter for peer in peers for parameter in peer.parameters()]
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)


def step_operations(network: str, batch: int) -> float:
    """Floating-point operations of matrix products in a step: two peers forward and back, two copies forward."""
    peer = build_peer(network, 3, CLASSES, seed=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peer(torch.zeros(1, 3, 32, 32))
    return float(counter.get_total_flops() * batch * 2 * (3 + 1))


def matrix_product(size: int = 2048) -> Call:
    """A product of two square float32 matrices: as fast as this core multiplies."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return lambda: a @ b


# --- input --------------------------------------------------------------------------------------------------


BATCHES = 24
"""Batches in one call of an input case."""


def input_pil(batch: int) -> Call:
    """Batches from PIL images through torchvision's transforms."""
    data = random_images(BATCHES * batch).train
    batches = pil_batches(data.images, data.labels, batch)
    return lambda: _go_through(islice(batches, BATCHES))


def input_kit(batch: int, count: int) -> Call:
    """Batches of the kit, augmented and normalised, out of `count` images, from one random order."""
    data = random_images(count)
    recipe = Recipe(batch_size=batch, padding=4, mirror=True)
    batches = Batches(data, recipe, 0, 0)
    return lambda: _go_through(islice(batches, BATCHES))


def _go_through(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


# --- retrieval ---------------------------------------------------------------------------------------------


def random_searches(queries: int, images: int, width: int) -> tuple[Labelled, Labelled]:
    """Query and gallery in Market-1501's proportions: six cameras, some 17 images a person, 18 % distractors."""
    source = torch.Generator().manual_seed(0)
    persons = max(1, images // 21)
    sides = []
    for count, distractors in ((queries, 0), (images, 18 * images // 100)):
        identity = torch.randint(1, persons + 1, (count,), generator=source)
        identity[torch.randperm(count, generator=source)[:distractors]] = 0
        camera = torch.randint(1, 7, (count,), generator=source)
        sides.append(Labelled(torch.randn(count, width, generator=source), identity, camera))
    return sides[0], sides[1]


def retrieval_kit(queries: int, images: int, width: int = 2048, metric: Metric = "cosine") -> Call:
    """CMC and mAP of random embeddings."""
    query, gallery = random_searches(queries, images, width)
    return lambda: retrieval_metrics(query, gallery, metric=metric)


def retrieval_usual(queries: int, images: int, width: int = 2048, metric: Metric = "cosine") -> Call:
    """The same in the usual public form."""
    query, gallery = random_searches(queries, images, width)
    return lambda: usual_retrieval_metrics(query, gallery, metric)


# --- many runs ----------------------------------------------------------------------------------------------


def quick_specs(count: int) -> list[Spec]:
    """Short runs of the quick profile's full method; no two alike."""
    recipe = Recipe(epochs=4, evaluate_every=4)
    return [Spec(objective=METHODS["rkd"], recipe=recipe, seed=seed) for seed in range(count)]


def quick_run(spec: Spec, threads: int) -> None:
    """One run, its record thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        run(spec, Store(folder), threads=threads, progress=False)
