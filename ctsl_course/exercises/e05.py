"""Exercises of notebook 05: rows of weights, speed, the order of updates, a network of one's own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctsl_course.exercises.diagnose import Tried, equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_lib.losses.functional import distance_loss
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.registry import build_peer

pencil(
    "05.1",
    "From the paper's way of writing to a row",
    minutes=4,
    difficulty="*",
    text=r"""
        For $\alpha = 0.5$, $\beta = 4$, $\beta_1 = 0.25$, $\beta_2 = 2$, $\gamma = 3$ and $t = 5$: write down the
        row of weights, without a look at `Objective.from_paper`.
    """,
    hints=(
        "Multiply out (05.1).",
        r"$\beta$ stands before the whole bracket: response "
        r"$\beta\beta_2$, angle $\beta\beta_1$.",
    ),
    name="my_row",
    answer={"ce": 0.5, "response": 8, "distance": 4, "angle": 1, "self": 3},
    wrong=[
        ({"response": 2}, "response: beta stands before the bracket and multiplies beta2"),
        ({"angle": 0.25}, "angle: beta stands before the bracket and multiplies beta1"),
        ({"response": 1, "angle": 8}, "beta1 belongs to the angle and beta2 to the response"),
        ({"self": 75}, "self: (05.1) has no factor t²"),
    ],
    why="ce 0.5, response 4 · 2 = 8, distance 4, angle 4 · 0.25 = 1, self 3. The temperature is no weight.",
)

pencil(
    "05.2",
    "And back",
    minutes=4,
    difficulty="*",
    text=r"Which $\beta$, $\beta_1$ and $\beta_2$ belong to the weights distance 5, angle 15, response 1?",
    hints=(
        "Start with the one weight that is a single symbol.",
        r"Distance has the weight $\beta$; "
        r"divide the others by it.",
    ),
    name="my_symbols",
    answer={"beta": 5, "beta1": 3, "beta2": 0.2},
    wrong=[
        ({"beta1": 15, "beta2": 1}, "beta1 and beta2 are factors inside the bracket: divide the weights by beta"),
        ({"beta1": 0.2, "beta2": 3}, "beta1 belongs to the angle and beta2 to the response"),
        ({"beta1": 75}, "beta1: divide by beta, do not multiply"),
    ],
    why=r"$\beta = 5$, $\beta_1 = 15/5 = 3$, $\beta_2 = 1/5$.",
)


def my_epochs_to(curve: Sequence[float], level: float) -> int | None:
    """The first epoch, counted from 1, whose accuracy reaches the level; None if none does."""
    raise NotImplementedError


def epochs_right(curve: Sequence[float], level: float) -> int | None:
    """`next` with a default."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= level), None)


def epochs_from_zero(curve: Sequence[float], level: float) -> int | None:
    return next((epoch for epoch, value in enumerate(curve) if value >= level), None)


def epochs_above(curve: Sequence[float], level: float) -> int | None:
    return next((epoch for epoch, value in enumerate(curve, start=1) if value > level), None)


def epochs_stays(curve: Sequence[float], level: float) -> int | None:
    stays = (n for n in range(len(curve)) if all(value >= level for value in curve[n:]))
    return next((epoch + 1 for epoch in stays), None)


def epochs_last(curve: Sequence[float], level: float) -> int | None:
    return max((epoch for epoch, value in enumerate(curve, start=1) if value >= level), default=None)


def epochs_or_error(curve: Sequence[float], level: float) -> int | None:
    return next(epoch for epoch, value in enumerate(curve, start=1) if value >= level)


def epochs_agree(answer: Tried) -> None:
    curve = [10.0, 50.0, 70.0, 60.0, 90.0]
    found = answer.function(curve, 55)
    require(found != 2, "epochs are counted from 1")
    require(found != 5, "this is the last epoch at or above the level; the first one is asked for")
    require(found == 3, f"for the curve {curve} and the level 55 the epoch is not {found}")
    require(answer.function(curve, 50) == 2, "a value equal to the level reaches it: compare with >=")
    require(
        answer.function(curve, 70) == 3, "the curve falls again after it has reached 70; the first time counts"
    )


