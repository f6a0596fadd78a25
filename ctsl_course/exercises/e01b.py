"""Exercises of notebook 01b: Hinton's loss and the label-only teacher."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import response_loss

pencil(
    "01b.1",
    "The pull of a teacher",
    minutes=6,
    difficulty="*",
    text=r"""
        Two classes, the student's logits $(0, 0)$, the teacher's $(\ln 9, 0)$, $t = 2$. What is the gradient of
        $\mathrm{KL}(q^t \| p^t)$ with respect to the student's two logits, without the factor $t^2$?
    """,
    hints=(
        "Work out both softened answers first; dividing the logits by 2 takes the root of 9.",
        r"By (01b.2) it is $(p^t - q^t) / t$, with $p^t = (\frac12, \frac12)$.",
    ),
    name="my_gradient",
    answer=(-1 / 8, 1 / 8),
    wrong=[
        ((-1 / 4, 1 / 4), "this is the difference of the answers; the chain rule brings one factor more"),
        ((-1 / 2, 1 / 2), "this has the factor of Hinton's loss; here the plain divergence is asked for"),
        ((1 / 8, -1 / 8), "the sign is turned round: it is own answer minus target"),
        ((-1 / 5, 1 / 5), "the teacher's answer is not softened: its logits are divided by t as well"),
    ],
    why=r"""
        $q^t = (\frac34, \frac14)$, so the gradient is $\frac12 (-\frac14, \frac14)$; four times that is
        $(-\frac12, \frac12)$.
    """,
)

pencil(
    "01b.2",
    "The teacher behind label smoothing",
    minutes=5,
    difficulty="*",
    text=r"""
        Ten classes. Which probability $d$ of the label has the label-only teacher that equals label smoothing with
        $\varepsilon = 0.1$?
    """,
    hints=(
        "The label's class also gets a share of what is spread evenly.",
        r"By (01b.3), $\varepsilon = (1 - d)\, C / (C - 1)$.",
    ),
    name="my_d",
    answer=0.91,
    wrong=[
        (0.9, "the share is spread over all ten classes, the label's own included"),
        (0.09, "this is what all other classes have together"),
        (0.01, "this is what each other class has"),
    ],
    tolerance=0.001,
    why=r"$1 - d = \varepsilon\,(C-1)/C = 0.09$.",
)


def my_hinton_loss(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    """Formula (01b.1) for logits z (B, C), labels (B,), the teacher's logits (B, C): a scalar."""
    raise NotImplementedError


def hinton_right(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    """Both sides softened, the label not; the teacher is a constant."""
    log_p, log_q = (z / t).log_softmax(dim=1), (z_teacher.detach() / t).log_softmax(dim=1)
    kl = (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()
    return (1 - weight) * F.cross_entropy(z, labels) + weight * t**2 * kl


def hinton_without_t2(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    return (1 - weight) * F.cross_entropy(z, labels) + weight * response_loss(z, z_teacher.detach(), t)


def hinton_class_mean(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    log_p, q = (z / t).log_softmax(dim=1), (z_teacher.detach() / t).softmax(dim=1)
    return (1 - weight) * F.cross_entropy(z, labels) + weight * t**2 * (q * (q.log() - log_p)).mean()


def hinton_swapped(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    return (1 - weight) * F.cross_entropy(z, labels) + weight * t**2 * response_loss(z_teacher.detach(), z, t)


def hinton_soft_labels(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    soft = response_loss(z, z_teacher.detach(), t)
    return (1 - weight) * F.cross_entropy(z / t, labels) + weight * t**2 * soft


def hinton_teaches_back(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, weight: float) -> Tensor:
    return (1 - weight) * F.cross_entropy(z, labels) + weight * t**2 * response_loss(z, z_teacher, t)


def hinton_teaches_nobody(z: Tensor, labels: Tensor, z_teacher: Tensor, t: float, w: float) -> Tensor:
    with torch.no_grad():
        soft = response_loss(z, z_teacher, t)
    return (1 - w) * F.cross_entropy(z, labels) + w * t**2 * soft


def hinton_agrees(answer: Tried) -> None:
    z, z_teacher, labels, t, w = 2 * some(6, 5), 3 * some(6, 5, seed=1), torch.arange(6) % 5, 4.0, 0.7
    hard, soft = F.cross_entropy(z, labels), response_loss(z, z_teacher, t)
    mistakes = {
        "the factor of t squared is missing": (1 - w) * hard + w * soft,
        "your divergence is also averaged over the classes: 5 times too small": (1 - w) * hard
        + w * t**2 * soft / 5,
        "the two sides of the divergence are swapped: the teacher's answer is the weight": (1 - w) * hard
        + w * t**2 * response_loss(z_teacher, z, t),
        "the label is compared with the softened answer; that term has temperature 1": (1 - w)
        * F.cross_entropy(z / t, labels)
        + w * t**2 * soft,
        "the two weights are swapped": w * hard + (1 - w) * t**2 * soft,
    }
    equals(
        answer(z, labels, z_teacher, t, w), (1 - w) * hard + w * t**2 * soft, mistakes, what="the loss at t = 4"
    )


def hinton_leaves_the_teacher(answer: Tried) -> None:
    z, z_teacher, labels = (
        some(4, 3).requires_grad_(),
        some(4, 3, seed=1).requires_grad_(),
        torch.tensor([0, 1, 2, 0]),
    )
    loss, right = answer(z, labels, z_teacher, 2.0, 0.5), hinton_right(z, labels, z_teacher, 2.0, 0.5)
    alone = {
        "the teacher's term passes no gradient to the student": gradient(0.5 * F.cross_entropy(z, labels), z)
    }
    equals(gradient(loss, z), gradient(right, z), alone, what="the gradient")
    require(
        gradient(loss, z_teacher).abs().sum() == 0,
        "right in value, but your target is not detached: the teacher is taught as well",
    )


code(
    "01b.3",
    "Hinton's loss",
    minutes=15,
    difficulty="**",
    text="""
        Write formula (01b.1). The teacher must not be taught. You may use `F.cross_entropy`, but not
        `response_loss`: write the divergence with sums.
    """,
    hints=(
        "Which of the two terms is softened, and on which of its two sides?",
        "`log_softmax` of `z / t`, `softmax` of the detached `z_teacher / t`; sum over classes, mean over images.",
    ),
    stub=my_hinton_loss,
    solution=hinton_right,
    wrong={
        hinton_without_t2: "t squared is missing",
        hinton_class_mean: "5 times too small",
        hinton_swapped: "swapped",
        hinton_soft_labels: "temperature 1",
        hinton_teaches_back: "not detached",
        hinton_teaches_nobody: "passes no gradient",
    },
    checks={"formula (01b.1) at t = 4": hinton_agrees, "the gradient": hinton_leaves_the_teacher},
    why="The library's `Objective(ce=0.1, self=0.9, temperature=4, scale_self_by_t2=True, teacher=...)` is this loss.",
)
