"""Part 3: the same training twice, bit for bit, or the first operation whose result differs."""

import re
import tempfile
import zlib
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ctsl_check.report import Part, Row
from ctsl_lib.data.specs import Digits
from ctsl_lib.data.types import Dataset, Split
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import FULL, METHODS
from ctsl_lib.models.peer import frozen_copies
from ctsl_lib.models.registry import build_peer
from ctsl_lib.randomness import cpu_threads, generator
from ctsl_lib.training.loop import train
from ctsl_lib.training.recipe import Recipe

RULE = (
    "Everything is trained twice in one process, one CPU thread: weights, curves and metrics must be the same bit for "
    "bit. Where they are not, the training is traced twice, and the first operation that got the same numbers and "
    "gave others is named; `torch.use_deterministic_algorithms(True)` is tried, too."
)
NETWORKS = (("resnet14", "squeezenet"), ("mobilenetv2", "shufflenetv2"))
"""Pairs of the paper's networks that take one step on random images: among them dropout, grouped convolutions."""
UNWRITTEN = re.compile("empty|set_|resize_")
"""Names of operations that may give memory to which nothing has been written yet."""
Training = Callable[[], list[Tensor]]
"""Trains something from the start and returns its weights."""


def small_spec(precision: str, seed: int, epochs: int = 2) -> Spec:
    """A run of the full method that takes a second: a convolutional and a residual peer on 60 digits.

    Args:
        precision: fp32 or bf16.
        seed: of the run.
        epochs: of the run.
    """
    recipe = {"epochs": epochs, "batch_size": 20, "mirror": True, "erasing": 0.5, "precision": precision}
    return Spec(
        data=Digits(n_train=60),
        peers=("tiny_cnn", "tiny_resnet"),
        objective=METHODS["ctsl_mkt"],
        recipe=Recipe.model_validate(recipe),
        seed=seed,
    )


def outcome(spec: Spec, store: Store) -> tuple[str, list[Tensor]]:
    """All of a finished run that must be the same each time: its record but for the provenance, and the weights.

    Args:
        spec: of the run, which was made with `keep_weights`.
        store: where it is.
    """
    record, peers = store.load_kept(spec)
    text = record.model_dump_json(exclude={"provenance"})
    return text, [value for peer in peers for value in peer.state_dict().values()]


def same(a: tuple[str, list[Tensor]], b: tuple[str, list[Tensor]]) -> bool:
    """Whether two outcomes are the same bit for bit.

    Args:
        a, b: of `outcome`.
    """
    return bool(a[0]) and a[0] == b[0] and equal(a[1], b[1])


def equal(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors are the same bit for bit.

    Args:
        a, b: the lists.
    """
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def repeat(device: torch.device, seed: int = 0) -> Part:
    """Train small runs and one step of the paper's networks twice.

    Args:
        device: where to train.
        seed: of the runs.
    """
    rows = []
    for precision in ("fp32", "bf16"):
        spec = small_spec(precision, seed)
        with tempfile.TemporaryDirectory(prefix="ctsl-check-") as folder:
            found = []
            for name in ("first", "second"):
                store = Store(Path(folder) / name)
                run(spec, store, keep_weights=True, device=device, progress=False)
                found.append(outcome(spec, store))
        training = a_step(("tiny_cnn", "tiny_resnet"), device, precision, seed)
        what = f"{' + '.join(spec.peers)}, full method, {precision}"
        rows.append(row(what, same(found[0], found[1]), training))
    for pair in NETWORKS:
        training = a_step(pair, device, "fp32", seed)
        with cpu_threads(1):
            rows.append(row(f"{' + '.join(pair)}, one step", equal(training(), training()), training))
    return Part(title="3 the same twice", rule=RULE, rows=rows)


def row(what: str, identical: bool, training: Training) -> Row:
    """The row of one training; if it is not the same twice, it is traced.

    Args:
        what: the name of the row.
        identical: whether the training was the same twice.
        training: the training to trace.
    """
    if identical:
        return Row(what=what, found="the same bit for bit", expected="the same")
    with cpu_threads(1):
        named = first_difference(training) or "no operation of one step differs"
        found = f"not the same: {named}; with deterministic algorithms: {again_deterministic(training)}"
    return Row(what=what, found=found, expected="the same", verdict="off")


def a_step(pair: Sequence[str], device: torch.device, precision: str, seed: int) -> Training:
    """One step of the full method on random images, as a training that can be repeated.

    Args:
        pair: networks by name.
        device: where to train.
        precision: fp32 or bf16.
        seed: of images, weights and training.
    """
    data = random_images(16, seed).to(device)
    recipe = Recipe.model_validate(
        {"epochs": 1, "batch_size": 16, "padding": 4, "mirror": True, "precision": precision}
    )

    def training() -> list[Tensor]:
        peers = [build_peer(name, 3, 10, seed=k).to(device) for k, name in enumerate(pair)]
        train(peers, FULL, data, recipe, seed, frozen=frozen_copies(peers), progress=False)
        return [value.cpu() for peer in peers for value in peer.state_dict().values()]

    return training


def random_images(count: int, seed: int) -> Dataset:
    """Random pictures of 32x32 with ten classes.

    Args:
        count: how many.
        seed: fixes them.
    """
    source = generator(seed, "check", "images")
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=source)
    labels = torch.arange(count) % 10
    split = Split(images, labels, labels)
    return Dataset("random", split, split, split, tuple(map(str, range(10))), (127.5,) * 3, (64.0,) * 3)


class Seen(NamedTuple):
    """One operation: its name and a checksum of the numbers that it got and gave."""

    name: str
    got: int
    gave: int


class Trace(TorchDispatchMode):
    """Keeps a checksum of what each operation gets and gives, those of backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What PyTorch calls for each operation."""
        got = checksum((args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        self.seen.append(Seen(str(func), got, checksum(result)))
        return result


def checksum(values: Any) -> int:
    """A checksum of all tensors within nested lists and dicts."""
    total = 0
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            content = leaf.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
            total = zlib.crc32(content.view(torch.uint8).numpy().tobytes(), total)
    return total


def first_difference(training: Training) -> str:
    """The first operation that gets the same numbers in two trainings and gives others; empty if there is none.

    Memory that was only allocated holds anything and does not count.
    """
    training()  # what is computed once and kept, such as the data's mean, is there from now on
    traces = []
    for _ in range(2):
        with Trace() as trace:
            training()
        traces.append(trace.seen)
    for number, (a, b) in enumerate(zip_longest(*traces)):
        if a is None or b is None or a.name != b.name:
            return f"operation {number}: another one in the second training"
        if not UNWRITTEN.search(a.name) and a.got == b.got and a.gave != b.gave:
            return f"operation {number}: {a.name}"
    return ""


def again_deterministic(training: Training) -> str:
    """Whether the training is the same twice if PyTorch is told to use deterministic algorithms alone, in words.

    An operation that has none makes PyTorch raise an error, which is the answer then. On a GPU cuBLAS must have been
    told as well, see `command.check`.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        return "the same bit for bit" if equal(training(), training()) else "not the same either"
    except RuntimeError as error:
        return f"not possible: {str(error).splitlines()[0][:200]}"
    finally:
        torch.use_deterministic_algorithms(before)