def epochs_none(answer: Tried) -> None:
    try:
        found = answer.function([10.0], 60)
    except (StopIteration, IndexError, ValueError) as error:
        raise AssertionError(
            f"a curve that never gets there must give None, yours stops: {type(error).__name__}"
        ) from None
    require(found is None, f"a curve that never gets there must give None, yours gives {found}")


code(
    "05.3",
    "How fast?",
    minutes=10,
    difficulty="*",
    text="""
        Write the first epoch at which a curve reaches a level. Then use it: for each method and seed of section
        5, from the mean over peers of `record.history.accuracy`, the epochs to 60 %. Is "faster" true for all
        levels between 40 % and 80 %?
    """,
    hints=(
        "What if the curve falls below the level again? What if it never gets there?",
        "`next(generator, None)`.",
    ),
    stub=my_epochs_to,
    solution=epochs_right,
    wrong={
        epochs_from_zero: "counted from 1",
        epochs_above: "compare with >=",
        epochs_stays: "the first time counts",
        epochs_last: "the last epoch",
        epochs_or_error: "must give None",
    },
    checks={"a curve that falls again": epochs_agree, "a curve that never gets there": epochs_none},
    why="""
        `np.mean(record.history.accuracy, axis=0)` is the curve of one run. No: ten seeds show that CTSL-MKT is faster
        than independent training to 70 % (by 2.0 ± 0.7 epochs) and to 80 % (2.5 ± 0.8), not to 40 % (0.0 ± 1.0),
        50 % (0.9 ± 1.0) or 60 % (1.1 ± 1.1). One level is a choice; look at several.
    """,
)

pencil(
    "05.4",
    "The cost of taking turns",
    minutes=5,
    difficulty="**",
    text="""
        How many forward passes does one training step of K = 4 peers take with `update="simultaneous"`, and how
        many with `"sequential"`, where all peers answer anew before each half step? Count single networks, each time
        that one answers a batch.
    """,
    hints=(
        "Simultaneous: every peer answers once, and the answers are compared.",
        "Sequential: 4 half steps, 4 answers before each.",
    ),
    name="my_passes",
    answer={"simultaneous": 4, "sequential": 16},
    wrong=[
        ({"sequential": 4}, "sequential: after each half step *all* answer anew, not only the one that moves"),
        ({"sequential": 12}, "sequential: the peer that moves has to answer as well, not only the three others"),
        ({"simultaneous": 12}, "simultaneous: each peer answers once; the 12 ordered pairs reuse these answers"),
    ],
    tolerance=0.001,
    why="K against K²: with simultaneous updates only the comparisons grow with the square of the group.",
)


def my_peer(channels: int, num_classes: int) -> Peer:
    """A peer for (B, channels, 8, 8) images whose embedding has the width 48."""
    raise NotImplementedError


def peer_right(channels: int, num_classes: int) -> Peer:
    """Any backbone will do as long as it ends in a vector for each image."""
    backbone = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 48), nn.ReLU()
    )
    return Peer(backbone, width=48, num_classes=num_classes)


def peer_with_a_map(channels: int, num_classes: int) -> Peer:
    return Peer(nn.Conv2d(channels, 48, 3, padding=1), width=8, num_classes=num_classes)


def peer_that_is_not_flat(channels: int, num_classes: int) -> Peer:
    return Peer(nn.Conv2d(channels, 48, 3, padding=1), width=48, num_classes=num_classes)


def peer_too_narrow(channels: int, num_classes: int) -> Peer:
    return Peer(nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 32)), width=32, num_classes=num_classes)


def peer_for_grey_images(channels: int, num_classes: int) -> Peer:
    return Peer(nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU()), width=48, num_classes=10)


def peer_works(answer: Tried) -> None:
    peer = answer(3, 7)
    require(isinstance(peer, nn.Module), "return the peer: Peer(backbone, width, num_classes)")
    try:
        output = peer(some(5, 3, 8, 8))
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        try:
            answer(1, 7)(some(5, 1, 8, 8))
        except RuntimeError:
            words = "images of 8 × 8 do not get through: the backbone must give one vector of the stated width for each"
            raise AssertionError(f"{words} ({said})") from None
        raise AssertionError(f"it does not take images of 3 channels (use `channels`): {said}") from None
    require(isinstance(output, PeerOutput), "a peer returns logits and embedding: use the class Peer")
    shape = tuple(output.embedding.shape)
    require(
        len(shape) == 2, f"the embedding must be one vector for each image, yours is of shape {shape}: flatten it"
    )
    require(shape == (5, 48), f"5 images make an embedding of the shape (5, 48), yours has {shape}")
    logits = tuple(output.logits.shape)
    require(logits == (5, 7), f"5 images and 7 classes make logits (5, 7), got {logits}")


