"""Exercises of notebook 07, sections 1 to 3: reductions, targets and modes, to be mended before the cure is shown."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from ctsl_course.exercises import pitfalls
from ctsl_course.exercises.diagnose import equals, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.data.specs import Digits
from ctsl_lib.losses.functional import response_loss
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.registry import build_peer


def my_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).mean()  # mend this line


def kl_right(logits: Tensor, target_logits: Tensor) -> Tensor:
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()


def kl_sum(logits: Tensor, target_logits: Tensor) -> Tensor:
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).sum()


def kl_over_batch(logits: Tensor, target_logits: Tensor) -> Tensor:
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=0).mean()


def kl_of_three_images(answer: Tried) -> None:
    own, target = some(3, 10), some(3, 10, seed=1)
    right = response_loss(own, target)
    mistakes = {
        "this is the mean over the classes as well: 10 times too small": right / 10,
        "this is the sum over the images; take their mean": 3 * right,
        "you sum over the images and average over the classes: it must be the other way round": 3 / 10 * right,
    }
    equals(answer(own, target), right, mistakes, what="the loss of 3 images and 10 classes")


code(
    "07.1",
    "Mend the mean",
    minutes=4,
    difficulty="*",
    text="The loss is the one above. Mend it before you read on; the check is `sum_over_classes` and "
    "a batch of three images.",
    hints=("The divergence of one image is a *sum* over its classes.", "`.sum(dim=1)` first, then `.mean()`."),
    stub=my_kl,
    solution=kl_right,
    wrong={
        my_kl: "mean over the classes as well: 10 times too small",
        kl_sum: "sum over the images",
        kl_over_batch: "the other way round",
    },
    checks={"three images": kl_of_three_images, "sum_over_classes": pitfalls.sum_over_classes},
    shown=(pitfalls.sum_over_classes,),
    why="Test a loss against one number that you worked out with a pencil.",
)


def my_mutual_losses(outputs: list[PeerOutput]) -> tuple[Tensor, Tensor]:
    one, two = outputs  # mend this function
    return response_loss(one.logits, two.logits), response_loss(two.logits, one.logits)


def mutual_right(outputs: list[PeerOutput]) -> tuple[Tensor, Tensor]:
    one, two = outputs
    fixed_one, fixed_two = one.detach(), two.detach()  # a peer teaches, it is not taught back
    return response_loss(one.logits, fixed_two.logits), response_loss(two.logits, fixed_one.logits)


def mutual_half(outputs: list[PeerOutput]) -> tuple[Tensor, Tensor]:
    one, two = outputs
    return response_loss(one.logits, two.detach().logits), response_loss(two.logits, one.logits)


def mutual_students(outputs: list[PeerOutput]) -> tuple[Tensor, Tensor]:
    one, two = outputs
    return response_loss(one.detach().logits, two.logits), response_loss(two.detach().logits, one.logits)


def mutual_swapped(outputs: list[PeerOutput]) -> tuple[Tensor, Tensor]:
    one, two = outputs
    return response_loss(two.detach().logits, one.logits), response_loss(one.detach().logits, two.logits)


def mutual_all(outputs: list[PeerOutput]) -> tuple[Tensor, Tensor]:
    one, two = (output.detach() for output in outputs)
    return response_loss(one.logits, two.logits), response_loss(two.logits, one.logits)


def each_peer_learns(answer: Tried) -> None:
    outputs = [PeerOutput(z, z) for z in (some(3, 4).requires_grad_(), some(3, 4, seed=1).requires_grad_())]
    losses = answer(outputs)
    require(isinstance(losses, tuple | list) and len(losses) == 2, "return two losses, one for each peer")
    for k, loss in enumerate(losses):
        reached = [False, False]
        if loss.requires_grad:
            found = torch.autograd.grad(loss, [o.logits for o in outputs], allow_unused=True, retain_graph=True)
            reached = [gradient is not None for gradient in found]
        require(not reached[1 - k], f"your target is not detached: the loss of peer {k + 1} moves peer {2 - k}")
        require(reached[k], f"you detach the student as well: the loss of peer {k + 1} moves nobody")
    right = torch.stack(list(mutual_right(outputs)))
    turned = {"the two sides of the divergence are swapped: the target comes second": right.flip(0)}
    equals(torch.stack(list(losses)), right, turned, what="the two losses")


code(
    "07.2",
    "Stop the leak",
    minutes=5,
    difficulty="*",
    text="Mend the two losses so that each moves its own peer and nobody else.",
    hints=(
        "Which of the two arguments of each loss may learn?",
        "`.detach()` the output that stands in the target's place.",
    ),
    stub=my_mutual_losses,
    solution=mutual_right,
    wrong={
        my_mutual_losses: "your target is not detached",
        mutual_half: "the loss of peer 2 moves peer 1",
        mutual_students: "your target is not detached",
        mutual_all: "you detach the student as well",
        mutual_swapped: "the target comes second",
    },
    checks={"who is moved": each_peer_learns, "teacher_stays_untouched": pitfalls.teacher_stays_untouched},
    shown=(pitfalls.teacher_stays_untouched,),
    why="Detach where the target is made, in plain sight, and count who receives a gradient.",
)


def my_logits(peer: Peer, pictures: Tensor, data: Any) -> Tensor:
    with torch.no_grad():  # mend this function
        peer.eval()
        return peer(data.normalise(pictures)).logits


def logits_right(peer: Peer, pictures: Tensor, data: Any) -> Tensor:
    training = peer.training
    peer.eval()
    try:
        with torch.no_grad():
            return peer(data.normalise(pictures)).logits
    finally:
        peer.train(training)  # as it was, even where an error ends the evaluation


def logits_in_training_mode(peer: Peer, pictures: Tensor, data: Any) -> Tensor:
    with torch.no_grad():
        return peer(data.normalise(pictures)).logits


def logits_always_training(peer: Peer, pictures: Tensor, data: Any) -> Tensor:
    with torch.no_grad():
        peer.eval()
        found = peer(data.normalise(pictures)).logits
        peer.train()
        return found


def evaluation_leaves_no_trace(answer: Tried) -> None:
    data: Any = Digits(n_train=100, label_noise=0).load(0)
    peer = build_peer("tiny_cnn", 1, 10, 0)
    peer.train()
    before = deepcopy(peer.state_dict())
    found = answer(peer, data.test.images, data)
    require(
        all(torch.equal(before[name], value) for name, value in peer.state_dict().items()),
        "looking changes the peer: in training mode the test images move the averages of batch normalisation",
    )
    equals(found, deepcopy(peer).eval()(data.normalise(data.test.images)).logits, what="the logits", rel=1e-3)
    require(
        peer.training, "the peer was in training mode before, and is in evaluation mode after: put the mode back"
    )
    answer(peer.eval(), data.test.images, data)
    require(not peer.training, "the peer was in evaluation mode before: note the mode and put *that* back")


code(
    "07.3",
    "Leave no trace",
    minutes=8,
    difficulty="**",
    text="Mend the evaluation: it needs evaluation mode, and must leave the peer as it found it, in "
    "whichever mode that was.",
    hints=(
        "`peer.training` says which mode it is in.",
        "Note it, call `eval()`, and `peer.train(noted)` in a `finally`.",
    ),
    stub=my_logits,
    solution=logits_right,
    wrong={
        my_logits: "put the mode back",
        logits_in_training_mode: "looking changes the peer",
        logits_always_training: "put *that* back",
    },
    checks={
        "mode and averages": evaluation_leaves_no_trace,
        "still_learns_statistics": pitfalls.still_learns_statistics,
    },
    shown=(pitfalls.still_learns_statistics,),
    why="A function that only looks must leave everything as it found it.",
)
