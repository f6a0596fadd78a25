"""Exercises of notebook 10 on plans: what a larger data set and a plan of runs cost."""

from ctsl_course.exercises.diagnose import require
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried

pencil(
    "10.7",
    "How large are the images?",
    minutes=4,
    difficulty="*",
    text="""
        Tiny-ImageNet has 100,000 training images of 64 × 64 pixels in three colours. How many MiB are they as
        bytes (uint8), and how many as float32?
    """,
    hints=("Pixels times colours times images.", "A MiB has 2²⁰ bytes; a float32 number has four."),
    name="my_size",
    answer={"uint8": 1171.9, "float32": 4687.5},
    wrong=[
        ({"uint8": 390.6, "float32": 1562.5}, "each pixel has three colours"),
        ({"uint8": 1228.8, "float32": 4915.2}, "these are megabytes of 10⁶ bytes; a MiB has 2²⁰"),
        ({"float32": 1171.9}, "float32: four bytes a number"),
    ],
    tolerance=0.003,
    why="The kit keeps images as bytes and normalises batch by batch: a quarter of the memory.",
)

pencil(
    "10.8",
    "Count the runs of a plan",
    minutes=6,
    difficulty="**",
    text="""
        The plan has 3 pairs, 10 methods and 5 seeds. How many runs stand in the table? Methods with self
        knowledge need a first stage, which does not depend on the method: how many trainings of a first stage
        come on top?
    """,
    hints=(
        "A first stage belongs to a pair and a seed.",
        "It trains both peers of the pair; Tf-KD and CTSL-MKT share it.",
    ),
    name="my_runs",
    answer={"table": 150, "first stages": 15},
    wrong=[
        ({"first stages": 75}, "first stages: methods share them, so count pairs and seeds alone"),
        ({"first stages": 5}, "first stages: each pair has its own"),
        ({"first stages": 30}, "first stages: one run trains both peers of a pair"),
        ({"table": 30}, "table: each method is run with every seed"),
    ],
    tolerance=0.001,
    why="150 + 15 = 165 runs, as `ctsl status` counts them. A method of its own would cost 15 runs more, not 30.",
)


def my_missing(seeds_done: dict[str, list[int]], seeds: int) -> dict[str, int]:
    """Method -> how many of the seeds 0, 1, ..., seeds - 1 have no record; methods that are complete are left out."""
    raise NotImplementedError


def missing_right(seeds_done: dict[str, list[int]], seeds: int) -> dict[str, int]:
    """Only the plan's seeds count, and each once."""
    missing = {method: len(set(range(seeds)) - set(done)) for method, done in seeds_done.items()}
    return {method: count for method, count in missing.items() if count > 0}


def missing_by_length(seeds_done: dict[str, list[int]], seeds: int) -> dict[str, int]:
    missing = {method: seeds - len(done) for method, done in seeds_done.items()}
    return {method: count for method, count in missing.items() if count > 0}


def missing_with_zeros(seeds_done: dict[str, list[int]], seeds: int) -> dict[str, int]:
    return {method: len(set(range(seeds)) - set(done)) for method, done in seeds_done.items()}


def missing_from_one(seeds_done: dict[str, list[int]], seeds: int) -> dict[str, int]:
    missing = {method: len(set(range(1, seeds + 1)) - set(done)) for method, done in seeds_done.items()}
    return {method: count for method, count in missing.items() if count > 0}


def missing_agrees(answer: Tried) -> None:
    found = answer({"dml": [0, 1, 2], "rkd": [0, 1], "tfkd": []}, 3)
    require(isinstance(found, dict), "return a dict from methods to numbers")
    require("dml" not in found or found["dml"] != 0, "leave methods out that lack nothing")
    require(
        found != {"dml": 1, "rkd": 2, "tfkd": 3}, "seeds are counted from 0: with 3 seeds they are 0, 1 and 2"
    )
    require(found == {"rkd": 1, "tfkd": 3}, f"for two complete seeds and for none the counts are not {found}")


def missing_counts_seeds_not_records(answer: Tried) -> None:
    found = answer({"dml": [0, 1, 7], "rkd": [2, 2, 0]}, 3)
    require(
        found == {"dml": 1, "rkd": 1},
        "compare the seeds themselves, not how many records there are: a record of seed 7, or a second one of seed 2, "
        "does not fill a gap",
    )


code(
    "10.9",
    "What a table lacks",
    minutes=8,
    difficulty="*",
    text="""
        Write what `ctsl status` counts: how many seeds of each method have no record. Records of other seeds may
        lie about.
    """,
    hints=("Which of the seeds 0, 1, ... is not among those done?", "A difference of two sets."),
    stub=my_missing,
    solution=missing_right,
    wrong={
        missing_by_length: "compare the seeds themselves",
        missing_with_zeros: "leave methods out",
        missing_from_one: "counted from 0",
    },
    checks={"three methods": missing_agrees, "records of other seeds": missing_counts_seeds_not_records},
    why="A paired difference needs the same seeds on both sides, so it matters *which* seeds are there.",
)
