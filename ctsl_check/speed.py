"""Part 6: images per second of the paper's networks, their share of the matrix-product peak, hours for each table."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ctsl_check.report import Part, Row
from ctsl_lib.data.sources import SOURCES
from ctsl_lib.data.specs import Images
from ctsl_lib.experiments.plan import Cost, cost, plan_from
from ctsl_lib.experiments.profiles import PROFILES, load_profile
from ctsl_lib.experiments.provenance import device_name
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.models.precision import Precision, autocast
from ctsl_lib.models.registry import BUILT_IN, build_peer
from ctsl_lib.randomness import cpu_threads
from ctsl_lib.training.optimizer import make_optimizer
from ctsl_lib.training.recipe import Recipe

NETWORKS = BUILT_IN["ctsl_lib.models.paper"]
SIDE, CLASSES = 32, 100
BATCH = {"cpu": 16, "cuda": 128}
PRODUCT = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices whose product is the peak."""
ENOUGH, MUCH = 0.3, 2.0
"""A measurement, once warmed up, is repeated three times or more until it took ENOUGH seconds, or MUCH before that."""
TABLES = ("cifar10", "cifar100", "tiny_imagenet")
RULE = (
    f"A training step (forward, backward, SGD) of one network on random 3x{SIDE}x{SIDE} images, {CLASSES} classes, "
    f"batches of {BATCH['cpu']} on a CPU with one thread and of {BATCH['cuda']} on a GPU: the fastest of some "
    "repetitions after a warm-up. The share is of the matrix products' operations in it, against a product of two "
    "square matrices in the same precision. Hours are those of all runs of a table, one after the other (`ctsl train` "
    "runs as many side by side as there are cores): images that are trained on, answers of frozen copies and "
    "evaluations at these speeds, in proportion to the pixels. Relation terms count nothing here, and networks of "
    "re-identification are not measured. A share above 100 % says that convolutions compute in another way, such as "
    "TF32 on a GPU, or that the machine was busy with something else. Nothing here is off."
)


class Rate(NamedTuple):
    """How fast a network is on this device."""

    train: float
    """Images per second in training steps."""
    answer: float
    """Images per second in evaluation mode."""
    operations: float
    """Floating-point operations per second in the matrix products of training steps."""


Rates = Mapping[tuple[str, Precision], Rate]


def speed(device: torch.device, networks: Sequence[str] = NETWORKS, *, committed: Iterable[Record] = ()) -> Part:
    """Measure the networks, and say what the tables would cost.

    Args:
        device: where to train.
        networks: those to measure; tables of others have runs of unknown cost.
        committed: records, for what is estimated from their times.
    """
    rows = []
    rates: dict[tuple[str, Precision], Rate] = {}
    with cpu_threads(1):
        for precision in ("fp32", "bf16"):
            peak = product_rate(device, precision)
            rows.append(
                Row(
                    what=f"matrix product, {precision}",
                    found=f"{peak / 1e12:.3g} TFLOP/s",
                    numbers={"flops": peak},
                )
            )
            for name in networks:
                try:
                    rate = rates[name, precision] = measured(name, device, precision)
                except torch.OutOfMemoryError:
                    rows.append(
                        Row(what=f"{name}, {precision}", found="out of memory", verdict="not possible here")
                    )
                    continue
                share = 100 * rate.operations / peak
                found = f"{rate.train:,.0f} images/s, {share:.0f} % of the peak"
                numbers = {"train": rate.train, "answer": rate.answer, "share": share}
                rows.append(Row(what=f"{name}, {precision}", found=found, numbers=numbers))
    return Part(title="6 speed", rule=RULE, rows=[*rows, *hours(rates, committed, device_name(device))])


