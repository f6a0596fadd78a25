"""The benchmark compares like with like; how fast things are is for `make bench`, not for tests."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import cases
from benchmarks.measure import Report, Result, ratio, save, take_turns, worker
from benchmarks.pictures import scaling_curves
from benchmarks.usual_forms import (
    pil_batches,
    plain_step,
    usual_angle_loss,
    usual_distance_loss,
    usual_retrieval_metrics,
)
from ctsl_lib.losses import reference
from ctsl_lib.losses.methods import FULL
from ctsl_lib.metrics.retrieval import retrieval_metrics
from ctsl_lib.models.peer import frozen_copy
from ctsl_lib.models.registry import build_peer


def test_the_usual_losses_are_the_same_losses() -> None:
    own, target = cases._embeddings(12, 8)
    for usual, exact in (
        (usual_distance_loss, reference.distance_loss),
        (usual_angle_loss, reference.angle_loss),
    ):
        assert usual(own, target).item() == pytest.approx(exact(own.double(), target.double()).item(), rel=1e-4)


def test_the_plain_step_has_the_same_objective() -> None:
    peers = [build_peer("tiny_cnn", 3, 10, seed=k) for k in range(2)]
    frozen = [frozen_copy(build_peer("tiny_cnn", 3, 10, seed=k + 5)) for k in range(2)]
    images, labels = torch.randn(16, 3, 8, 8), torch.arange(16) % 10
    with torch.no_grad():
        outputs = [peer(images) for peer in peers]
        expected = FULL(outputs, labels, [copy(images).logits for copy in frozen])
    total = sum(value.item() for terms in expected for value in terms.values())
    parameters = [parameter for peer in peers for parameter in peer.parameters()]
    before = parameters[0].clone()
    found = plain_step(peers, frozen, FULL, images, labels, torch.optim.SGD(parameters, lr=0.1))
    assert found == pytest.approx(total, rel=1e-4)
    assert not torch.equal(parameters[0], before)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_usual_retrieval_metrics_are_the_same_metrics(metric) -> None:
    query, gallery = cases.random_searches(30, 200, 16)
    assert (gallery.identity == 0).sum() == 36 and (query.identity > 0).all()
    same = query.identity[:, None] == gallery.identity
    assert (same & (query.camera[:, None] == gallery.camera)).any()
    found = usual_retrieval_metrics(query, gallery, metric)
    assert found == pytest.approx(retrieval_metrics(query, gallery, metric=metric), abs=1e-3)
    assert 0 < found["rank1"] < found["rank10"] and 0 < found["mAP"] < 100


def test_cases_do_their_work() -> None:
    images, labels = next(pil_batches(*_random(8), batch_size=4))
    assert images.shape == (4, 3, 32, 32) and labels.shape == (4,)
    for call in (
        cases.relations_usual(6, 4), cases.relations_reference(6, 4), cases.relations_separate(6, 4, 3),
        cases.relations_combined(6, 4, 3), cases.step_kit("resnet8", 4, "fp32"),
        cases.step_kit("resnet8", 4, "bf16"), cases.step_plain("resnet8", 4), cases.matrix_product(8),
        cases.retrieval_kit(8, 8), cases.retrieval_usual(8, 8),
    ):  # fmt: skip
        call()
    assert cases.step_operations("resnet8", 3) == 3 * cases.step_operations("resnet8", 1) > 1e6


def _random(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    split = cases.random_images(count).train
    return split.images, split.labels


def test_gradient_errors_of_the_kit_are_small_and_others_are_not() -> None:
    found = cases.gradient_errors()
    assert max(forms["kit"] for forms in found.values()) <= 1e-5
    assert found["collapsed"]["usual"] > 1e-3


@pytest.mark.slow
def test_workers_take_turns_and_measure() -> None:
    with worker(memory_kept=False) as pool:
        times = take_turns(
            {"a": (pool, cases.matrix_product, (16,)), "b": (pool, cases.matrix_product, (32,))}, 3
        )
        assert pool.submit(torch.get_num_threads).result() == 1
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}
    assert all(second > 0 for seconds in times.values() for second in seconds)


def test_verdicts_table_and_file(tmp_path: Path) -> None:
    found = ratio("s", "faster", [4.0, 6.0, 8.0], [2.0, 2.0, 2.0], goal=3.5)
    assert (found.value, found.low, found.high, found.verdict) == (3, 2, 4, "fail")
    report = Report([found, Result("s", "small", 0.5, 1, at_most=True), Result("s", "known", 7.0)])
    assert [result.verdict for result in report.results] == ["fail", "pass", "–"]
    assert report.table().loc[("s", "faster"), "goal"] == "at least 3.5"
    report.curves["batch"] = [{"x": 2, "form": "usual", "seconds": 0.1, "MiB": 0.0}]
    save(report, tmp_path / "bench.json")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["results"][0]["verdict"] == "fail" and content["machine"]["cores"] >= 1
    assert len(scaling_curves(report.curves).axes) == 2
