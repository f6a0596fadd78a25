"""Exercises of notebook 07, sections 4 to 7: numbers that run out of digits, to be mended before the cure is shown."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises import pitfalls
from ctsl_course.exercises.diagnose import equals, require, some
from ctsl_course.exercises.engine import code
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import angle_loss
from ctsl_lib.losses.reference import relative_distances


def my_distances(f: Tensor) -> Tensor:
    squares = f.square().sum(dim=1)  # mend this function
    return (squares[:, None] + squares[None] - 2 * f @ f.T).clamp(min=0).sqrt()


def distances_right(f: Tensor) -> Tensor:
    return (f[:, None] - f[None]).square().sum(dim=2).sqrt()


def distances_by_cdist(f: Tensor) -> Tensor:
    return torch.cdist(f, f)


def distances_squared(f: Tensor) -> Tensor:
    return (f[:, None] - f[None]).square().sum(dim=2)


def distances_agree(answer: Tried) -> None:
    f = some(5, 3)
    equals(answer(f), torch.cdist(f, f), {"the root is missing": torch.cdist(f, f) ** 2}, what="the distances")


code(
    "07.4",
    "Distances that survive a shift",
    minutes=6,
    difficulty="**",
    text="Mend the function: right far from the origin, too.",
    hints=("Subtract first, square after.", "`(f[:, None] - f[None])` has the shape (B, B, D)."),
    stub=my_distances,
    solution=distances_right,
    wrong={
        my_distances: "wrong by more than 1 %",
        distances_by_cdist: "wrong by more than 1 %",
        distances_squared: "the root is missing",
    },
    checks={"near the origin": distances_agree, "survives_a_shift": pitfalls.survives_a_shift},
    shown=(pitfalls.relative_error, pitfalls.survives_a_shift),
    why="""
        It costs B²D numbers, and at the size of a batch that is nothing. Subtracting the batch's mean first is
        the other cure (notebook 08).
    """,
)


def my_root(squares: Tensor) -> Tensor:
    return torch.where(squares > 0, squares.sqrt(), 0)  # mend this line


def root_right(squares: Tensor) -> Tensor:
    safe = torch.where(squares > 0, squares, 1)  # no zero ever reaches the root ...
    return torch.where(squares > 0, safe.sqrt(), 0)  # ... and the value is still 0


def root_with_epsilon(squares: Tensor) -> Tensor:
    return (squares + 1e-6).sqrt()


def root_clamped(squares: Tensor) -> Tensor:
    return squares.clamp(min=1e-12).sqrt()


def root_of_one(squares: Tensor) -> Tensor:
    return torch.where(squares > 0, squares, 1).sqrt()


def root_is_a_root(answer: Tried) -> None:
    found = answer(torch.tensor([0.0, 4.0, 9.0]))
    require(found[0] != 1, "the root of 0 is now 1: put the zeros back after the root")
    require(
        found[0] == 0,
        f"the root of 0 is now {found[0]:.0e}: equal images would lie apart, and masks find no zero",
    )
    equals(found, torch.tensor([0.0, 2.0, 3.0]), what="the roots of 0, 4 and 9")


code(
    "07.5",
    "A root without NaN",
    minutes=8,
    difficulty="**",
    text="Mend the root: its gradient must be finite at 0, and the root of 0 must still be exactly 0.",
    hints=(
        "`torch.where` passes a gradient back through *both* branches.",
        "Use it twice: once inside the root, once outside.",
    ),
    stub=my_root,
    solution=root_right,
    wrong={
        my_root: "gradients are not finite",
        root_with_epsilon: "equal images would lie apart",
        root_clamped: "equal images would lie apart",
        root_of_one: "put the zeros back",
    },
    checks={"0, 4 and 9": root_is_a_root, "gradient_is_finite": pitfalls.gradient_is_finite},
    shown=(pitfalls.gradient_is_finite,),
    why="Guard the *input* of a root, a logarithm or a quotient; guarding its output leaves NaN in the gradient.",
)


def my_angle_loss(f: Tensor, target: Tensor) -> Tensor:
    cosines = []
    for side in (f, target):
        direction = F.normalize(side[None] - side[:, None], dim=2)  # mend this line
        cosines.append(direction @ direction.transpose(1, 2))
    n = len(f)
    return F.huber_loss(cosines[0], cosines[1], reduction="sum") / (n * (n - 1) * (n - 2))


def angles_right(f: Tensor, target: Tensor) -> Tensor:
    cosines, n = [], len(f)
    for side in (f, target):
        difference = side[None] - side[:, None]
        apart = difference.detach().norm(dim=2) > 1e-6 * torch.pdist(side.detach()).mean()
        direction = F.normalize(torch.where(apart[:, :, None], difference, 0), dim=2)
        cosine = direction @ direction.transpose(1, 2)
        cosines.append(cosine.masked_fill(torch.eye(n, dtype=torch.bool), 0))  # u and w must differ
    return F.huber_loss(cosines[0], cosines[1], reduction="sum") / (n * (n - 1) * (n - 2))


def _angles_of(unit_vectors: Callable[[Tensor], Tensor], f: Tensor, target: Tensor) -> Tensor:
    """The loss from the directions between images, without leaving out u = w."""
    cosines = [way @ way.transpose(1, 2) for way in map(unit_vectors, (f, target))]
    n = len(f)
    return F.huber_loss(cosines[0], cosines[1], reduction="sum") / (n * (n - 1) * (n - 2))


def angles_with_epsilon(f: Tensor, target: Tensor) -> Tensor:
    def unit_vectors(side: Tensor) -> Tensor:
        difference = side[None] - side[:, None]
        return difference / (difference.square().sum(dim=2, keepdim=True) + 1e-2).sqrt()

    return _angles_of(unit_vectors, f, target)


def angles_with_tiny_epsilon(f: Tensor, target: Tensor) -> Tensor:
    return _angles_of(lambda side: F.normalize(side[None] - side[:, None], dim=2, eps=1e-6), f, target)


def angles_of_one_image(f: Tensor, target: Tensor) -> Tensor:
    """Mistake: without leaving out u = w, whose cosine is 1 for one peer and 0 where two images are one point."""

    def unit_vectors(side: Tensor) -> Tensor:
        difference = side[None] - side[:, None]
        apart = difference.detach().norm(dim=2) > 1e-6 * torch.pdist(side.detach()).mean()
        return F.normalize(torch.where(apart[:, :, None], difference, 0), dim=2)

    return _angles_of(unit_vectors, f, target)


def angles_agree(answer: Tried) -> None:
    f, target = some(6, 8).double(), some(6, 8, seed=1).double()
    words = (
        "well separated images now have another loss: only pairs nearer than a millionth may count as one point"
    )
    equals(
        answer(f, target),
        angle_loss(f, target),
        {words: angles_with_epsilon(f, target)},
        what="the loss of 6 images",
    )
    close = f.clone()
    close[1] = close[0] + 1e-3
    right = angle_loss(close, target)
    equals(answer(close, target), right, what="the loss with two images a thousandth apart (they are two points)")
    found = answer(1e-4 * close, target)
    words = "embeddings of another size have another loss: count the gap in mean distances of the batch"
    require(torch.isclose(found, right, rtol=1e-3), words)


def angles_of_near_images(answer: Tried) -> None:
    f, target = some(6, 8).double(), some(6, 8, seed=1).double()
    for gap in (0.0, 1e-9, 1e-5):
        near = f.clone()
        near[1] = near[0] + gap
        equals(
            answer(near, target), angle_loss(near, target), what=f"the loss with two images at a gap of {gap:g}"
        )


code(
    "07.6",
    "One point or two?",
    minutes=20,
    difficulty="***",
    text="""
        Mend the loss: two images nearer than a millionth of the batch's mean distance count as one point, so that
        no direction leads from one to the other. All other images must keep their loss.
    """,
    hints=(
        "Find the pairs that lie apart, without a gradient, and set the other differences to zero. Leave out u = w.",
        "`apart = difference.detach().norm(dim=2) > 1e-6 * torch.pdist(side.detach()).mean()`, then `torch.where`.",
    ),
    stub=my_angle_loss,
    solution=angles_right,
    wrong={
        my_angle_loss: "a gradient above 1e7",
        angles_with_epsilon: "well separated images now have another loss",
        angles_with_tiny_epsilon: "count the gap in mean distances",
        angles_of_one_image: "two images at a gap of 0",
    },
    checks={
        "images that lie apart": angles_agree,
        "gradient_is_bounded": pitfalls.gradient_is_bounded,
        "images that lie near": angles_of_near_images,
    },
    shown=(pitfalls.gradient_at, pitfalls.gradient_is_bounded),
    why="Sweep an input towards the edge of what is defined, and look at the gradient, not only at the loss.",
)


def my_psi(f: Tensor) -> Tensor:
    distances = (f[:, None] - f[None]).square().sum(dim=2).sqrt()  # mend this function
    return distances / distances.sum() * (len(f) * (len(f) - 1))


def psi_right(f: Tensor) -> Tensor:
    f = f.float()  # before anything is subtracted
    distances = (f[:, None] - f[None]).square().sum(dim=2).sqrt()
    return distances / distances.sum() * (len(f) * (len(f) - 1))


def psi_too_late(f: Tensor) -> Tensor:
    distances = (f[:, None] - f[None]).square().sum(dim=2).float().sqrt()
    return distances / distances.sum() * (len(f) * (len(f) - 1))


def psi_in_bfloat16(f: Tensor) -> Tensor:
    return my_psi(f.bfloat16()).float()


def psi_agrees(answer: Tried) -> None:
    f = some(6, 4)
    equals(answer(f), relative_distances(f), what="psi_D in float32", rel=1e-3)


code(
    "07.7",
    "Relations in full precision",
    minutes=4,
    difficulty="*",
    text="Mend psi_D for embeddings that arrive in float16.",
    hints=("What overflows, and what vanishes, when it is squared?", "Turn f into float32 before you subtract."),
    stub=my_psi,
    solution=psi_right,
    wrong={
        my_psi: "NaN or off the scale",
        psi_too_late: "off by more than 1 %",
        psi_in_bfloat16: "by more than 1 %",
    },
    checks={
        "within_a_percent in float16": partial(pitfalls.within_a_percent, kind=torch.float16),
        "float32": psi_agrees,
    },
    shown=(pitfalls.worst_error, pitfalls.within_a_percent),
    why="The network may run in half precision; its relations are a few thousand numbers and belong in float32.",
)