def hours(rates: Rates, committed: Iterable[Record], device: str) -> list[Row]:
    """What each table costs with each profile.

    Args:
        rates: (network, precision) -> how fast it is.
        committed: records; the table of the digits is estimated from their times on such a device.
        device: its name, as records have it.
    """
    rows = []
    for profile in sorted(path.stem for path in PROFILES.glob("*.yaml") if not path.stem.endswith("_reid")):
        for dataset in TABLES:
            values = load_profile(profile, dataset=dataset)
            if "pairs" in values and values.get("dataset", dataset) == dataset:
                price = table_cost([spec for _, spec in plan_from(values, dataset).runs()], rates)
                rows.append(_price(f"table {dataset}, profile {profile}", price))
    digits = plan_from(load_profile("digits"), "digits")
    price = cost([spec for _, spec in digits.runs()], list(committed), device)
    rows.append(_price("table digits, profile digits, by the times of the committed records", price))
    return rows


def _price(what: str, price: Cost) -> Row:
    return Row(what=what, found=str(price), numbers={"seconds": price.seconds, "unknown": price.unknown})


def product_rate(device: torch.device, precision: Precision) -> float:
    """Floating-point operations per second in the product of two large square matrices.

    Args:
        device: where.
        precision: of the matrices.
    """
    size = PRODUCT[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device)


def measured(name: str, device: torch.device, precision: Precision) -> Rate:
    """How fast a network trains and answers.

    Args:
        name: of the network.
        device: where.
        precision: of the layers before the embedding.
    """
    batch = BATCH[device.type]
    peer = build_peer(name, 3, CLASSES, seed=0).to(device)
    images = torch.randn(batch, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % CLASSES
    optimizer = make_optimizer(list(peer.parameters()), Recipe())

    def step() -> None:
        optimizer.zero_grad()
        with autocast(device, precision):
            logits = peer(images).logits
        F.cross_entropy(logits, labels).backward()
        optimizer.step()

    @torch.no_grad()
    def answer() -> None:
        with autocast(device, precision):
            peer(images)

    training = seconds(step, device)
    peer.eval()
    answering = seconds(answer, device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peer(images)
    # The gradients of inputs and of weights take as many operations as the way forward, each.
    return Rate(batch / training, batch / answering, 3 * counter.get_total_flops() / training)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: the fastest of some, after one to warm up; a GPU is waited for.

    The fastest, as other programs on the machine can only make a call slower.

    Args:
        call: what to measure.
        device: where it computes.
    """

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    wait()
    times: list[float] = []
    while sum(times) < (MUCH if len(times) < 3 else ENOUGH):
        started = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - started)
    return min(times)


def table_cost(specs: Iterable[Spec], rates: Rates) -> Cost:
    """How long some runs take, one after the other.

    Args:
        specs: the runs.
        rates: (network, precision) -> how fast it is; a run of another network is of unknown cost.
    """
    every = [run_seconds(spec, rates) for spec in specs]
    known = [found for found in every if found is not None]
    return Cost(sum(known), len(every) - len(known))


def run_seconds(spec: Spec, rates: Rates) -> float | None:
    """How long a run takes, without its stage 1; None if it is not known.

    Args:
        spec: of the run.
        rates: see `table_cost`.
    """
    data, recipe, own = spec.data, spec.recipe, spec.objective
    if not isinstance(data, Images) or data.name not in SOURCES:
        return None
    source = SOURCES[data.name]
    (all_images, test), (_, height, width) = source.counts, source.shape
    trained = (data.n_train or all_images - data.n_validation) * recipe.epochs
    tested = test * -(-recipe.epochs // recipe.evaluate_every)
    total = 0.0
    for name in spec.peers:
        frozen = (own.teacher or name) if own.learns_from_frozen else None
        needed = [rates.get((one, recipe.precision)) for one in (name, frozen or name)]
        if needed[0] is None or needed[1] is None:
            return None
        total += trained / needed[0].train + tested / needed[0].answer
        total += trained / needed[1].answer if frozen else 0.0
    return total * height * width / SIDE**2
