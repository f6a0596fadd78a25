"""Exercises of notebook 04: the self loss, label smoothing, mixed labels, frozen copies."""

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import response_loss
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import build_peer

pencil(
    "04.1",
    "The self loss with a pencil",
    minutes=6,
    difficulty="*",
    text=r"""
        Let $\bar z = (2\ln 3, 0, 0)$ be the frozen copy's logits, $z = (0, 0, 0)$ your own, and $t = 2$. What is
        $L_{SD}$?
    """,
    hints=(
        "Divide the logits by t first: then their exponentials are whole numbers.",
        r"$e^{\bar z/t} = (3, 1, 1)$, so $\bar p^t = (\frac35, \frac15, \frac15)$ against $(\frac13, "
        r"\frac13, \frac13)$.",
    ),
    name="my_loss",
    answer=0.6 * math.log(9 / 5) + 0.4 * math.log(3 / 5),
    wrong=[
        (0.4986, "this is the loss at t = 1: divide the logits by 2 first"),
        (0.5935, "there is a factor t² in it; (04.1) has none"),
        (0.1446, "this is the other direction: the copy's probabilities are the weights"),
    ],
    why=r"$\frac35\ln\frac95 + \frac25\ln\frac35 = 0.1483$.",
)

pencil(
    "04.2",
    "Label smoothing as an objective",
    minutes=6,
    difficulty="*",
    text=r"""
        PyTorch's `label_smoothing=0.1` at $C = 10$ has the same gradient as which weights `ce` and `self`, if all
        frozen logits are zero and $t = 1$? And by which constant do the two losses differ?
    """,
    hints=(
        "Formula (04.6), read from left to right.",
        r"$1 - \varepsilon$, $\varepsilon$ and $\varepsilon \ln C$.",
    ),
    name="my_weights",
    answer={"ce": 0.9, "self": 0.1, "constant": 0.1 * math.log(10)},
    wrong=[
        ({"ce": 1.0}, "ce: the label keeps only the rest of the mass, 1 minus epsilon"),
        (
            {"ce": 0.91, "self": 0.09},
            "the smoothed label has 0.91 on its class, but 0.01 of it comes from the uniform part",
        ),
        ({"constant": math.log(10)}, "constant: the entropy of the uniform answer is weighed with epsilon, too"),
    ],
    why="`Objective(ce=0.9, self=0.1, temperature=1.0)`, by (04.6); the constant is 0.1 ln 10 = 0.230.",
)


def my_self_loss(logits: Tensor, frozen_logits: Tensor, t: float) -> Tensor:
    """Hinton's form of the self loss: t² KL, softened by t on both sides, with the frozen copy as a fixed target."""
    raise NotImplementedError


def self_right(logits: Tensor, frozen_logits: Tensor, t: float) -> Tensor:
    """Both sides are softened; the target is detached here, in plain sight."""
    return t**2 * response_loss(logits, frozen_logits.detach(), temperature=t)


def self_without_t2(logits: Tensor, frozen_logits: Tensor, t: float) -> Tensor:
    return response_loss(logits, frozen_logits.detach(), temperature=t)


def self_one_sided(logits: Tensor, frozen_logits: Tensor, t: float) -> Tensor:
    return t**2 * response_loss(logits, frozen_logits.detach() / t)


def self_taught_back(logits: Tensor, frozen_logits: Tensor, t: float) -> Tensor:
    return t**2 * response_loss(logits, frozen_logits, temperature=t)


def self_agrees(answer: Tried) -> None:
    own, copy, t = some(4, 5), 2 * some(4, 5, seed=1), 3.0
    right = self_right(own, copy, t)
    mistakes = {
        "the factor t² is missing: 9 times too small at t = 3": right / 9,
        "there is a factor t in place of t²: 3 times too small at t = 3": right / 3,
        "only the target is softened: the student would learn to be unsure": self_one_sided(own, copy, t),
        "this is the other direction: the copy's probabilities are the weights": self_right(copy, own, t),
    }
    equals(answer(own, copy, t), right, mistakes, what="the loss at t = 3")


