"""Exercise of notebook 02 with more than two peers: one mean teacher or many teachers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import response_loss


def my_mean_teacher_loss(logits: Tensor, others: list[Tensor]) -> Tensor:
    """KL divergence from the mean of the other peers' answers, as fixed targets; all logits are (B, C)."""
    raise NotImplementedError


def mean_teacher_right(logits: Tensor, others: list[Tensor]) -> Tensor:
    """Average probabilities, not logits."""
    mean = torch.stack([other.detach().softmax(dim=1) for other in others]).mean(dim=0)
    return F.kl_div(logits.log_softmax(dim=1), mean, reduction="batchmean")


def mean_teacher_of_logits(logits: Tensor, others: list[Tensor]) -> Tensor:
    return response_loss(logits, torch.stack(others).detach().mean(dim=0))


def mean_teacher_of_losses(logits: Tensor, others: list[Tensor]) -> Tensor:
    return torch.stack([response_loss(logits, other) for other in others]).mean()


def mean_teacher_taught_back(logits: Tensor, others: list[Tensor]) -> Tensor:
    mean = torch.stack([other.softmax(dim=1) for other in others]).mean(dim=0)
    return response_loss(logits, mean.log())


def mean_teacher_agrees(answer: Tried) -> None:
    own, others = some(4, 5), [2 * some(4, 5, seed=1), 2 * some(4, 5, seed=2)]
    mistakes = {
        "you average the logits: average the answers, that is the probabilities": mean_teacher_of_logits(
            own, others
        ),
        "this is the mean of the losses, formula (02.4): make one target first": mean_teacher_of_losses(
            own, others
        ),
        "softmax is applied to probabilities: give the library their logarithm as logits": response_loss(
            own, torch.stack([z.softmax(1) for z in others]).mean(0)
        ),
    }
    equals(answer(own, others), mean_teacher_right(own, others), mistakes)
    others.append(3 * some(4, 5, seed=3))
    equals(answer(own, others), mean_teacher_right(own, others), what="the result for three other peers")


def mean_teacher_detaches(answer: Tried) -> None:
    own, others = some(4, 5).requires_grad_(), [some(4, 5, seed=k).requires_grad_() for k in (1, 2)]
    loss = answer(own, others)
    require(gradient(loss, own).any(), "the loss passes no gradient to your own logits")
    require(not gradient(loss, others[0]).any(), "your target is not detached: the loss moves the other peers")


code(
    "02.4",
    "One mean teacher or many teachers?",
    minutes=15,
    difficulty="**",
    text=r"""
        With $K > 2$ peers one can also average the others' *answers* first: $\mathrm{KL}(\bar p \,\|\, p_k)$ with
        $\bar p = \frac{1}{K-1} \sum_{j \ne k} p_j$. Write that loss. Is it the same loss as formula (02.4)? The
        same gradient? Think with (02.2), then try three random answers.
    """,
    hints=(
        "The mean of probabilities is no softmax of the mean of the logits.",
        '`F.kl_div(log_p, mean, reduction="batchmean")`, where nothing is lost if a probability is 0. And detach.',
    ),
    stub=my_mean_teacher_loss,
    solution=mean_teacher_right,
    wrong={
        mean_teacher_of_logits: "you average the logits",
        mean_teacher_of_losses: "the mean of the losses",
        mean_teacher_taught_back: "your target is not detached",
    },
    checks={"two teachers": mean_teacher_agrees, "detached targets": mean_teacher_detaches},
    why=r"""
        Another loss (never larger, as KL is convex), but exactly the same gradient, $(p_k - \bar p)/B$.
    """,
)
