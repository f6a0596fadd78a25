"""Exercises of notebook 13: average precision, the protocol, invariances of rankings, identity sampling."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctsl_course.exercises.diagnose import equals, require, some
from ctsl_course.exercises.engine import code, pencil
from ctsl_course.exercises.tried import Tried

pencil(
    "13.1",
    "Average precision with a pencil",
    minutes=5,
    difficulty="*",
    text="""
        A query has three right pictures, at ranks 1, 3 and 6. What is its AP? And what is the lowest AP that
        three right pictures can have in a gallery of ten?
    """,
    hints=(
        "Formula (13.2): at each right picture, the share of right ones so far.",
        "1/1, 2/3, 3/6; lowest at ranks 8, 9, 10.",
    ),
    name="my_ap",
    answer={"ranks 1, 3, 6": 13 / 18, "lowest": (1 / 8 + 2 / 9 + 3 / 10) / 3},
    wrong=[
        ({"ranks 1, 3, 6": 0.5}, "this is the mean of 1/rank; at the i-th right picture count i of them: i/rank"),
        ({"ranks 1, 3, 6": 2.167}, "this is the sum: divide by the number of right pictures"),
        ({"lowest": 0.1121}, "lowest: count the right pictures so far, 1, 2 and 3, above the line"),
        ({"lowest": 0.0}, "lowest: every right picture is found in the end, so it is above zero"),
    ],
    why=r"$\frac13 (1 + \frac23 + \frac36) = \frac{13}{18} = 0.722$ and $\frac13 (\frac18 + \frac29 + "
    r"\frac3{10}) = 0.216$.",
)


def my_average_precision(right: Tensor) -> float:
    """AP (13.2) of one query; right: (n,) booleans, the valid gallery pictures in the order of their ranks."""
    raise NotImplementedError


def precision_right(right: Tensor) -> float:
    """Ranks of the right pictures, counted from 1."""
    ranks = right.nonzero().flatten() + 1
    return (torch.arange(1, len(ranks) + 1) / ranks).mean().item()


def precision_reciprocal(right: Tensor) -> float:
    ranks = right.nonzero().flatten() + 1
    return (1 / ranks).mean().item()


def precision_from_zero(right: Tensor) -> float:
    ranks = right.nonzero().flatten().clamp(min=1)
    return (torch.arange(1, len(ranks) + 1) / ranks).mean().item()


def precision_at_every_rank(right: Tensor) -> float:
    return (right.cumsum(0) / torch.arange(1, len(right) + 1)).mean().item()


def precision_agrees(answer: Tried) -> None:
    right = torch.tensor([False, True, False, True, True, False, False])
    mistakes = {
        "this is the mean of 1/rank; at the i-th right picture count i of them: i/rank": (1 / 2 + 1 / 4 + 1 / 5)
        / 3,
        "ranks are counted from 1": (1 / 1 + 2 / 3 + 3 / 4) / 3,
        "you average over all ranks; only those of right pictures count": (
            0 + 1 / 2 + 1 / 3 + 2 / 4 + 3 / 5 + 3 / 6 + 3 / 7
        )
        / 7,
        "you divide by all pictures; divide by the number of right ones": (1 / 2 + 2 / 4 + 3 / 5) / 7,
    }
    equals(
        answer(right), (1 / 2 + 2 / 4 + 3 / 5) / 3, mistakes, what="the AP of right pictures at ranks 2, 4 and 5"
    )
    equals(answer(torch.tensor([True, True, False])), 1.0, what="the AP of a perfect ranking")


code(
    "13.2",
    "Average precision",
    minutes=8,
    difficulty="*",
    text="Write (13.2) for one query. The input is the ranking after junk and same-camera pictures were taken out.",
    hints=(
        "Which ranks do the right pictures have?",
        "`right.nonzero().flatten() + 1`, and `torch.arange(1, m + 1)` above.",
    ),
    stub=my_average_precision,
    solution=precision_right,
    wrong={
        precision_reciprocal: "the mean of 1/rank",
        precision_from_zero: "counted from 1",
        precision_at_every_rank: "only those of right pictures",
    },
    checks={"ranks 2, 4 and 5, and a perfect ranking": precision_agrees},
    why="The mean of it over the queries is mAP.",
)


def my_valid(person: int, camera: int, persons: Tensor, cameras: Tensor) -> Tensor:
    """Which gallery pictures are ranked for a query of this person by this camera: (n,) booleans.

    Person -1 is junk, person 0 a distractor.
    """
    raise NotImplementedError


def valid_right(person: int, camera: int, persons: Tensor, cameras: Tensor) -> Tensor:
    """Out: junk, and the same person by the same camera."""
    return (persons != -1) & ~((persons == person) & (cameras == camera))


def valid_without_camera(person: int, camera: int, persons: Tensor, cameras: Tensor) -> Tensor:
    return (persons != -1) & (cameras != camera)


def valid_with_junk(person: int, camera: int, persons: Tensor, cameras: Tensor) -> Tensor:
    return ~((persons == person) & (cameras == camera))


def valid_without_distractors(person: int, camera: int, persons: Tensor, cameras: Tensor) -> Tensor:
    return (persons > 0) & ~((persons == person) & (cameras == camera))


def valid_agrees(answer: Tried) -> None:
    persons, cameras = torch.tensor([7, -1, 0, 7, 8, 7, 0]), torch.tensor([1, 2, 2, 2, 1, 3, 1])
    found = answer(7, 1, persons, cameras)
    require(isinstance(found, Tensor) and found.dtype == torch.bool, "return a tensor of booleans")
    require(found.shape == persons.shape, "return one boolean for each gallery picture")
    require(not found[1], "junk (person -1) is ranked by yours: it must be taken out for every query")
    require(
        not found[0], "the next frame of the same scene is ranked: same person and same camera must be taken out"
    )
    require(found[4], "other persons by the query's camera stay: they are what it could be confused with")
    require(found[2] and found[6], "distractors (person 0) stay, and always count as wrong")
    require(torch.equal(found, valid_right(7, 1, persons, cameras)), "right pictures by other cameras must stay")


code(
    "13.3",
    "Who is ranked?",
    minutes=8,
    difficulty="**",
    text="Write the protocol: which gallery pictures are ranked for one query?",
    hints=(
        "Two kinds of pictures are taken out, all others stay.",
        "Junk; and pictures of the *same* person by the *same* camera.",
    ),
    stub=my_valid,
    solution=valid_right,
    wrong={
        valid_without_camera: "other persons by the query's camera stay",
        valid_with_junk: "junk (person -1)",
        valid_without_distractors: "distractors (person 0) stay",
    },
    checks={"a gallery of seven pictures": valid_agrees},
    why="Two of the three wrong protocols make the numbers better than they are; ranked junk makes them worse. None "
    "raises an error.",
)


def my_cosine_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """The (n, m) cosine distances between (n, D) queries and (m, D) pictures, measured from the gallery's mean."""
    raise NotImplementedError