def self_target_is_fixed(answer: Tried) -> None:
    own, copy = some(4, 5).requires_grad_(), some(4, 5, seed=1).requires_grad_()
    loss = answer(own, copy, 2.0)
    require(gradient(loss, own).any(), "the loss passes no gradient to your own logits")
    require(not gradient(loss, copy).any(), "your target is not detached: the loss moves the frozen copy")


def self_pull_keeps_its_size(answer: Tried) -> None:
    own, copy = some(1, 5).requires_grad_(), some(1, 5, seed=1)
    pulls = [gradient(answer(own, copy, t), own).norm().item() for t in (50.0, 100.0)]
    equals(pulls[1] / pulls[0], 1.0, what="the pull at t = 100 beside that at t = 50", rel=0.02)


code(
    "04.3",
    "A pull that does not fade",
    minutes=10,
    difficulty="**",
    text="""
        Write the self loss with Hinton's factor. The check also doubles a high temperature and looks whether the pull
        keeps its size. `response_loss(logits, target_logits, temperature)` is the library's; it detaches nothing.
    """,
    hints=(
        "By (04.3) and the text below it the gradient falls like 1/t². Which factor makes up for that?",
        "`t**2 * response_loss(...)`, with the frozen logits detached and the temperature handed on.",
    ),
    stub=my_self_loss,
    solution=self_right,
    wrong={
        self_without_t2: "the factor t² is missing",
        self_one_sided: "only the target is softened",
        self_taught_back: "your target is not detached",
    },
    checks={
        "the value at t = 3": self_agrees,
        "a detached target": self_target_is_fixed,
        "the pull at high t": self_pull_keeps_its_size,
    },
    why="With the factor, a weight keeps its meaning when t is changed: `scale_self_by_t2` in the kit's `Objective`.",
)


def my_mixed_label(labels: Tensor, frozen_logits: Tensor, alpha: float, gamma: float) -> Tensor:
    """The (B, C) mixed labels (04.7), at t = 1."""
    raise NotImplementedError


def mixed_right(labels: Tensor, frozen_logits: Tensor, alpha: float, gamma: float) -> Tensor:
    """A weighted mean of the one-hot label and the copy's answer."""
    one_hot = F.one_hot(labels, num_classes=frozen_logits.shape[1])
    return (alpha * one_hot + gamma * frozen_logits.softmax(dim=1)) / (alpha + gamma)


def mixed_unscaled(labels: Tensor, frozen_logits: Tensor, alpha: float, gamma: float) -> Tensor:
    return alpha * F.one_hot(labels, frozen_logits.shape[1]) + gamma * frozen_logits.softmax(dim=1)


def mixed_of_logits(labels: Tensor, frozen_logits: Tensor, alpha: float, gamma: float) -> Tensor:
    return (alpha * F.one_hot(labels, frozen_logits.shape[1]) + gamma * frozen_logits) / (alpha + gamma)


def mixed_swapped(labels: Tensor, frozen_logits: Tensor, alpha: float, gamma: float) -> Tensor:
    return mixed_right(labels, frozen_logits, gamma, alpha)


def mixed_agrees(answer: Tried) -> None:
    y, z = torch.tensor([0, 2, 1]), some(3, 4)
    mistakes = {
        "this sums to alpha + gamma: divide by it": mixed_unscaled(y, z, 1.0, 3.0),
        "you mix in the logits: the copy's answer is their softmax": mixed_of_logits(y, z, 1.0, 3.0),
        "the weights are swapped: alpha belongs to the label": mixed_right(y, z, 3.0, 1.0),
    }
    equals(answer(y, z, 1.0, 3.0), mixed_right(y, z, 1.0, 3.0), mistakes, what="the mixed label")


def mixed_has_the_same_gradient(answer: Tried) -> None:
    y, z, own = torch.tensor([0, 2, 1]), some(3, 4), some(3, 4, seed=1).requires_grad_()
    two_terms = F.cross_entropy(own, y) + 3 * response_loss(own, z)
    mixed = 4 * F.cross_entropy(own, answer(y, z, 1.0, 3.0))
    equals(gradient(mixed, own), gradient(two_terms, own), what="the gradient towards the mixed label")


