"""A plan in small before it is run: what would fail only after hours is found in seconds."""

import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.data.sampler import order
from ctsl_lib.data.types import Dataset, RetrievalSplit
from ctsl_lib.errors import PlanError
from ctsl_lib.experiments.provenance import default_device
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.metrics.evaluation import METRICS
from ctsl_lib.metrics.retrieval import Labelled, retrieval_metrics
from ctsl_lib.models.peer import PeerOutput, count_parameters
from ctsl_lib.models.registry import build_peer
from ctsl_lib.randomness import seeded

BATCH = 4
"""Images that each network is tried on."""
INSTEAD = "install it, or set compile: false, which is another recipe with records of its own"


def try_runs(specs: Sequence[Spec]) -> None:
    """Load the data of these runs, and train every network of theirs on one small batch.

    Args:
        specs: runs of one plan: they share data and recipe.

    Raises: PlanError that names the pair and what to change; DataError if the images are missing.
    """
    if not specs:
        return
    spec = specs[0]
    if spec.recipe.compile and default_device().type == "cuda":
        _try_compiler()
    try:
        data = spec.data.load(spec.seed)
    except (RuntimeError, IndexError) as error:
        raise PlanError(f"the data set {spec.data.name} cannot be used as it is set: {error}") from error
    _try_data(data, spec)
    pairs = {one.peers: " + ".join(one.peers) for one in specs}
    teachers = {(one.objective.teacher,): "the teacher" for one in specs if one.objective.teacher is not None}
    images, labels = _few(data, spec)
    answers: dict[str, PeerOutput] = {}
    for names, said in (*pairs.items(), *teachers.items()):
        for name in names:
            if name not in answers:
                answers[name] = _try_network(name, said, data, spec, images, labels)
    _try_objectives(specs, answers, labels)
    if not isinstance(data.test, RetrievalSplit):
        _try_metrics(answers[spec.peers[0]], labels)


def _try_compiler() -> None:
    """Whether networks can be compiled for a GPU: what PyTorch makes for it is built by a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or shutil.which(compiler) is None:
        raise PlanError(
            f"compile: true needs a C compiler, and {compiler or 'gcc or clang'} is not there; {INSTEAD}"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise PlanError(
            f"compile: true needs Python's headers, and {header} is not there (python3-dev); {INSTEAD}"
        )


def _try_data(data: Dataset, spec: Spec) -> None:
    """Whether there are batches to train on, and whether the test images can be judged by."""
    n, size = len(data.train), spec.recipe.batch_size
    if size > n:
        raise PlanError(f"batch_size must be at most the {n} training images, got {size}")
    present = set(data.train.true_labels.unique().tolist())
    absent = [name for label, name in enumerate(data.class_names) if label not in present]
    if absent:
        few = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise PlanError(f"{len(absent)} classes have no training image ({few}); n_train = {n} is too small")
    order(data.train.labels, size, spec.recipe.images_per_class, 0, 0)
    split = data.split(spec.evaluate_on)
    if not len(split):
        raise PlanError(f"{data.name} has no {spec.evaluate_on} images to judge a network by")
    if isinstance(split, RetrievalSplit):
        drawn = torch.Generator().manual_seed(0)
        query, gallery = (
            Labelled(torch.randn(len(part), 2, generator=drawn), part.identity, part.camera)
            for part in (split.query, split.gallery)
        )
        try:
            retrieval_metrics(query, gallery, metric=split.distance)
        except ValueError as error:
            raise PlanError(f"the {spec.evaluate_on} images of {data.name} cannot be searched: {error}") from None


def _try_objectives(specs: Sequence[Spec], answers: Mapping[str, PeerOutput], labels: Tensor) -> None:
    """Every objective with every group of networks, on what each of them answered."""
    for names, objective in dict.fromkeys((one.peers, one.objective) for one in specs):
        outputs = [answers[name] for name in names]
        try:
            taught = outputs if objective.teacher is None else [answers[objective.teacher]] * len(outputs)
            losses = objective(outputs, labels, taught)
            torch.stack([loss.reshape(()) for terms in losses for loss in terms.values()])
        except Exception as error:  # whatever a term of a user's own may raise
            pair = " + ".join(names)
            raise PlanError(f"{objective.in_words} cannot be computed for {pair}: {_first(error)}") from error


def _try_metrics(output: PeerOutput, labels: Tensor) -> None:
    """Every metric, a user's own included, on the answers of one network."""
    for name, compute in METRICS.items():
        try:
            float(compute(output, labels))
        except Exception as error:
            raise PlanError(f"the metric {name!r} cannot be computed: {_first(error)}") from error


def _first(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _few(data: Dataset, spec: Spec) -> tuple[Tensor, Tensor]:
    """A few training images of as many classes as can be, and their labels."""
    count = min(BATCH, spec.recipe.batch_size)
    first = [int((data.train.labels == label).nonzero()[0]) for label in data.train.labels.unique()[:count]]
    rest = [place for place in range(len(data.train)) if place not in first][: count - len(first)]
    chosen = torch.tensor(first + rest)
    return data.train.images[chosen], data.train.labels[chosen]


def _try_network(name: str, pair: str, data: Dataset, spec: Spec, images: Tensor, labels: Tensor) -> PeerOutput:
    """One step in train mode, there and back; returns what the network answered."""
    where = f"{name}, of {pair}," if name != pair else name
    try:
        peer = build_peer(name, data.channels, data.num_classes, seed=0)
    except (RuntimeError, OSError, KeyError, TypeError) as error:  # of a user's own network
        raise PlanError(f"{where} cannot be built for {data.num_classes} classes: {_first(error)}") from error
    if spec.initial == "imagenet" and count_parameters(peer):
        from ctsl_lib.models.reid import load_imagenet  # with torchvision, which takes a second to import

        load_imagenet(name, peer)
    try:
        with seeded(0):
            output: PeerOutput = peer.train()(data.normalise(images))
            loss = F.cross_entropy(output.logits, labels)
            if count_parameters(peer):
                loss.backward()
        if not torch.isfinite(loss):
            raise ValueError(f"its loss is {loss.item():g} before the first step")
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        height, width = images.shape[2:]
        reason = _first(error)
        raise PlanError(
            f"{where} cannot learn from batches of {len(images)} images of {data.channels}x{height}x{width} "
            f"({reason}); name another network in `pairs` or `teacher`, or change the images' size or batch_size"
        ) from error
    return output.detach()
