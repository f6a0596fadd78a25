"""Exercises of notebook 05, continued: a network of one's own, and targets that move."""

import torch
from torch import Tensor, nn

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import distance_loss
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.registry import build_peer


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
    frozen = [PeerOutput(some(12, 10), some(12, 8))] * 2
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