code(
    "04.4",
    "One label out of two teachers",
    minutes=8,
    difficulty="*",
    text="""
        Write (04.7) for a batch. The check also makes sure of what the formula is for: one cross entropy with
        your label pulls like both terms together.
    """,
    hints=(
        "Both parts must be probabilities.",
        "`F.one_hot(labels, num_classes)` and `frozen_logits.softmax(dim=1)`.",
    ),
    stub=my_mixed_label,
    solution=mixed_right,
    wrong={
        mixed_unscaled: "divide by it",
        mixed_of_logits: "you mix in the logits",
        mixed_swapped: "the weights are swapped",
    },
    checks={"the mixture": mixed_agrees, "the same gradient as two terms": mixed_has_the_same_gradient},
    why="At t = 1 any teacher is a correction of the label, image by image.",
)


def my_frozen_copy(peer: Peer) -> Peer:
    """A copy of the peer that neither learns nor drifts; the peer itself stays as it is."""
    raise NotImplementedError


def frozen_right(peer: Peer) -> Peer:
    """A copy, in evaluation mode, without gradients."""
    return deepcopy(peer).eval().requires_grad_(False)


def frozen_itself(peer: Peer) -> Peer:
    return peer.eval().requires_grad_(False)


def frozen_in_training_mode(peer: Peer) -> Peer:
    return deepcopy(peer).requires_grad_(False)


def frozen_with_gradients(peer: Peer) -> Peer:
    return deepcopy(peer).eval()


def copy_is_frozen(answer: Tried) -> None:
    peer = build_peer("tiny_cnn", 1, 10, seed=0).train()
    frozen = answer(peer)
    require(isinstance(frozen, nn.Module), "return the network")
    require(
        frozen is not peer and peer.training and all(weight.requires_grad for weight in peer.parameters()),
        "you freeze the peer itself, and it cannot learn any more: work on a deep copy",
    )
    images = some(8, 1, 8, 8)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    frozen(images)
    require(
        all(torch.equal(before[name], value) for name, value in frozen.state_dict().items()),
        "the copy drifts: in training mode batch normalisation changes its averages at every batch",
    )
    require(not frozen.training, "the copy is in training mode")
    require(
        not any(weight.requires_grad for weight in frozen.parameters()),
        "the copy still has gradients: an optimiser could move it, and memory is wasted on it",
    )
    with torch.no_grad():
        for own, other in zip(peer.parameters(), frozen.parameters(), strict=True):
            require(own.data_ptr() != other.data_ptr(), "the copy shares its weights with the peer")


code(
    "04.5",
    "Frozen means frozen",
    minutes=8,
    difficulty="**",
    text="Write `frozen_copy` yourself. The peer goes on learning while its copy must not change, not even by looking.",
    hints=("There are three things to do.", "`deepcopy`, `.eval()`, `.requires_grad_(False)`."),
    stub=my_frozen_copy,
    solution=frozen_right,
    wrong={
        frozen_itself: "you freeze the peer itself",
        frozen_in_training_mode: "the copy drifts",
        frozen_with_gradients: "still has gradients",
    },
    checks={"the peer, the mode, the gradients": copy_is_frozen},
    why="`requires_grad_(False)` stops the optimiser, `eval()` stops batch normalisation. Neither "
    "does the other's work.",
)

pencil(
    "04.6",
    "Weight and temperature together",
    minutes=3,
    difficulty="*",
    text=r"""
        The loss is used as (04.1) is written, without $t^2$. At $t = 2$ you had found a good weight: $\gamma =
        3$. Which $\gamma$ pulls about as hard at $t = 8$?
    """,
    hints=("What has to stay the same is γ / t².", "The temperature is 4 times as high."),
    name="my_gamma",
    answer=48,
    wrong=[
        (12, "the pull falls with the square of the temperature, not with the temperature"),
        (0.1875, "the wrong way round: at a higher temperature the pull is weaker, so the weight must be larger"),
        (192, "this compares with t = 1; you start from t = 2"),
    ],
    why=r"$3 \cdot (8/2)^2 = 48$: $\gamma$ alone does not say how strong self-learning is.",
)
