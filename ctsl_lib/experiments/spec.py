"""A spec names everything that decides the outcome of a run; a record holds the outcome."""

import hashlib
import json
import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from ctsl_lib.data.specs import DataSpec, Digits
from ctsl_lib.errors import shown
from ctsl_lib.experiments.provenance import Provenance
from ctsl_lib.losses.objective import Objective
from ctsl_lib.models.registry import check_network
from ctsl_lib.training.history import History, check_count, check_numbers
from ctsl_lib.training.recipe import Recipe

NUMERICS = 3
"""A version number of the computations. Increment it when a change of the code makes the same spec give different
results, so that old and new records are never averaged together.

1: relation losses by direct differences in float32. 2: relation losses by Gram matrices in float64; weights in the
channels-last layout. 3: relation losses in units of the mean distance; dropout has a seed for every step; the batch
norms of frozen copies are no longer merged into convolutions; `resnet14` is the narrow CIFAR network.
"""

PERCENT = ("top1", "top5", "ece", "agreement", "mAP", "rank1", "rank5", "rank10")
"""The kit's own metrics, which are shares in percent; a user's own may be any finite number."""


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
    """The weights that backbones start from: random ones, or those that torchvision has trained on ImageNet."""
    seed: int = Field(default=0, ge=0)
    stage: Literal[1, 2] = 2
    """1: the training of the networks that are then frozen. 2: the run that is reported."""
    evaluate_on: Literal["validation", "test"] = "test"
    numerics: int = NUMERICS

    @model_validator(mode="after")
    def _each_peer_has_a_term(self) -> "Spec":
        self.objective.check_peers(len(self.peers))
        return self

    @property
    def key(self) -> str:
        """A hash of all settings, the same on every machine and in every process; records are named after it.

        Settings at their defaults are left out, so that a new field whose default is the old behaviour does not
        change the keys of old records. If you change a default, increment NUMERICS.
        """
        content = self.model_dump(mode="json", exclude_defaults=True)
        content |= {"data": [self.data.name, content.get("data")], "numerics": self.numerics}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def in_words(self) -> str:
        """The run by its key, its data, its networks, its objective and its seed, for messages."""
        stage = ", stage 1" if self.stage == 1 else ""
        peers = " + ".join(self.peers)
        return f"{self.key} ({self.data.name}, {peers}, {self.objective.in_words}{stage}, seed {self.seed})"

    def stage1(self) -> "Spec":
        """The training that this run's frozen copies come from: the same peers learn from the labels alone.

        It does not depend on the method or on its weights, so all methods that need it share it; only a triplet term
        belongs to it as well. With a fixed teacher it is the training of the teacher.
        """
        peers = self.peers if self.objective.teacher is None else (self.objective.teacher,)
        own = self.objective
        labels = Objective(triplet=own.triplet, margin=own.margin) if own.triplet > 0 else Objective()
        return self.model_copy(update={"objective": labels, "peers": peers, "stage": 1})


class Record(BaseModel, frozen=True):
    """The outcome of a run: complete, finite and within the limits of each number, or it is no record."""

    spec: Spec
    data_digest: str = ""
    """The digest of the images that it was trained and tested on; empty in records of numerics 2 and before."""
    parameters: list[int]
    """The number of learnable parameters of each peer; 0 for a teacher that is given and does not learn."""
    metrics: dict[str, list[float]]
    """Metrics after the last epoch, in percent; see `ctsl_lib.metrics.evaluation.evaluate`."""
    history: History
    provenance: Provenance

    @model_validator(mode="after")
    def _can_be_believed(self) -> "Record":
        peers, epochs = len(self.spec.peers), self.spec.recipe.epochs
        check_count("parameters", self.parameters, peers, "peer")
        if min(self.parameters) < 0:
            raise ValueError(f"parameters must be 0 or more, got {shown(self.parameters)}")
        first = self.spec.data.metric
        if first not in self.metrics:
            names = ", ".join(self.metrics) or "nothing"
            raise ValueError(f"metrics must have {first}, by which {self.spec.data.name} is judged, got {names}")
        for name, values in self.metrics.items():
            limits = (0, 100) if name in PERCENT else (-math.inf, math.inf)
            if name == "agreement":
                check_count("metrics.agreement", values, 1, "group")
            else:
                check_count(f"metrics.{name}", values, peers, "peer")
            check_numbers(f"metrics.{name}", values, *limits)
        self.history.check(peers, epochs)
        if self.history.evaluated[-1:] != [epochs]:
            raise ValueError(
                f"history.evaluated must end with the last epoch, {epochs}, got {shown(self.history.evaluated)}"
            )
        check_numbers("provenance.wall_time", [self.provenance.wall_time], 0)
        return self
