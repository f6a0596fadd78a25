"""Exercises of notebook 02: the response loss, its gradients, and teachers in the plural."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import response_loss

pencil(
    "02.1",
    "An undecided peer",
    minutes=5,
    difficulty="*",
    text=r"""
        The target says $(\frac12, \frac14, \frac14)$, your peer is undecided: $(\frac13, \frac13, \frac13)$. What is
        $L_{KL}$, in nats?
    """,
    hints=(
        "KL to a uniform answer is ln C minus the entropy of the target.",
        r"The entropy of the target is $\frac12 \ln 2 + 2 \cdot \frac14 \ln 4$.",
    ),
    name="my_loss",
    answer=math.log(3) - 1.5 * math.log(2),
    wrong=[
        (0.0566, "this is the other direction: the target comes first, and its probabilities are the weights"),
        (1.5 * math.log(2), "this is the entropy of the target, the part that nobody can learn away"),
        (math.log(3), "this is the cross entropy: subtract the entropy of the target"),
    ],
    why=r"$\ln 3 - \frac32 \ln 2 = 0.0589$.",
)


def my_response_loss(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence from the target's softened answer to one's own, a mean over the (B, C) batch's images."""
    raise NotImplementedError


def response_right(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Sum over classes, mean over images."""
    log_p = (logits / temperature).log_softmax(dim=1)
    log_q = (target_logits / temperature).log_softmax(dim=1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()


def response_mean(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    log_p, log_q = ((z / temperature).log_softmax(dim=1) for z in (logits, target_logits))
    return (log_q.exp() * (log_q - log_p)).mean()


def response_swapped(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    return response_right(target_logits, logits, temperature)


def response_half_softened(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    return response_right(logits * temperature, target_logits, temperature)


def response_without_logarithm(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    p, q = ((z / temperature).softmax(dim=1) for z in (logits, target_logits))
    return F.kl_div(p, q, reduction="batchmean")


def response_agrees(answer: Tried) -> None:
    own, target, t = 2 * some(4, 10), 2 * some(4, 10, seed=1), 3.0
    right = response_loss(own, target, t)
    q, p = (target / t).softmax(1), (own / t).softmax(1)
    mistakes = {
        "this is the mean over the classes as well: 10 times too small for 10 classes": right / 10,
        "this is the sum over the images; take their mean": 4 * right,
        "this is the other direction: the target's probabilities are the weights": response_loss(target, own, t),
        "only the target is softened: divide both logits by the temperature": response_loss(own * t, target, t),
        "only your own answer is softened: divide both logits by the temperature": response_loss(
            own, target * t, t
        ),
        "the temperature is not used": response_loss(own, target),
        "F.kl_div wants logarithms of your probabilities: log_softmax": F.kl_div(p, q, reduction="batchmean"),
        "this is the cross entropy with the target: its own entropy is not subtracted": F.cross_entropy(
            own / t, q
        ),
    }
    equals(answer(own, target, t), right, mistakes, what="the loss of 4 images and 10 classes at t = 3")


def response_learns(answer: Tried) -> None:
    own, target = some(4, 10).requires_grad_(), some(4, 10, seed=1)
    right = (own.softmax(1) - target.softmax(1)).detach() / 4
    equals(gradient(answer(own, target, 1.0), own), right, what="the gradient")


def response_vanishes(answer: Tried) -> None:
    z = torch.tensor([[200.0, 0.0, -200.0]])
    found = answer(z, z, 1.0)
    require(
        torch.isfinite(found).all(), "not finite where a probability is 0: use log_softmax, not softmax and log"
    )
    equals(found, 0.0, what="the loss between two equal answers")
    own = (-z).requires_grad_()
    equals(answer(own, z, 1.0), 400.0, what="the loss between two sure and opposite answers (use log_softmax)")
    learned = gradient(answer(own, z, 1.0), own)
    equals(learned, [[-1.0, 0.0, 1.0]], what="the gradient between two sure and opposite answers")


code(
    "02.2",
    "The response loss",
    minutes=15,
    difficulty="**",
    text="""
        Write formula (02.1) with a temperature that softens both sides. Mind the classic trap: `F.kl_div` has
        `reduction="mean"` and `reduction="batchmean"`. How much smaller is the first for 10 classes? For 100?
    """,
    hints=(
        "A sum over the classes, then a mean over the images; the target's probability is the weight.",
        "With `log_p` and `log_q` from `log_softmax(dim=1)`: `(log_q.exp() * (log_q - log_p)).sum(dim=1).mean()`.",
    ),
    stub=my_response_loss,
    solution=response_right,
    wrong={
        response_mean: "mean over the classes as well: 10 times too small",
        response_swapped: "the other direction",
        response_half_softened: "only the target is softened",
        response_without_logarithm: "log_softmax",
    },
    checks={
        "4 images, 10 classes, t = 3": response_agrees,
        "the gradient": response_learns,
        "two equal answers": response_vanishes,
    },
    why="""
        `reduction="mean"` divides by the classes as well: 10 or 100 times too small, and the term all but disappears.
    """,
)


def my_leak(p_own: Tensor, p_target: Tensor) -> Tensor:
    """Gradient of the response loss with respect to the *target's* logits, from (B, C) probabilities."""
    raise NotImplementedError


def leak_right(p_own: Tensor, p_target: Tensor) -> Tensor:
    """The target's probability times how much its log-ratio exceeds the mean one, over B."""
    ratio = (p_target / p_own).log()
    kl = (p_target * ratio).sum(dim=1, keepdim=True)
    return p_target * (ratio - kl) / len(p_own)


def leak_of_student(p_own: Tensor, p_target: Tensor) -> Tensor:
    return (p_own - p_target) / len(p_own)


def leak_without_mean(p_own: Tensor, p_target: Tensor) -> Tensor:
    ratio = (p_target / p_own).log()
    return p_target * ratio / len(p_own)


def leak_of_batch_kl(p_own: Tensor, p_target: Tensor) -> Tensor:
    ratio = (p_target / p_own).log()
    return p_target * (ratio - (p_target * ratio).sum(dim=1).mean()) / len(p_own)


def leak_agrees(answer: Tried) -> None:
    own, target = some(3, 4), some(3, 4, seed=1).requires_grad_()
    right = gradient(response_loss(own, target), target)
    p, q = own.softmax(1), target.detach().softmax(1)
    mistakes = {
        "this is the student's gradient, p - q: differentiate with respect to the target": leak_of_student(p, q),
        "the softmax's own part is missing: subtract the divergence of each image from its log-ratios": (
            leak_without_mean(p, q)
        ),
        "you subtract one divergence for the whole batch: each image has its own": leak_of_batch_kl(p, q),
        "the mean over the images is missing": 3 * right,
    }
    equals(answer(p, q), right, mistakes, what="the gradient")


code(
    "02.3",
    "What leaks into the teacher",
    minutes=20,
    difficulty="***",
    text=r"""
        Without `detach`, the response loss also pulls at the teacher. Derive its gradient with respect to $z_j$
        and write it down. Where does it push the teacher?
    """,
    hints=(
        "Differentiate the sum of q ln(q / p) through the softmax that makes q, the target's answer.",
        r"$\frac1B\, p_j \odot \big(\ln\frac{p_j}{p_k} - \mathrm{KL}_b\big)$, with $\mathrm{KL}_b$ of image $b$.",
    ),
    stub=my_leak,
    solution=leak_right,
    wrong={
        leak_of_student: "the student's gradient",
        leak_without_mean: "subtract the divergence of each image",
        leak_of_batch_kl: "each image has its own",
    },
    checks={"against autograd": leak_agrees},
    why="""
        It pushes the teacher towards the student: a step along the negative gradient lowers the logits of those
        classes of which the teacher is surer than the student by more than the average. The teacher unlearns what
        only it knows.
    """,
)


pencil(
    "02.5",
    "The effective label",
    minutes=6,
    difficulty="*",
    text=r"""
        The label of an image says class 2, and that is wrong. The other peer says $p_j = (0.6, 0.3, 0.1)$. With
        $\alpha = 1$ and $w = 3$, what is the effective label $s$ of (02.3)?
    """,
    hints=(
        "Classes are counted from 0, so the label is the vector (0, 0, 1).",
        r"$s = \big(1 \cdot (0, 0, 1) + 3 \cdot (0.6, 0.3, 0.1)\big) / 4$.",
    ),
    name="my_effective_label",
    answer=(0.45, 0.225, 0.325),
    wrong=[
        ((0.15, 0.075, 0.775), "the weights are swapped: the peer's answer has weight 3, the label 1"),
        ((1.8, 0.9, 1.3), "this sums to 4: divide by the sum of the weights"),
        ((0.45, 0.475, 0.075), "classes are counted from 0: class 2 is the last of three"),
    ],
    why="The true class has 0.45 of the mass now, more than the wrong label with 0.325.",
)
