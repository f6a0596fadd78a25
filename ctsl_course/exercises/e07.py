"""Exercises of notebook 07, its last section: write checks that stop wrong code, and smoother noise."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import Function, require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried
from ctsl_lib.losses.functional import distance_loss, response_loss
from ctsl_lib.losses.reference import relative_distances


def stopped(check: Tried, loss: Function) -> bool:
    """Whether a student's check stops a loss by an assert."""
    try:
        check.function(loss)
    except AssertionError:
        return True
    return False


def judges(right: dict[str, Function], wrong: dict[str, Function]) -> Callable[[Tried], None]:
    """What is asked of a check: it lets right code through and stops wrong code.

    Args:
        right: what the code is called -> code that must pass.
        wrong: the same for code that must be stopped.
    """

    def judge(check: Tried) -> None:
        for name, loss in right.items():
            require(not stopped(check, loss), f"your check stops right code: {name}")
        for name, loss in wrong.items():
            require(stopped(check, loss), f"your check lets wrong code through: {name}")

    return judge


def response_over_batch(logits: Tensor, target_logits: Tensor) -> Tensor:
    log_p, log_q = logits.log_softmax(0), target_logits.log_softmax(0)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def response_by_hand(logits: Tensor, target_logits: Tensor) -> Tensor:
    log_p, log_q = logits.log_softmax(1), target_logits.log_softmax(1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()


def my_batch_check(loss: Callable[..., Tensor]) -> None:
    """Stop a loss(logits, target_logits) in which one image's term depends on the other images."""
    raise NotImplementedError


def batch_check_right(loss: Callable[..., Tensor]) -> None:
    """The loss of a batch is the mean of the losses of its images, one by one."""
    own, target = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    one_by_one = [loss(own[i : i + 1], target[i : i + 1]) for i in range(4)]
    assert torch.allclose(loss(own, target), torch.stack(one_by_one).mean(), atol=1e-5), "images are mixed"


def batch_check_equal_answers(loss: Callable[..., Tensor]) -> None:
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert loss(z, z).abs() < 1e-6


def batch_check_sum(loss: Callable[..., Tensor]) -> None:
    own, target = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        loss(own, target), torch.stack([loss(own[i : i + 1], target[i : i + 1]) for i in range(4)]).sum()
    )


code(
    "07.12",
    "Whose probabilities sum to 1?",
    minutes=10,
    difficulty="**",
    text="""
        Here is a mistake in one character:

        ```python
        def response_a(logits, target_logits):
            log_p, log_q = logits.log_softmax(0), target_logits.log_softmax(0)
            return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
        ```

        Write a check, a function of the loss with an `assert` in it, that stops this code and lets right code through.
    """,
    hints=(
        "With `dim=0` each image's answer depends on its neighbours in the batch.",
        "The loss of a batch must be the mean of the losses of its images, one by one.",
    ),
    stub=my_batch_check,
    solution=batch_check_right,
    wrong={
        batch_check_equal_answers: "lets wrong code through",
        batch_check_sum: "stops right code",
    },
    checks={
        "response_a and two right losses": judges(
            {"the library's response_loss": response_loss, "the formula by hand": response_by_hand},
            {"response_a": response_over_batch},
        )
    },
    why="*Zero at equality* is no help here: `response_a` has it, too. With a single image it gives "
    "0 for any two answers.",
)


def self_one_sided(logits: Tensor, frozen_logits: Tensor, t: float = 4.0) -> Tensor:
    log_p, log_q = logits.log_softmax(1), (frozen_logits / t).log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def self_two_sided(logits: Tensor, frozen_logits: Tensor, t: float = 4.0) -> Tensor:
    return response_loss(logits, frozen_logits, t)


def self_with_t2(logits: Tensor, frozen_logits: Tensor, t: float = 4.0) -> Tensor:
    return t**2 * response_loss(logits, frozen_logits, t)


def my_softening_check(loss: Callable[..., Tensor]) -> None:
    """Stop a loss(logits, frozen_logits, t) that softens only one side."""
    raise NotImplementedError


def softening_check_right(loss: Callable[..., Tensor]) -> None:
    """Zero at equality, at a temperature other than 1."""
    z = 3 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert loss(z, z, 4.0).abs() < 1e-5, "a network that agrees with its copy is asked to change"


def softening_check_cold(loss: Callable[..., Tensor]) -> None:
    z = 3 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert loss(z, z, 1.0).abs() < 1e-5


def softening_check_value(loss: Callable[..., Tensor]) -> None:
    own, copy = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loss(own, copy, 4.0), response_loss(own, copy, 4.0))