def peer_learns_with_another(answer: Tried) -> None:
    pair = [answer(1, 10).train(), build_peer("tiny_cnn", 1, 10, seed=0).train()]
    images, labels = some(12, 1, 8, 8), torch.arange(12) % 10
    frozen = [some(12, 10)] * 2
    terms = METHODS["ctsl_mkt"]([peer(images) for peer in pair], labels, frozen)[0].values()
    torch.stack(list(terms)).sum().backward()
    reached = all(
        weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in pair[0].parameters()
    )
    require(reached, "not every weight of your network gets a finite gradient from the five terms")


code(
    "05.5",
    "Your own peer",
    minutes=15,
    difficulty="**",
    text="""
        Write a network of width 48 for images of 8 × 8 pixels with any number of channels. The check lets it learn one
        step beside a `tiny_cnn` of width 64, with all five terms. Then register it (`@register("mine")` of
        `ctsl_lib.models.registry`) and train it under CTSL-MKT, without a process pool: workers do not know what is
        defined in a notebook.
    """,
    hints=(
        "A `Peer` is a backbone, from images to vectors, and a width.",
        "`nn.Sequential(..., nn.Flatten(), nn.Linear(n, 48), nn.ReLU())` as the backbone.",
    ),
    stub=my_peer,
    solution=peer_right,
    wrong={
        peer_with_a_map: "flatten it",
        peer_that_is_not_flat: "one vector of the stated width",
        peer_too_narrow: "(5, 48)",
        peer_for_grey_images: "3 channels",
    },
    checks={"shapes": peer_works, "five terms beside a tiny_cnn": peer_learns_with_another},
    why="The widths 48 and 64 do not matter to the relation terms: psi_D is B × B for both.",
)


def my_moving_gradient(f: Tensor, g: Tensor) -> Tensor:
    """Gradient of both peers' distance losses together with respect to f, when *both* sides may move."""
    raise NotImplementedError


def moving_right(f: Tensor, g: Tensor) -> Tensor:
    """Nothing is detached, and the losses of both peers are added."""
    f = f.detach().requires_grad_()
    total = distance_loss(f, g) + distance_loss(g, f)
    return torch.autograd.grad(total, f)[0]


def moving_own_loss(f: Tensor, g: Tensor) -> Tensor:
    f = f.detach().requires_grad_()
    return torch.autograd.grad(distance_loss(f, g), f)[0]


def moving_other_side(f: Tensor, g: Tensor) -> Tensor:
    g = g.detach().requires_grad_()
    return torch.autograd.grad(2 * distance_loss(f, g), g)[0]


def moving_agrees(answer: Tried) -> None:
    f, g = some(5, 3), some(5, 3, seed=1)
    leaf = f.clone().requires_grad_()
    fixed = gradient(distance_loss(leaf, g), leaf)
    mistakes = {
        "this is the gradient of your own loss; the other peer's loss pulls at f as well": fixed,
        "this is the gradient with respect to g": moving_other_side(f, g),
    }
    equals(answer(f, g), 2 * fixed, mistakes, what="the gradient")


code(
    "05.6",
    "Both sides move",
    minutes=12,
    difficulty="***",
    text="""
        With `detach_relations=False` both peers' distance losses move both embeddings, and (05.2) no longer
        holds. Compute the gradient of the *sum of both losses* with respect to one peer's embedding `f`. By which
        factor does it differ from the one with a fixed target?
    """,
    hints=(
        "Peer 2's loss is `distance_loss(g, f)`; without `detach` it depends on f.",
        "Make f a leaf (`f.detach().requires_grad_()`), add both losses, call `torch.autograd.grad`.",
    ),
    stub=my_moving_gradient,
    solution=moving_right,
    wrong={moving_own_loss: "the other peer's loss pulls", moving_other_side: "with respect to g"},
    checks={"five images": moving_agrees},
    why="""
        2: the loss is symmetric. Of a network's parameters the classifier's still obey (05.2): it comes after f.
    """,
)
