"""The terms of the objective as code: what each peer learns from, by name.

This module alone decides what is a fixed target: a peer teaches, and is not taught back. The losses themselves
(`functional`) detach nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_lib.losses.functional import at_least_float32, response_loss, triplet_loss
from ctsl_lib.losses.objective import REGISTERED, Objective, term
from ctsl_lib.losses.relation_kernel import Relations, both_ways, relation_losses
from ctsl_lib.models.peer import PeerOutput


@dataclass(frozen=True)
class Step:
    """One training step, as the terms see it: K peers and a batch of B images."""

    objective: Objective
    outputs: Sequence[PeerOutput]
    """The K peers' logits (B, C) and embeddings (B, D_k); gradients flow back through them."""
    targets: Sequence[PeerOutput]
    """The same numbers as fixed targets: no gradient flows back."""
    labels: Tensor
    """(B,) class indices."""
    frozen: Sequence[PeerOutput]
    """For each peer what its frozen copy, or the teacher, answers; empty if no term needs it."""
    chosen: Sequence[int]
    """The peers that learn in this step; only their terms are computed."""
    compiled: bool = False
    """Whether to compile the inner loop of the relation losses."""

    def others(self, k: int) -> list[PeerOutput]:
        """The fixed targets of peer k: all other peers."""
        return [target for j, target in enumerate(self.targets) if j != k]

    @cached_property
    def relations(self) -> Relations:
        """The relation losses of all peers, computed together when a term first asks for them."""
        distance, angle = self.objective.distance > 0, self.objective.angle > 0
        if not self.objective.detach_relations:
            moving = [output.embedding for output in self.outputs]
            return _moving_relation_losses(moving, distance=distance, angle=angle, compiled=self.compiled)
        # A peer that is not chosen takes no step now, so its gradient is not computed.
        sides = [(self.outputs if k in self.chosen else self.targets)[k] for k in range(len(self.outputs))]
        embeddings = [side.embedding for side in sides]
        return relation_losses(embeddings, distance=distance, angle=angle, compiled=self.compiled)


@term("ce")
def cross_entropy(step: Step, k: int) -> Tensor:
    """Cross entropy with the labels."""
    smoothing = step.objective.label_smoothing
    return F.cross_entropy(at_least_float32(step.outputs[k].logits), step.labels, label_smoothing=smoothing)


@term("response", needs="peers")
def response(step: Step, k: int) -> Tensor:
    """KL divergence from the other peers' answers, mean over these peers."""
    own = step.outputs[k].logits
    return torch.stack([response_loss(own, other.logits) for other in step.others(k)]).mean()


@term("distance", needs="peers")
def distance(step: Step, k: int) -> Tensor:
    """Difference from the other peers' relative distances, mean over these peers."""
    return step.relations.distance[k]


@term("angle", needs="peers")
def angle(step: Step, k: int) -> Tensor:
    """Difference from the other peers' angles, mean over these peers."""
    return step.relations.angle[k]


@term("self", needs="frozen")
def self_knowledge(step: Step, k: int) -> Tensor:
    """KL divergence from the frozen copy's softened answers."""
    return response_loss(step.outputs[k].logits, step.frozen[k].logits, step.objective.temperature)


@term("triplet")
def triplet(step: Step, k: int) -> Tensor:
    """Batch-hard triplet loss of the own embedding."""
    return triplet_loss(step.outputs[k].embedding, step.labels, step.objective.margin)


def weighted_terms(
    objective: Objective,
    outputs: Sequence[PeerOutput],
    labels: Tensor,
    frozen: Sequence[PeerOutput] | None,
    chosen: Sequence[int],
    compiled: bool,
) -> list[dict[str, Tensor]]:
    """The weighted terms of each chosen peer; what `Objective.__call__` does.

    Args:
        objective: the weights and switches.
        outputs, labels, frozen, compiled: see `Objective.__call__`.
        chosen: the peers whose terms to compute.

    Returns: for each chosen peer a dict: term -> weighted scalar.
    Raises: ValueError on an unknown term, on no peer or a single one without a term for it, and on frozen answers that
        are missing or not one for each peer.
    """
    objective.check_terms()
    objective.check_peers(len(outputs))
    if objective.learns_from_frozen and (frozen is None or len(frozen) != len(outputs)):
        got = "none" if frozen is None else len(frozen)
        raise ValueError(f"the terms need frozen answers for {len(outputs)} peers, got {got}")
    targets = [output.detach() for output in outputs]
    fixed = [output.detach() for output in frozen or ()]
    step = Step(objective, outputs, targets, labels, fixed, chosen, compiled)
    scales = {"self": objective.temperature**2 if objective.scale_self_by_t2 else 1.0}
    weights = {
        name: weight * scales.get(name, 1.0)
        for name, weight in objective.active.items()
        if len(outputs) > 1 or REGISTERED[name].needs != "peers"
    }
    return [
        {name: weight * REGISTERED[name].compute(step, k) for name, weight in weights.items()} for k in chosen
    ]


def _moving_relation_losses(
    embeddings: Sequence[Tensor], *, distance: bool, angle: bool, compiled: bool
) -> Relations:
    """`relation_losses` without detaching: the gradient of entry k reaches the other peers as well."""
    peers = range(len(embeddings))
    losses: dict[int, list[Relations]] = {k: [] for k in peers}
    for k, j in combinations(peers, 2):
        pair = relation_losses([embeddings[k], embeddings[j]], distance=distance, angle=angle, compiled=compiled)
        for peer in (k, j):
            losses[peer].append(Relations(both_ways(pair.distance), both_ways(pair.angle)))
    means = [[torch.stack(values).mean() for values in zip(*losses[k], strict=True)] for k in peers]
    return Relations(*(torch.stack(values) for values in zip(*means, strict=True)))
