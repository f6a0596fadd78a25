"""Exercises of notebook 05: rows of weights, speed, the order of updates."""

from collections.abc import Sequence

from ctsl_course.exercises.diagnose import require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried

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