code(
    "07.13",
    "Softened on one side",
    minutes=8,
    difficulty="**",
    text="""
        The self term with a temperature:

        ```python
        def self_b(logits, frozen_logits, t=4.0):
            log_p, log_q = logits.log_softmax(1), (frozen_logits / t).log_softmax(1)
            return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
        ```

        Find the mistake and write a check that stops it. Right code may or may not multiply by t²: your check
        must let both through.
    """,
    hints=("Where is this loss smallest?", "It should be 0 where both logits are equal, at *every* temperature."),
    stub=my_softening_check,
    solution=softening_check_right,
    wrong={
        softening_check_cold: "lets wrong code through",
        softening_check_value: "stops right code: with the factor t²",
    },
    checks={
        "self_b and two right losses": judges(
            {"without the factor t²": self_two_sided, "with the factor t²": self_with_t2},
            {"self_b": self_one_sided},
        )
    },
    why="""
        The wrong loss is smallest where the logits are a quarter of the copy's: the network learns to be unsure.
        With logits (ln 81, 0) on both sides it is 3/4 ln(0.75/0.9878) + 1/4 ln(0.25/0.0122) = 0.549 instead of 0.
    """,
)


def distance_unscaled(f: Tensor, target: Tensor) -> Tensor:
    own, fixed = ((side[:, None] - side[None]).norm(dim=2) for side in (f, target))
    return F.huber_loss(own, fixed, reduction="sum") / (len(f) * (len(f) - 1))


def distance_scaled_once(f: Tensor, target: Tensor) -> Tensor:
    own, fixed = (f[:, None] - f[None]).norm(dim=2), (target[:, None] - target[None]).norm(dim=2)
    mean = fixed.sum() / (len(f) * (len(f) - 1))
    return F.huber_loss(own / mean, fixed / mean, reduction="sum") / (len(f) * (len(f) - 1))


def distance_constant(f: Tensor, target: Tensor) -> Tensor:
    return 0 * F.huber_loss(relative_distances(f), relative_distances(target))


def my_scale_check(loss: Callable[..., Tensor]) -> None:
    """Stop a loss(f, target) that cares how large the embeddings are, or that cares about nothing at all."""
    raise NotImplementedError


def scale_check_right(loss: Callable[..., Tensor]) -> None:
    """Zero for the same shape in another size, above zero for another shape."""
    f, other = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    assert loss(2 * f, f).abs() < 1e-5, "twice as large is the same shape"
    assert loss(f, other) > 1e-3, "another shape must cost something"


def scale_check_same(loss: Callable[..., Tensor]) -> None:
    f = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert loss(f, f) == 0


def scale_check_of_both(loss: Callable[..., Tensor]) -> None:
    f, other = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(loss(f, other), loss(2 * f, other))


def scale_check_zero_only(loss: Callable[..., Tensor]) -> None:
    f = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert loss(2 * f, f).abs() < 1e-5


code(
    "07.14",
    "The size of an embedding",
    minutes=10,
    difficulty="**",
    text="""
        The distance term, which should not care how large the embeddings of a peer are:

        ```python
        def distance_c(f, target):
            own, fixed = direct(f), direct(target)
            n = len(f)
            return F.huber_loss(own, fixed, reduction="sum") / (n * (n - 1))
        ```

        Find the mistake and write a check that stops it. Your check must also stop a loss that is always 0: a
        check that is content with everything small proves nothing.
    """,
    hints=(
        "What should the loss of `2 * f` against `f` be?",
        "And add a case in which the loss must be *above* zero.",
    ),
    stub=my_scale_check,
    solution=scale_check_right,
    wrong={
        scale_check_same: "lets wrong code through: distance_c",
        scale_check_of_both: "lets wrong code through: a loss that is always 0",
        scale_check_zero_only: "lets wrong code through: a loss that is always 0",
    },
    checks={
        "three wrong losses and a right one": judges(
            {"the library's distance_loss": distance_loss},
            {
                "distance_c": distance_unscaled,
                "one that divides both sides by the target's mean": distance_scaled_once,
                "a loss that is always 0": distance_constant,
            },
        )
    },
    why="""
        The division by mu is missing. A peer with larger embeddings is punished for its scale. For two images at
        distance 1 the loss of `2 * f` against `f` is Huber(2 − 1) = 0.5 instead of 0.
    """,
)

pencil(
    "07.15",
    "Smoother noise",
    minutes=15,
    difficulty="***",
    text=r"""
        Make the noise of section 9 smoother: neighbouring epochs are correlated, $x_{i+1} = a\, x_i + \sqrt{1
        - a^2}\,\varepsilon_i$, with standard deviation 1 throughout. Which is the first of $a$ = 0.5, 0.7,
        0.9, 0.95 and 0.99 at which the bias of the best of 20 epochs is below half of its value at $a = 0$?
    """,
    hints=(
        "Start with 20,000 normal numbers and build the curves with a loop over epochs.",
        "The bias is 1.87 at a = 0, so look for the first one below 0.93; `curves.max(axis=1).mean()` is the bias.",
    ),
    name="my_a",
    answer=0.95,
    wrong=[
        (0.5, "at 0.5 the bias has hardly fallen: smooth curves shrink it slowly"),
        (0.7, "at 0.7 the bias is still 1.58"),
        (0.9, "at 0.9 the bias is still 1.13"),
        (0.99, "at 0.99 the bias is far below half; an earlier one is, too"),
    ],
    tolerance=0.001,
    why="1.87, 1.58 (0.7), 1.13 (0.9), 0.86 (0.95), 0.41 (0.99): even curves that look smooth "
    "flatter their best epoch.",
)
