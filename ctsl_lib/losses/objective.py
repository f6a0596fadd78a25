r"""One objective for all methods: a method is a row of weights over the named terms.

.. math:: L^k = \alpha\, L_{CE}^k + \beta\, (L_{DD} + \beta_1 L_{AD} + \beta_2 L_{KL}^{k \leftarrow j})
          + \gamma\, L_{SD}^k
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from ctsl_lib.losses.functional import response_loss, triplet_loss
from ctsl_lib.losses.relation_kernel import Relations, moving_relation_losses, relation_losses
from ctsl_lib.models.peer import PeerOutput

TERMS = ("ce", "response", "distance", "angle", "self")
"""The paper's terms; beside them an objective may have the triplet term."""
GROUPS: dict[str, tuple[str, ...]] = {"MLI": ("response",), "MLR": ("distance", "angle"), "SLI": ("self",)}
"""The paper's three kinds of knowledge beside the labels, and the terms that each stands for."""
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Objective(BaseModel, frozen=True, extra="forbid"):
    """Weights of the terms, and what the paper leaves open. A term of weight 0 is never computed."""

    ce: Weight = 1.0
    """Cross entropy with the labels (alpha)."""
    response: Weight = 0.0
    """KL from the other peers' answers, temperature 1 (beta * beta2)."""
    distance: Weight = 0.0
    """Difference to the other peers' relative distances (beta)."""
    angle: Weight = 0.0
    """Difference to the other peers' angles (beta * beta1)."""
    self: Weight = 0.0
    """KL from the frozen copy's softened answers (gamma)."""
    triplet: Weight = 0.0
    """Batch-hard triplet loss of the own embedding, from labels. Usual for re-identification, not the paper's."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Softens both sides of the self term (t)."""
    margin: float = Field(default=0.3, ge=0, allow_inf_nan=False)
    """Of the triplet term."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each label that the cross entropy spreads evenly over all classes (Szegedy et al. 2016)."""
    teacher: str | None = None
    """What the self term learns from: None for the own frozen copy, or the name of a network that is trained
    alone, then frozen, and teaches every peer (Hinton et al. 2015)."""
    detach_relations: bool = True
    """True: the other peer's geometry is a fixed target. False: both sides move towards each other, which for
    simultaneous updates is the same as doubling the weights of the relation terms: Huber is even."""
    start: Literal["fresh", "pretrained"] = "fresh"
    """Where the peers of stage 2 begin: new initial weights, or the weights that stage 1 ended with."""
    scale_self_by_t2: bool = False
    """Multiply the self term by temperature ** 2, as Hinton et al. 2015 do."""
    update: Literal["simultaneous", "sequential"] = "simultaneous"
    """All peers step at once on the same answers, or one after the other on answers made anew."""

    @model_validator(mode="after")
    def _has_a_term(self) -> "Objective":
        if not any(getattr(self, term) > 0 for term in (*TERMS, "triplet")):
            raise ValueError(
                f"at least one of {', '.join(TERMS)}, triplet must be above 0: an objective without any term "
                "has nothing to learn"
            )
        return self

    @model_validator(mode="after")
    def _teacher_is_no_start(self) -> "Objective":
        if self.teacher is not None and self.start == "pretrained":
            raise ValueError("start must be 'fresh' with a teacher: there is no own copy to start from")
        return self

    @classmethod
    def from_paper(
        cls, alpha: float, beta: float, gamma: float, beta1: float, beta2: float, t: float
    ) -> "Objective":
        """The objective from the coefficients as the paper writes them."""
        return cls.model_validate(
            {
                "ce": alpha,
                "response": beta * beta2,
                "distance": beta,
                "angle": beta * beta1,
                "self": gamma,
                "temperature": t,
            }
        )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each of the paper's terms by name, in the order of TERMS."""
        return {term: getattr(self, term) for term in TERMS}

    @property
    def needs_frozen(self) -> bool:
        """Whether stage 1 must come first: for the frozen copies, or for the weights to start from."""
        return self.self > 0 or self.start == "pretrained"

    def without(self, *terms: str) -> "Objective":
        """The same objective with these terms left out; the temperature goes with the self term."""
        unknown = set(terms) - set(TERMS)
        if unknown:
            raise ValueError(f"terms must be among {', '.join(TERMS)}; got {', '.join(sorted(unknown))}")
        changes: dict[str, float | bool | None] = dict.fromkeys(terms, 0.0)
        if "self" in terms:
            changes |= {"temperature": 1.0, "scale_self_by_t2": False, "teacher": None}
        return Objective.model_validate(self.model_dump() | changes)

    def check_peers(self, count: int) -> None:
        """Raise a ValueError if one of `count` peers would have no term: a single one has none of the others."""
        if count == 1 and not any(getattr(self, term) > 0 for term in ("ce", "self", "triplet")):
            raise ValueError(
                "ce, self or triplet must be above 0 for a single peer, which has nobody to learn from otherwise"
            )

    def __call__(
        self,
        outputs: Sequence[PeerOutput],
        labels: Tensor,
        frozen: Sequence[Tensor] | None = None,
        *,
        only: Iterable[int] | None = None,
        compiled: bool = False,
    ) -> list[dict[str, Tensor]]:
        """The weighted terms of each peer's loss; their sum over terms and peers is what to minimise.

        Args:
            outputs: what each of the K peers says of the same B images.
            labels: (B,) class indices.
            frozen: for each peer the (B, C) logits of its frozen copy; needed where the self term counts.
            only: the peers whose terms to compute; default all.
            compiled: compile the relation losses' inner loop; see `relation_losses`.

        Returns: a dict term -> scalar for each of these peers. Mutual terms are averaged over the other peers
            and absent for K = 1.
        Raises: ValueError where frozen logits are needed and missing, or not one for each peer.
        """
        if self.self > 0 and (frozen is None or len(frozen) != len(outputs)):
            got = "none" if frozen is None else len(frozen)
            raise ValueError(f"the self term needs frozen logits for {len(outputs)} peers, got {got}")
        chosen = list(range(len(outputs)) if only is None else only)
        targets = [output.detach() for output in outputs]  # a peer teaches, it is not taught back
        scale = self.temperature**2 if self.scale_self_by_t2 else 1.0
        relations = None
        if len(outputs) > 1 and (self.distance > 0 or self.angle > 0):
            own_or_target = [(outputs if k in chosen else targets)[k] for k in range(len(outputs))]
            relations = self._relations(own_or_target if self.detach_relations else outputs, compiled)

        def terms(k: int) -> dict[str, Tensor]:
            own, others = outputs[k], [j for j in range(len(outputs)) if j != k]
            found: dict[str, Tensor] = {}
            if self.ce > 0:
                found["ce"] = self.ce * F.cross_entropy(
                    own.logits.float(), labels, label_smoothing=self.label_smoothing
                )
            if self.response > 0 and others:
                mutual = torch.stack([response_loss(own.logits, targets[j].logits) for j in others])
                found["response"] = self.response * mutual.mean()
            if self.distance > 0 and relations is not None:
                found["distance"] = self.distance * relations.distance[k]
            if self.angle > 0 and relations is not None:
                found["angle"] = self.angle * relations.angle[k]
            if self.self > 0 and frozen is not None:
                found["self"] = (self.self * scale) * response_loss(own.logits, frozen[k], self.temperature)
            if self.triplet > 0:
                found["triplet"] = self.triplet * triplet_loss(own.embedding, labels, self.margin)
            return found

        return [terms(k) for k in chosen]

    def _relations(self, sides: Sequence[PeerOutput], compiled: bool) -> Relations:
        losses = relation_losses if self.detach_relations else moving_relation_losses
        embeddings = [side.embedding for side in sides]
        return losses(embeddings, distance=self.distance > 0, angle=self.angle > 0, compiled=compiled)


def objective_table(rows: Mapping[str, Objective]) -> pd.DataFrame:
    """Objectives as a table: a row each, a column for every weight and switch; left-out terms are empty."""
    frame = pd.DataFrame([row.model_dump() for row in rows.values()], index=pd.Index(rows, name="objective"))
    terms = [*TERMS, "triplet"]
    frame[terms] = frame[terms].mask(frame[terms] == 0, math.nan)
    return frame
