"""Ranking a gallery: examples by hand, and a plain implementation beside the fast one."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctsl_lib.metrics import retrieval
from ctsl_lib.metrics.retrieval import Labelled, ranked_gallery, retrieval_metrics


def line(places: list[float], identities: list[int], cameras: list[int]) -> Labelled:
    """Embeddings of width 1: Euclidean distances can be read off."""
    return Labelled(torch.tensor(places)[:, None], torch.tensor(identities), torch.tensor(cameras))


def plain(query: Labelled, gallery: Labelled, metric: str) -> dict[str, float]:
    """One query at a time, one image at a time, in Python floats."""
    firsts, precisions = [], []
    for q, identity, camera in zip(*(side.tolist() for side in query), strict=True):
        ranked = []
        for index, (g, other, seen_by) in enumerate(zip(*(side.tolist() for side in gallery), strict=True)):
            if other == -1 or (other == identity and seen_by == camera):
                continue
            if metric == "cosine":
                dot = sum(a * b for a, b in zip(q, g, strict=True))
                distance = 1 - dot / math.hypot(*q) / math.hypot(*g)
            else:
                distance = math.dist(q, g)
            ranked.append((distance, index, other == identity and other != 0))
        ranked.sort()
        right = [position for position, (_, _, is_right) in enumerate(ranked, start=1) if is_right]
        if right:
            firsts.append(right[0])
            precisions.append(sum(i / r for i, r in enumerate(right, start=1)) / len(right))
    found = {f"rank{k}": 100 * sum(first <= k for first in firsts) / len(firsts) for k in (1, 5, 10)}
    return found | {"mAP": 100 * sum(precisions) / len(precisions), "queries": len(firsts)}


def test_by_hand() -> None:
    # The query is person 7 by camera 1, at 0. By distance: itself again (same camera, out), junk (out), a
    # distractor (wrong, rank 1), person 7 (rank 2), person 8 (rank 3), person 7 (rank 4): AP = (1/2 + 2/4) / 2.
    query = line([0.0], [7], [1])
    gallery = line([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [7, -1, 0, 7, 8, 7], [1, 2, 2, 2, 1, 3])
    found = retrieval_metrics(query, gallery, metric="euclidean")
    assert found == pytest.approx({"rank1": 0, "rank5": 100, "rank10": 100, "mAP": 50, "queries": 1})
    assert retrieval_metrics(query, gallery, metric="euclidean", ranks=(2, 1))["rank2"] == 100
    [ranked] = ranked_gallery(query, gallery, 3, metric="euclidean")
    assert ranked.gallery.tolist() == [2, 3, 4] and ranked.right.tolist() == [False, True, False]


def test_a_query_without_a_right_image_does_not_count() -> None:
    gallery = line([0.0, 1.0, 2.0], [7, 8, -1], [2, 1, 3])
    both = line([0.0, 1.0], [7, 8], [1, 1])  # person 8 was seen by camera 1 alone
    found = retrieval_metrics(both, gallery, metric="euclidean")
    assert (found["queries"], found["rank1"], found["mAP"]) == (1, 100, 100)
    for lonely in (line([1.0], [8], [1]), line([0.0], [0], [1])):
        with pytest.raises(ValueError, match="no query counts"):
            retrieval_metrics(lonely, line([0.0, 1.0], [0, 8], [2, 1]), metric="euclidean")
    with pytest.raises(ValueError, match="no query counts"):
        retrieval_metrics(both, line([0.0, 1.0], [-1, -1], [2, 2]))  # all junk


def test_a_perfect_and_a_hopeless_ranking() -> None:
    query = line([0.0], [1], [1])
    near = line([1.0, 2.0, 3.0, 4.0], [1, 1, 2, 2], [2, 3, 2, 3])
    far = line([1.0, 2.0, 3.0, 4.0], [2, 2, 1, 1], [2, 3, 2, 3])
    assert retrieval_metrics(query, near, metric="euclidean")["mAP"] == 100
    assert retrieval_metrics(query, far, metric="euclidean")["mAP"] == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)


def test_of_equal_distances_the_first_in_the_gallery_ranks_first() -> None:
    query = line([0.0], [1], [1])
    for identities, rank1 in (([1, 2], 100), ([2, 1], 0)):
        gallery = line([1.0, 1.0], identities, [2, 2])
        assert retrieval_metrics(query, gallery, metric="euclidean")["rank1"] == rank1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), queries=st.integers(1, 9), images=st.integers(1, 40), width=st.integers(1, 4),
    metric=st.sampled_from(["cosine", "euclidean"]), chunk=st.integers(1, 5),
)  # fmt: skip
def test_against_a_plain_implementation(seed, queries, images, width, metric, chunk) -> None:
    source = torch.Generator().manual_seed(seed)

    def side(count: int, lowest: int) -> Labelled:
        return Labelled(
            torch.randn(count, width, generator=source) + 0.1,
            torch.randint(lowest, 5, (count,), generator=source),
            torch.randint(1, 4, (count,), generator=source),
        )

    query, gallery = side(queries, 1), side(images, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "CHUNK", chunk)
        try:
            found = retrieval_metrics(query, gallery, metric=metric)
        except ValueError:
            with pytest.raises(ZeroDivisionError):
                plain(query, gallery, metric)
            return
    expected = plain(query, gallery, metric)
    if metric == "cosine" and width == 1:  # all cosines are 1 or -1 up to rounding: order within is not defined
        assert found["queries"] == expected["queries"]
    else:
        assert found == pytest.approx(expected, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), images=st.integers(1, 60), metric=st.sampled_from(["cosine", "euclidean"]))
def test_many_equal_distances(seed, images, metric) -> None:
    source = torch.Generator().manual_seed(seed)

    def side(count: int, lowest: int) -> Labelled:
        whole = torch.randint(-2, 3, (count, 4), generator=source).float()  # every step of the distance is exact
        signs = torch.randint(0, 2, (count, 4), generator=source) * 2.0 - 1  # of norm 2: of the cosine too
        return Labelled(
            signs if metric == "cosine" else whole,
            torch.randint(lowest, 4, (count,), generator=source),
            torch.randint(1, 4, (count,), generator=source),
        )

    query, gallery = side(5, 1), side(images, -1)
    ranked = ranked_gallery(query, gallery, images, metric=metric)
    right = [(1 + entry.right.nonzero()[:, 0]).tolist() for entry in ranked]
    if any(right):
        found = retrieval_metrics(query, gallery, metric=metric)
        assert found == pytest.approx(plain(query, gallery, metric), abs=1e-3)
    blocks = retrieval._distances(query, gallery, metric)
    assert [ranks for block in blocks for ranks in retrieval._ranks_of_right(*block)] == right


def test_cosine_does_not_see_scale_and_neither_sees_the_order_of_queries() -> None:
    source = torch.Generator().manual_seed(0)
    query = Labelled(
        torch.randn(20, 8, generator=source), torch.arange(20) % 5 + 1, torch.ones(20, dtype=torch.long)
    )
    gallery = Labelled(torch.randn(50, 8, generator=source), torch.arange(50) % 7, torch.arange(50) % 3)
    found = retrieval_metrics(query, gallery)
    scaled = gallery._replace(embedding=gallery.embedding * torch.rand(50, 1, generator=source).add(0.5))
    assert retrieval_metrics(query, scaled) == pytest.approx(found)
    assert retrieval_metrics(query, scaled, metric="euclidean") != pytest.approx(found)
    order = torch.randperm(20, generator=source)
    assert retrieval_metrics(Labelled(*(part[order] for part in query)), gallery) == pytest.approx(found)
    shifted = [side._replace(embedding=side.embedding + 1000) for side in (query, gallery)]
    assert retrieval_metrics(*shifted, metric="euclidean") == pytest.approx(
        retrieval_metrics(query, gallery, metric="euclidean"), abs=1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": torch.full((3, 2), torch.nan)}, "gallery embeddings hold values that are not finite"),
        ({"embedding": torch.full((3, 2), 1e30)}, "gallery embeddings hold values .* too large to square"),
        ({"embedding": torch.ones(3, 5)}, "one width, got 2 and 5"),
        ({"identity": torch.ones(2, dtype=torch.long)}, r"3 embeddings, got shapes \(2,\) and \(3,\)"),
        ({"embedding": torch.ones(0, 2)}, r"gallery needs embeddings \(N, D\), N >= 1, got shape \(0, 2\)"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    good = Labelled(torch.randn(3, 2), torch.tensor([1, 2, 3]), torch.tensor([1, 1, 2]))
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(good, good._replace(**change))


def test_an_unknown_distance_is_named() -> None:
    good = Labelled(torch.randn(3, 2), torch.tensor([1, 2, 3]), torch.tensor([1, 1, 2]))
    for rank in (retrieval_metrics, partial(ranked_gallery, k=2)):
        with pytest.raises(ValueError, match="metric must be one of cosine, euclidean; got 'cos'"):
            rank(good, good, metric="cos")
    with pytest.raises(ValueError, match="k must be 1 or more, got -1"):
        ranked_gallery(good, good, -1)