def cosine_right(query: Tensor, gallery: Tensor) -> Tensor:
    """Subtract the gallery's mean from both sides first: then a common shift changes nothing."""
    mean = gallery.mean(dim=0)
    return 1 - F.normalize(query - mean, dim=1) @ F.normalize(gallery - mean, dim=1).T


def cosine_from_origin(query: Tensor, gallery: Tensor) -> Tensor:
    return 1 - F.normalize(query, dim=1) @ F.normalize(gallery, dim=1).T


def cosine_from_two_means(query: Tensor, gallery: Tensor) -> Tensor:
    return cosine_from_origin(query - query.mean(dim=0), gallery - gallery.mean(dim=0))


def cosine_similarity(query: Tensor, gallery: Tensor) -> Tensor:
    return 1 - cosine_right(query, gallery)


def cosine_agrees(answer: Tried) -> None:
    query, gallery = some(3, 4) + 2, some(6, 4, seed=1) + 2
    mistakes = {
        "this is measured from the origin: a common shift changes it; subtract the gallery's mean": (
            cosine_from_origin(query, gallery)
        ),
        "subtract one mean, the gallery's, from both sides: two means move the sides apart": (
            cosine_from_two_means(query, gallery)
        ),
        "this is the similarity: the distance is 1 minus it": cosine_similarity(query, gallery),
    }
    equals(answer(query, gallery), cosine_right(query, gallery), mistakes, what="the distances")
    equals(
        answer(query + 5, gallery + 5),
        answer(query, gallery),
        what="the distances after a common shift",
        rel=1e-3,
    )


code(
    "13.4",
    "A cosine that does not mind a shift",
    minutes=10,
    difficulty="**",
    text="""
        By (13.3) a common shift changes no Euclidean distance, but every cosine. Write cosine distances that
        survive it. Then judge the trained peer (`sides`) by both: `retrieval_metrics(*sides, metric=...)`, before
        and after you subtract the gallery's mean.
    """,
    hints=(
        "Measure the angles from a point that moves with the pictures.",
        "`gallery.mean(dim=0)`, subtracted from both sides.",
    ),
    stub=my_cosine_distances,
    solution=cosine_right,
    wrong={
        cosine_from_origin: "from the origin",
        cosine_from_two_means: "subtract one mean",
        cosine_similarity: "this is the similarity",
    },
    checks={"the distances, and a shift": cosine_agrees},
    why="The query's own mean is no substitute: with a single query it would be the query itself.",
)

pencil(
    "13.5",
    "Who meets in a batch?",
    minutes=5,
    difficulty="*",
    text="""
        Identity sampling fills a batch of 16 with 4 pictures of each of 4 persons. How many ordered pairs of distinct
        pictures are there, and which share of them shows one person?
    """,
    hints=("16 · 15 pairs.", "Each picture meets 3 others of its person."),
    name="my_pairs",
    answer={"pairs": 240, "share": 0.2},
    wrong=[
        ({"pairs": 120}, "pairs: ordered pairs are asked for, each counts twice"),
        ({"pairs": 256}, "pairs: a picture does not meet itself"),
        ({"share": 3 / 16}, "share: a picture does not meet itself, so there are 15 others"),
        ({"share": 0.25}, "share: a picture does not meet itself, so 3 of the 15 others show its person"),
        ({"share": 0.1}, "share: you count ordered pairs below the line and unordered ones above"),
    ],
    why="48 of 240. In a random batch of 16 from hundreds of persons hardly any pair does.",
)
