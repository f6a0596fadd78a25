"""Exercises of notebook 00 on labels: how many are wrong, and how they pull."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, gradient, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried, needs_no_autograd

pencil(
    "00.1",
    "How many labels are wrong?",
    minutes=3,
    difficulty="*",
    text=r"""
        There are 4 classes, and a share of 0.2 of the labels is redrawn at random from all classes. Which share of the
        labels is wrong?
    """,
    hints=(
        "A redrawn label may be the right one by chance.",
        r"Formula (00.2): $\rho\,(1 - 1/C)$ with $\rho = 0.2$ and $C = 4$.",
    ),
    name="my_share",
    answer=0.15,
    wrong=[
        (0.2, "this is the share that is redrawn; some of these come out right by chance"),
        (0.05, "this is the share that is redrawn and right by chance; the wrong ones are the others"),
        (0.18, "this is the share for 10 classes, here there are 4"),
    ],
    why=r"$0.2 \cdot (1 - \tfrac14) = 0.15$: a redrawn label hits the right one of 4 classes with chance 1/4.",
)


def my_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross entropy with respect to the (B, C) logits, without autograd."""
    raise NotImplementedError


def gradient_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Answer minus label, over the number of images."""
    p = logits.softmax(dim=1)
    one_hot = F.one_hot(labels, num_classes=logits.shape[1])
    return (p - one_hot) / len(logits)


def gradient_without_mean(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.softmax(dim=1) - F.one_hot(labels, num_classes=logits.shape[1])


def gradient_over_batch(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.softmax(dim=0) - F.one_hot(labels, num_classes=logits.shape[1])) / len(logits)


def gradient_of_labels_seen(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - F.one_hot(labels)) / len(logits)


def gradient_of_six(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - F.one_hot(labels, 5)) / 6


def by_autograd(z: Tensor, y: Tensor) -> Tensor:
    leaf = z.clone().requires_grad_()
    return gradient(F.cross_entropy(leaf, y), leaf)


def gradient_agrees(answer: Tried) -> None:
    z, y = 2 * some(6, 5), torch.tensor([0, 1, 2, 4, 4, 3])
    right = by_autograd(z, y)
    one_hot = F.one_hot(y, 5)
    mistakes = {
        "the loss is a mean over the images, so divide by their number: yours is 6 times too large": 6 * right,
        "your softmax runs over the images (dim=0), it must run over the classes (dim=1)": (
            (z.softmax(0) - one_hot) / 6
        ),
        "this is label minus answer: the sign is the wrong way round": -right,
        "this divides by the number of classes; the mean runs over the images": 6 / 5 * right,
    }
    equals(answer(z, y), right, mistakes, what="the gradient")
    needs_no_autograd(answer, z, y)


def gradient_knows_all_classes(answer: Tried) -> None:
    z, y = some(3, 5), torch.tensor([0, 1, 1])
    try:
        found = answer(z, y)
    except RuntimeError:
        require(
            False, "it fails where the largest class is not among the labels: give one_hot the number of classes"
        )
    right = by_autograd(z, y)
    many = {"divide by the number of images, whatever it is": right / 2}
    equals(found, right, many, what="the gradient of 3 images, whose rows sum to zero")


code(
    "00.2",
    "Answer minus label",
    minutes=10,
    difficulty="*",
    text=r"""
        Write the gradient of the mean cross entropy with respect to the logits as formula (00.4) has it, for any number
        of images and classes, and without autograd. Before you run the check: what must each row of it sum to?
    """,
    hints=(
        "You need the softmax over the classes and the labels as one-hot vectors.",
        "`F.one_hot(labels, num_classes=...)`; and the loss is a mean over the images, so its gradient is, too.",
    ),
    stub=my_gradient,
    solution=gradient_right,
    wrong={
        gradient_without_mean: "mean over the images",
        gradient_over_batch: "over the images (dim=0)",
        gradient_of_labels_seen: "give one_hot the number of classes",
        gradient_of_six: "whatever it is",
    },
    checks={"against autograd": gradient_agrees, "rows that sum to zero": gradient_knows_all_classes},
    why="""
        Answer and label both sum to 1 over the classes, so each row sums to 0. Adding one number to all logits of an
        image changes no probability, so the loss cannot change in that direction.
    """,
)


def my_noise(labels: Tensor, share: float, num_classes: int) -> Tensor:
    """A copy of the labels in which `round(share * N)` are redrawn at random from all classes."""
    raise NotImplementedError


def noise_right(labels: Tensor, share: float, num_classes: int) -> Tensor:
    """Choose images without repetition, then redraw their labels."""
    chosen = torch.randperm(len(labels))[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[chosen] = torch.randint(num_classes, chosen.shape)
    return noisy


def noise_in_place(labels: Tensor, share: float, num_classes: int) -> Tensor:
    chosen = torch.randperm(len(labels))[: round(share * len(labels))]
    labels[chosen] = torch.randint(num_classes, chosen.shape)
    return labels


def noise_always_wrong(labels: Tensor, share: float, num_classes: int) -> Tensor:
    chosen = torch.randperm(len(labels))[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[chosen] = (labels[chosen] + torch.randint(1, num_classes, chosen.shape)) % num_classes
    return noisy


def noise_with_repetition(labels: Tensor, share: float, num_classes: int) -> Tensor:
    chosen = torch.randint(len(labels), (round(share * len(labels)),))
    noisy = labels.clone()
    noisy[chosen] = torch.randint(num_classes, chosen.shape)
    return noisy


def noise_of_one_class(labels: Tensor, share: float, num_classes: int) -> Tensor:
    chosen = torch.randperm(len(labels))[: round(share * len(labels))]
    noisy = labels.clone()
    noisy[chosen] = torch.randint(num_classes, (1,))
    return noisy


def noise_of_the_first(labels: Tensor, share: float, num_classes: int) -> Tensor:
    count = round(share * len(labels))
    noisy = labels.clone()
    noisy[:count] = torch.randint(num_classes, (count,))
    return noisy


def noise_of_ten_classes(labels: Tensor, share: float, num_classes: int) -> Tensor:
    return noise_right(labels, share, 10)


def noise_by_coins(labels: Tensor, share: float, num_classes: int) -> Tensor:
    return torch.where(torch.rand(len(labels)) < share, torch.randint(num_classes, labels.shape), labels)


def noise_has_the_right_share(answer: Tried) -> None:
    labels = torch.arange(100_000) % 10
    noisy = answer(labels, 0.4, 10)
    require(
        isinstance(noisy, Tensor) and noisy.shape == labels.shape, "return one label for each image, as a tensor"
    )
    require(noisy.dtype == torch.int64, f"labels are whole numbers (int64), yours are {noisy.dtype}")
    require(noisy.min() >= 0 and noisy.max() < 10, "a label must be a class from 0 to num_classes - 1")
    wrong = (noisy != labels).double().mean().item()
    require(
        abs(wrong - 0.4) > 0.01,
        "every redrawn label is wrong: draw from all classes, the true one included, as (00.2) says",
    )
    require(abs(wrong - 0.297) > 0.01, "some images are chosen twice, so fewer are redrawn: use torch.randperm")
    require(abs(wrong - 0.36) < 0.01, f"at share 0.4 and 10 classes a share of {wrong:.2f} is wrong; see (00.2)")
    other = noisy != labels
    drawn = noisy[other].bincount(minlength=10) / other.sum()
    require(
        (drawn - 0.1).abs().max() < 0.01, "not all classes are drawn alike: draw one for each image, from all"
    )
    halves = other[:50_000].double().mean() - other[50_000:].double().mean()
    require(halves.abs() < 0.02, "the images are not chosen at random: use torch.randperm")


def noise_knows_the_classes(answer: Tried) -> None:
    noisy = answer(torch.arange(4000) % 4, 0.5, 4)
    require(noisy.max() < 4, "with 4 classes a label is redrawn from these 4: use num_classes")
    changed = int((answer(torch.zeros(1001, dtype=torch.int64), 0.3, 10**9) != 0).sum())
    require(
        changed == 300,
        f"of 1001 labels at share 0.3, {changed} are redrawn: choose exactly round(share * N), not each by a coin",
    )


def noise_can_be_none(answer: Tried) -> None:
    labels = torch.arange(50) % 10
    equals(answer(labels, 0.0, 10), labels, what="what comes back for a share of 0")


code(
    "00.3",
    "Spoil some labels",
    minutes=10,
    difficulty="**",
    text="""
        Write the drawing of section 4 yourself: a copy of the labels in which a share is redrawn from *all*
        classes. The true labels must survive untouched; we need them later.
    """,
    hints=(
        "First choose which images, each at most once, then draw one class for each of them.",
        "`torch.randperm(N)[: round(share * N)]`, then assign `torch.randint(...)` into a `clone()` of the labels.",
    ),
    stub=my_noise,
    solution=noise_right,
    wrong={
        noise_in_place: "changes its argument `labels` in place",
        noise_always_wrong: "every redrawn label is wrong",
        noise_with_repetition: "chosen twice",
        noise_of_one_class: "not all classes are drawn alike",
        noise_of_the_first: "not chosen at random",
        noise_of_ten_classes: "use num_classes",
        noise_by_coins: "not each by a coin",
    },
    checks={
        "the share of wrong labels": noise_has_the_right_share,
        "4 classes, and an exact share": noise_knows_the_classes,
        "a share of 0": noise_can_be_none,
    },
    why="""
        Drawing from all classes leaves a tenth of the redrawn labels right. Written in place, the function would
        destroy the true labels, and with them every later count of what is wrong.
    """,
)
