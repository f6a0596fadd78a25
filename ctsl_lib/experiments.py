"""A frozen spec names a run; running it trains the peers and leaves a record."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from ctsl_lib import ROOT, zoo
from ctsl_lib.checkpoints import Checkpoint, StateError, read_state
from ctsl_lib.data import Digits
from ctsl_lib.datasets import DataSpec
from ctsl_lib.evaluation import evaluate
from ctsl_lib.files import write_atomically
from ctsl_lib.machine import cpu_threads
from ctsl_lib.networks import Peer, build_peer, check_network, count_parameters
from ctsl_lib.objectives import Objective
from ctsl_lib.provenance import Provenance, current_commit, default_device, provenance
from ctsl_lib.recipes import Recipe
from ctsl_lib.seeds import derive_seed
from ctsl_lib.sources import DataError
from ctsl_lib.training import History, frozen_copies, train

NUMERICS = 3
"""Incremented when the same spec would give other numbers, so that old and new records never mix in one mean.

1: relation losses by direct differences in float32. 2: by Gram matrices in float64; weights channels last.
3: the same in units of the mean distance; dropout drawn step by step; batch norms of frozen copies not folded;
`resnet14` is the narrow CIFAR network.
"""


class Spec(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides the outcome of a run."""

    data: DataSpec = Digits()
    peers: tuple[Annotated[str, AfterValidator(check_network)], ...] = Field(
        default=("tiny_cnn", "tiny_cnn"), min_length=1
    )
    """Networks of the registry by name, one for each peer."""
    objective: Objective = Objective()
    recipe: Recipe = Recipe()
    initial: Literal["random", "imagenet"] = "random"
    """What the backbones begin with: random weights, or torchvision's of ImageNet where it has them."""
    seed: int = Field(default=0, ge=0)
    stage: Literal[1, 2] = 2
    """1: the pre-training of networks that are then frozen. 2: the run that is reported."""
    evaluate_on: Literal["validation", "test"] = "test"
    numerics: int = NUMERICS

    @model_validator(mode="after")
    def _each_peer_has_a_term(self) -> "Spec":
        self.objective.check_peers(len(self.peers))
        return self

    @property
    def key(self) -> str:
        """A hash of the content, the same on every machine and in every process.

        Fields at their defaults do not enter, so that a field which is added later, with the old behaviour as its
        default, leaves the keys of old records alone. Whoever changes a default raises NUMERICS.
        """
        content = self.model_dump(mode="json", exclude_defaults=True)
        content |= {"data": [self.data.name, content.get("data")], "numerics": self.numerics}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def stage1(self) -> "Spec":
        """The pre-training that this run's frozen copies come from: the same peers on the labels alone.

        It does not depend on the method or on its weights, so all methods that need it share it. With a fixed
        teacher it is the teacher's training.
        """
        peers = self.peers if self.objective.teacher is None else (self.objective.teacher,)
        own = self.objective
        labels = Objective(triplet=own.triplet, margin=own.margin) if own.triplet > 0 else Objective()
        return self.model_copy(update={"objective": labels, "peers": peers, "stage": 1})


class Record(BaseModel, frozen=True):
    """What came of a spec."""

    spec: Spec
    data_digest: str = ""
    """Of the decoded images that it was trained and judged on; empty in records of numerics 2 and before."""
    parameters: list[int]
    """Of each peer."""
    metrics: dict[str, list[float]]
    """Of the last epoch, in percent; see `evaluation.evaluate`."""
    history: History
    provenance: Provenance


