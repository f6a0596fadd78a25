"""Exercises of notebook 00 on pairs: detached targets, a first comparison."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, own_records, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.data.specs import Digits
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.losses.functional import response_loss
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.models.peer import PeerOutput
from ctsl_lib.training.recipe import Recipe


def my_totals(outputs: list[PeerOutput], labels: Tensor) -> list[Tensor]:
    """For each peer the sum of cross entropy and 4 times the mean response loss from the other peers."""
    raise NotImplementedError


def totals_right(outputs: list[PeerOutput], labels: Tensor) -> list[Tensor]:
    """Targets are detached; each peer learns from the others only."""
    targets = [output.detach() for output in outputs]
    totals = []
    for k, own in enumerate(outputs):
        others = [target for j, target in enumerate(targets) if j != k]
        response = sum(response_loss(own.logits, other.logits) for other in others) / len(others)
        totals.append(F.cross_entropy(own.logits, labels) + 4 * response)
    return totals


def totals_taught_back(outputs: list[PeerOutput], labels: Tensor) -> list[Tensor]:
    totals = []
    for k, own in enumerate(outputs):
        others = [output for j, output in enumerate(outputs) if j != k]
        response = sum(response_loss(own.logits, other.logits) for other in others) / len(others)
        totals.append(F.cross_entropy(own.logits, labels) + 4 * response)
    return totals


def totals_summed(outputs: list[PeerOutput], labels: Tensor) -> list[Tensor]:
    targets = [output.detach().logits for output in outputs]
    return [
        F.cross_entropy(own.logits, labels) + 4 * sum(response_loss(own.logits, other) for other in targets)
        for own in outputs
    ]


def totals_over_all(outputs: list[PeerOutput], labels: Tensor) -> list[Tensor]:
    targets = [output.detach().logits for output in outputs]
    return [
        F.cross_entropy(own.logits, labels)
        + 4 * sum(response_loss(own.logits, x) for x in targets) / len(targets)
        for own in outputs
    ]


def totals_of_nobody(outputs: list[PeerOutput], labels: Tensor) -> list[Tensor]:
    with torch.no_grad():
        response = [
            total - F.cross_entropy(o.logits, labels)
            for o, total in zip(outputs, totals_right(outputs, labels), strict=True)
        ]
    return [F.cross_entropy(o.logits, labels) + r for o, r in zip(outputs, response, strict=True)]


def _three_peers() -> tuple[list[PeerOutput], Tensor]:
    logits = [some(4, 5, seed=k).requires_grad_() for k in range(3)]
    return [PeerOutput(z, z) for z in logits], torch.tensor([0, 1, 2, 3])


def totals_have_the_right_values(answer: Tried) -> None:
    outputs, labels = _three_peers()
    found = answer(outputs, labels)
    require(isinstance(found, list | tuple) and len(found) == 3, "return a list with one total for each peer")
    right = [torch.stack(list(terms.values())).sum() for terms in METHODS["dml"](outputs, labels)]
    ce = [F.cross_entropy(output.logits, labels) for output in outputs]
    parts = torch.stack([total - one for total, one in zip(right, ce, strict=True)])
    mistakes = {
        "the response losses are summed over the other peers; take their mean": torch.stack(ce) + 2 * parts,
        "the mean runs over all three peers: a peer has only two others": torch.stack(ce) + 2 / 3 * parts,
        "the weight 4 of the response loss is missing": torch.stack(ce) + parts / 4,
    }
    equals(torch.stack(list(found)), torch.stack(right), mistakes, what="the totals")


def totals_detach(answer: Tried) -> None:
    outputs, labels = _three_peers()
    right = [torch.stack(list(terms.values())).sum() for terms in METHODS["dml"](outputs, labels)]
    for k, total in enumerate(answer(outputs, labels)):
        for j in range(3):
            reached = j != k and gradient(total, outputs[j].logits, f"the total of peer {k + 1}").any()
            words = f"the loss of peer {k + 1} sends a gradient into peer {j + 1}"
            require(not reached, f"your target is not detached: {words}")
        own = outputs[k].logits
        alone = {
            "the response loss teaches nobody: you detach your own answer as well": gradient(
                F.cross_entropy(own, labels), own
            )
        }
        equals(gradient(total, own), gradient(right[k], own), alone, what=f"the gradient of peer {k + 1}'s total")


code(
    "00.4",
    "A peer teaches, it is not taught back",
    minutes=15,
    difficulty="**",
    text="""
        Write section 7's objective for any number of peers, from their outputs (`PeerOutput` has `.logits` and
        `.detach()`): cross entropy plus 4 times the *mean* response loss from the *other* peers.
        `response_loss(own_logits, target_logits)` is the library's; it detaches nothing.
    """,
    hints=(
        "Two things can go wrong without an error: who counts as another peer, and who receives a gradient.",
        "Make `targets = [output.detach() for output in outputs]` first, then skip `j == k` for each peer `k`.",
    ),
    stub=my_totals,
    solution=totals_right,
    wrong={
        totals_taught_back: "your target is not detached",
        totals_summed: "take their mean",
        totals_over_all: "only two others",
        totals_of_nobody: "teaches nobody",
    },
    checks={"the values for three peers": totals_have_the_right_values, "detached targets": totals_detach},
    why="""
        Without `detach` the values stay the same, so nothing looks wrong. But peer 2 then gets a gradient from peer 1's
        loss: it is asked to become *easier to imitate*. Notebook 07, section 2, has a check that stops it.
    """,
)


def my_difference(spec: Spec, seed: int) -> float:
    """Test accuracy of DML minus that of independent training for this seed, each a mean over the peers."""
    raise NotImplementedError


def difference_right(spec: Spec, seed: int) -> float:
    """Two runs that differ in their objective and in nothing else."""
    means = []
    for method in ("dml", "independent"):
        chosen = spec.model_copy(update={"seed": seed, "objective": METHODS[method]})
        means.append(float(np.mean(run(chosen).metrics["top1"])))
    return means[0] - means[1]


def difference_of_one_seed(spec: Spec, seed: int) -> float:
    runs = [run(spec.model_copy(update={"objective": METHODS[name]})) for name in ("dml", "independent")]
    return float(np.mean(runs[0].metrics["top1"]) - np.mean(runs[1].metrics["top1"]))


def difference_reversed(spec: Spec, seed: int) -> float:
    return -difference_right(spec, seed)


def _of_peers(spec: Spec, seed: int, choose: Callable[[list[float]], float]) -> float:
    specs = [spec.model_copy(update={"seed": seed, "objective": METHODS[m]}) for m in ("dml", "independent")]
    first, second = (choose(run(one).metrics["top1"]) for one in specs)
    return first - second


def difference_of_first_peers(spec: Spec, seed: int) -> float:
    return _of_peers(spec, seed, lambda top1: top1[0])


def difference_of_best_peers(spec: Spec, seed: int) -> float:
    return _of_peers(spec, seed, max)


def difference_is_paired(answer: Tried) -> None:
    short = Spec(
        data=Digits(n_train=60, label_noise=0),
        peers=("tiny_cnn", "tiny_cnn"),
        recipe=Recipe(epochs=1, batch_size=8),
        evaluate_on="validation",
    )
    with own_records():
        seed = 8  # first, best and worst peer all give another difference than the mean
        found, right = answer(short, seed), difference_right(short, seed)
        mistakes = {
            "this is the difference of the spec's own seed: put `seed` into both specs": difference_right(
                short, 0
            ),
            "this is independent minus DML": -right,
            "this is the difference of the first peers; take the mean over the peers of each run": (
                difference_of_first_peers(short, seed)
            ),
            "this is the difference of the best peers; take the mean over the peers of each run": (
                difference_of_best_peers(short, seed)
            ),
        }
        equals(found, right, mistakes, what="the difference", rel=1e-6)


code(
    "00.5",
    "One more seed",
    minutes=15,
    difficulty="**",
    text="""
        Write the comparison of section 10 as a function of the seed, with `spec.model_copy(update={...})` and
        `run`. The check trains two short runs. Then call it yourself with this notebook's `spec` for the seeds 1
        and 2: does the difference keep its sign? Its size?
    """,
    hints=(
        'Both runs need the same seed; only `objective` may differ: `METHODS["dml"]` or `METHODS["independent"]`.',
        "`record.metrics[\"top1\"]` holds one number for each peer: `np.mean` of it, DML's minus the other's.",
    ),
    stub=my_difference,
    solution=difference_right,
    wrong={
        difference_of_one_seed: "the spec's own seed",
        difference_reversed: "independent minus DML",
        difference_of_first_peers: "the difference of the first peers",
        difference_of_best_peers: "the difference of the best peers",
    },
    checks={"short runs with seed 8": difference_is_paired},
    why="""
        Two or three more numbers do not settle whether DML helps. Section 11 takes ten, and an interval.
    """,
)
