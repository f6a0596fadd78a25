"""A frozen spec names everything that decides the outcome of a run; a record says what came of it."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from ctsl_lib.data.specs import DataSpec, Digits
from ctsl_lib.experiments.provenance import Provenance
from ctsl_lib.losses.objective import Objective
from ctsl_lib.models.registry import check_network
from ctsl_lib.training.history import History
from ctsl_lib.training.recipe import Recipe

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