class Store:
    """A folder of records, one JSON file for each spec, under the data set's name and the spec's key."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root if root is not None else os.environ.get("CTSL_RECORDS", ROOT / "data" / "records"))
        self._digests: dict[DataSpec, str | None] = {}

    def path(self, spec: Spec) -> Path:
        """Where the record of `spec` belongs."""
        return self.root / spec.data.name / f"{spec.key}.json"

    def weights_path(self, spec: Spec) -> Path:
        """Where the trained peers of `spec` belong, if they are kept."""
        return self.path(spec).with_suffix(".pt")

    def checkpoint(self, spec: Spec) -> Checkpoint:
        """Where a run of `spec` keeps its state until it has a record."""
        return Checkpoint(self.path(spec).with_suffix(".ckpt"), float(os.environ.get("CTSL_CHECKPOINT", "30")))

    def data_digest(self, data: DataSpec, *, again: bool = False) -> str | None:
        """The digest of the images that `data` stands for now; None where they are not at hand.

        Asked once for each data set, as a folder of many files takes a moment; anew if `again`.
        """
        if again or data not in self._digests:
            try:
                self._digests[data] = data.digest()
            except DataError:
                self._digests[data] = None
        return self._digests[data]

    def load(self, spec: Spec, *, weights: bool = False) -> Record | None:
        """The record of `spec`; None where none can be used, or where trained peers are wanted and not there.

        One that was made from other images than those at hand now is named in a warning and not used.
        """
        if not self.path(spec).exists() or (weights and not self.weights_path(spec).exists()):
            return None
        record = self._read(self.path(spec))
        if record is None or not self._same_data(self.path(spec), spec, record.data_digest):
            return None
        if weights:
            kept = self._kept(spec)
            if kept is None or not self._same_data(self.weights_path(spec), spec, kept["data_digest"]):
                return None
        return record

    def _same_data(self, path: Path, spec: Spec, made_from: str) -> bool:
        now = self.data_digest(spec.data)
        if now is None or now == made_from:
            return True
        warnings.warn(
            f"{path} was made from other images of {spec.data.name} (digest {made_from or 'not known'}) than "
            f"those at hand (digest {now}); it is not used, and the run is made anew when it is asked for",
            stacklevel=3,
        )
        return False

    def save(self, record: Record, peers: Sequence[Peer] | None = None) -> None:
        """Write a record, and before it the weights if peers are given: both whole or not at all."""
        path = self.path(record.spec)
        if peers is not None:
            kept = {
                "data_digest": record.data_digest,
                "peers": [{name: value.cpu() for name, value in peer.state_dict().items()} for peer in peers],
            }
            write_atomically(self.weights_path(record.spec), lambda temporary: torch.save(kept, temporary))
        text = record.model_dump_json(indent=1) + "\n"
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def load_peers(self, spec: Spec) -> list[Peer]:
        """The trained peers of `spec`, in evaluation mode, on the CPU.

        Raises: FileNotFoundError where they were not kept, DataError where they cannot be used.
        """
        path = self.weights_path(spec)
        kept = self._kept(spec)
        if kept is None or not self._same_data(path, spec, kept["data_digest"]):
            if not path.exists():
                raise FileNotFoundError(f"{path} does not exist: run the spec with keep_weights=True")
            raise DataError(f"{path} cannot be used (see the warning); run the spec with keep_weights=True")
        data_shape = _shape(spec)
        peers = [build_peer(name, *data_shape, seed=0) for name in spec.peers]
        for peer, state in zip(peers, kept["peers"], strict=True):
            peer.load_state_dict(state)
        return [peer.eval() for peer in peers]

    def _kept(self, spec: Spec) -> dict[str, Any] | None:
        """What the file of weights holds; None where there is none, or, with a warning, a damaged one."""
        path = self.weights_path(spec)
        try:
            return read_state(path, "peers")
        except FileNotFoundError:
            return None
        except StateError as error:
            warnings.warn(f"{path} is not used: {error}", stacklevel=3)
            return None

    def __iter__(self) -> Iterator[Record]:
        """All records that can be read; a damaged or foreign file is named in a warning and left out."""
        for path in sorted(self.root.glob("*/*.json")):
            record = self._read(path)
            if record is not None:
                yield record

    def _read(self, path: Path) -> Record | None:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            record = Record.model_validate_json(text)
        except (ValidationError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            warnings.warn(f"{path} is not a record and is left out: {reason}", stacklevel=2)
            return None
        if self.path(record.spec).name != path.name:
            warnings.warn(f"{path} does not hold the spec that it is named for; left out", stacklevel=2)
            return None
        return record


def run(
    spec: Spec,
    store: Store | None = None,
    *,
    keep_weights: bool = False,
    device: torch.device | str | None = None,
    threads: int = 1,
    progress: bool | None = None,
) -> Record:
    """Train what `spec` names, or return the record that is there already.

    Args:
        spec: what to run.
        store: where records live; by default the folder data/records, or what CTSL_RECORDS says.
        keep_weights: keep the trained peers beside the record (always done in stage 1).
        device: where to train; by default CUDA where there is one.
        threads: of the CPU. Another number may change the last digits of sums, hence results; networks as small
            as the built-in ones are fastest with one, and many runs are faster side by side (see `process_pool`).
        progress: show progress bars; see `train`.

    Returns: the record, stored before it is returned. Stage 1 is run first where the objective needs it. What was
        made from other images than those at hand now is named in a warning and made anew.
    """
    store = store if store is not None else Store()
    keep_weights = keep_weights or spec.stage == 1
    checkpoint = store.checkpoint(spec)
    store.data_digest(spec.data, again=True)
    found = store.load(spec, weights=keep_weights)
    if found is not None:
        checkpoint.clear()
        return found
    device = torch.device(device) if device is not None else default_device()
    current_commit()
    if spec.objective.needs_frozen:
        run(spec.stage1(), store, device=device, threads=threads, progress=progress)
    with cpu_threads(threads):
        record, peers = _train(spec, store, checkpoint, device, progress)
    store.save(record, peers if keep_weights else None)
    checkpoint.clear()
    return record


def _train(
    spec: Spec, store: Store, checkpoint: Checkpoint, device: torch.device, progress: bool | None
) -> tuple[Record, list[Peer]]:
    pretrained: list[Peer] | None = None
    if spec.objective.needs_frozen:
        pretrained = [peer.to(device) for peer in store.load_peers(spec.stage1())]
        if spec.objective.teacher is not None:
            pretrained = pretrained * len(spec.peers)
    data = spec.data.load(spec.seed).to(device)
    checkpoint.data_digest = data.digest
    if spec.objective.start == "pretrained" and pretrained is not None:
        peers = [build_peer(n, data.channels, data.num_classes, seed=0).to(device) for n in spec.peers]
        for peer, source in zip(peers, pretrained, strict=True):
            peer.load_state_dict(source.state_dict())
    else:
        peers = initial_peers(spec, data.channels, data.num_classes, device)
    history = train(
        peers,
        spec.objective,
        data,
        spec.recipe,
        derive_seed(spec.seed, "training", spec.stage),
        frozen=frozen_copies(pretrained) if pretrained is not None else None,
        evaluate_on=spec.evaluate_on,
        checkpoint=checkpoint,
        progress=progress,
    )
    record = Record(
        spec=spec,
        data_digest=data.digest,
        parameters=[count_parameters(peer) for peer in peers],
        metrics=evaluate(peers, data.split(spec.evaluate_on), data, spec.recipe.precision),
        history=history,
        provenance=provenance(device, checkpoint.seconds),
    )
    return record, peers


def initial_peers(spec: Spec, channels: int, num_classes: int, device: torch.device | str) -> list[Peer]:
    """Untrained peers; the weights depend on seed, stage and position, never on the method.

    Backbones of ImageNet are the same for equal networks; their classifiers are not, so they do not stay equal.
    """
    peers = [
        build_peer(name, channels, num_classes, derive_seed(spec.seed, "weights", spec.stage, k))
        for k, name in enumerate(spec.peers)
    ]
    if spec.initial == "imagenet":
        for name, peer in zip(spec.peers, peers, strict=True):
            zoo.load_imagenet(name, peer)
    return [peer.to(device) for peer in peers]


def _shape(spec: Spec) -> tuple[int, int]:
    data = spec.data.load(spec.seed)
    return data.channels, data.num_classes
