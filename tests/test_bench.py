"""The benchmark compares like with like; how fast things are is for `make bench`, not for tests."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import cases, said, sections, whole
from benchmarks.measure import Report, Result, ratio, save, take_turns, worker
from benchmarks.pictures import scaling_curves
from benchmarks.usual_forms import (
    PILImages,
    mdistiller_relations,
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
from ctsl_lib.training.recipe import Recipe

ROOT = Path(__file__).parent.parent


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
        expected = FULL(outputs, labels, [copy(images) for copy in frozen])
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


SHORT = whole.Setting("tiny_cnn", 0, Recipe(epochs=1))


@pytest.mark.parametrize("form", ["kernel", "mdistiller", "torchdistill"])
def test_all_forms_do_the_same_training(form: str) -> None:
    if form == "torchdistill":
        pytest.importorskip("torchdistill", reason="needs the extra `bench`")
    found = whole.difference(SHORT, form)
    assert found.loss < 1e-6 and found.gradient < 1e-6


def test_a_form_that_does_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(first: torch.Tensor, second: torch.Tensor, distance: float, angle: float) -> torch.Tensor:
        return mdistiller_relations(first, second, distance, 2 * angle)

    monkeypatch.setitem(whole.RELATIONS, "twice", twice)
    found = whole.difference(SHORT, "twice")
    assert found.loss > 1e-3 and found.gradient > 1e-3


@pytest.mark.parametrize("setting", [SHORT, whole.images("resnet8", 130)], ids=["one channel", "three"])
def test_the_data_loader_gives_the_same_images_and_accuracies(setting: whole.Setting) -> None:
    data = setting.data()
    usual = PILImages(data.train.images, data.train.labels, padding=0, mirror=False, **whole._statistics(data))
    found = torch.stack([usual[number][0] for number in range(5)])
    assert torch.allclose(found, data.normalise(data.train.images[:5]), atol=1e-5)
    augmented, labels = next(iter(whole._loader_batches(data, setting.recipe)(0)))
    assert augmented.shape == (setting.recipe.batch_size, *data.train.images.shape[1:])
    assert len(labels) == setting.recipe.batch_size
    peers = setting.peers(data, torch.contiguous_format)
    assert whole._loader_accuracies(data, peers) == pytest.approx(whole._kit_accuracies(data, peers))


@pytest.mark.slow
def test_a_training_has_a_section_of_results() -> None:
    report = Report()
    sections.trainings(report, "short", whole.Setting("tiny_cnn", 0, Recipe(epochs=1)), rounds=1)
    names = [result.what for result in report.results]
    assert "short: mdistiller, DataLoader" in names and "short: the kernel alone" in names
    errors = [result for result in report.results if result.at_most]
    assert len(errors) >= 4 and all(result.verdict == "pass" for result in errors)
    assert all(result.value > 0 for result in report.results if result.unit)


def one_line(path: str) -> str:
    return " ".join((ROOT / path).read_text(encoding="utf-8").split())


def test_readme_and_guide_say_what_was_measured() -> None:
    found = said.results(ROOT / said.REFERENCE)
    assert said.sentence(found) in one_line("README.md")
    for line in said.rows(found):
        assert line in (ROOT / "docs/speed.md").read_text(encoding="utf-8")


TABLE = {
    "two functions, B 128, D 512": 0, "two functions, B 256, D 512": 0, "combined, B 128, D 512": 0,
    "combined, B 256, D 512": 0, "combined, compiled, B 256, D 512": 2, "torchdistill RKDLoss, B 128, D 512": 0,
    "pair of resnet20, fp32": 2, "pair of resnet20, bf16": 2, "pair of mobilenetv2, fp32": 2,
    "pair of mobilenetv2, bf16": 2, "images a second": 0, "quick profile": 2,
}  # fmt: skip
"""Ratios of docs/speed.md's table of parts, and the digits that they are given with."""


@pytest.mark.parametrize("what", TABLE)
def test_the_guide_has_the_ratios_of_the_parts(what: str) -> None:
    content = json.loads((ROOT / "data/reference/bench/bench.json").read_text())
    result = next(result for result in content["results"] if result["what"] == what)
    value, low, high = (f"{result[name]:.{TABLE[what]}f}" for name in ("value", "low", "high"))
    assert f"{value}× ({low}–{high})" in one_line("docs/speed.md")
