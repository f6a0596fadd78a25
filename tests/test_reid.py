"""Re-identification through the whole kit: data, judgement, runs, resume, tables, claims, the command."""

import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from ctsl_lib.data import reid
from ctsl_lib.data.market1501 import PLACES
from ctsl_lib.data.specs import Market1501, SyntheticMarket
from ctsl_lib.data.synthetic_market import write_synthetic_market
from ctsl_lib.data.types import Dataset, RetrievalSplit
from ctsl_lib.errors import DataError, NonFiniteLossError
from ctsl_lib.evidence.claims import NOT_TESTED, judge
from ctsl_lib.evidence.tables import EACH_PEER, measurements, readable, summary
from ctsl_lib.experiments.plan import Plan, plan_from
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import Objective
from ctsl_lib.metrics.evaluation import evaluate, predict, scores
from ctsl_lib.metrics.retrieval import Labelled, retrieval_metrics
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:.*not quite Market-1501")
TINY = SyntheticMarket(identities=12, cameras=3, images_per_camera=2, distractors=4, height=32, width=16)
RECIPE = Recipe(epochs=2, batch_size=12, padding=2, mirror=True)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path_factory.getbasetemp() / "reid-cache"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a small set in Market-1501's layout and place: 6 persons train, 6 are searched for."""
    monkeypatch.setenv("CTSL_DATA", str(tmp_path))
    write_synthetic_market(tmp_path / PLACES[0], identities=12, cameras=3, images_per_camera=2)
    return tmp_path


def persons(split: RetrievalSplit) -> set[int]:
    return set(split.query.identity.tolist()) | set(split.gallery.identity.tolist()) - {0}


# --- data --------------------------------------------------------------------------------------------------


def test_synthetic_set() -> None:
    data = TINY.load(seed=0)
    assert len(data.train) == 6 * 3 * 2 and data.num_classes == 6 and data.train.images.shape[1:] == (3, 32, 16)
    assert data.train.labels.unique().tolist() == list(range(6)) and data.class_names[0] == "0001"
    assert isinstance(data.test, RetrievalSplit) and len(data.test) == 6 * 3
    assert len(data.test.gallery) == 6 * 3 + 4 and persons(data.test) == set(range(7, 13))
    values = data.train.images.float()
    assert data.mean == pytest.approx(values.mean(dim=(0, 2, 3)).tolist())
    assert data.std == pytest.approx(values.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-4)


def test_label_noise_gives_training_pictures_other_persons_and_leaves_searches_alone() -> None:
    clean, noisy = TINY.load(3), TINY.model_copy(update={"label_noise": 0.5}).load(3)
    assert torch.equal(noisy.train.true_labels, clean.train.labels)
    wrong = noisy.train.labels != noisy.train.true_labels
    assert 0 < wrong.sum() <= 18 and noisy.train.labels.max() < 6  # half of 36 are redrawn, a few stay right
    assert isinstance(clean.test, RetrievalSplit) and isinstance(noisy.test, RetrievalSplit)
    assert torch.equal(noisy.test.query.identity, clean.test.query.identity)
    assert TINY.digest() == TINY.model_copy(update={"label_noise": 0.5}).digest()  # the pictures are the same


def test_nobody_both_trains_and_validates() -> None:
    chosen = set()
    for seed in range(4):
        data = TINY.model_copy(update={"n_validation": 2}).load(seed)
        assert isinstance(data.validation, RetrievalSplit)
        held, trained = persons(data.validation), {int(name) for name in data.class_names}
        assert len(held) == 2 and len(trained) == 4 and held | trained == set(range(1, 7)) and not held & trained
        # One query for each person and camera, all else is searched.
        query = data.validation.query
        assert len(set(zip(query.identity.tolist(), query.camera.tolist(), strict=True))) == len(query) == 2 * 3
        assert len(data.validation.gallery) == 2 * 3
        test = TINY.load(seed=0).test
        assert isinstance(data.test, RetrievalSplit) and isinstance(test, RetrievalSplit)
        assert torch.equal(data.test.query.images, test.query.images)  # the same for every seed
        chosen.add(tuple(sorted(held)))
    assert len(chosen) > 1
    with pytest.raises(DataError, match="n_validation must leave 2 or more of the 6 training persons, got 5"):
        TINY.model_copy(update={"n_validation": 5}).load(0)


@pytest.mark.parametrize("camera", [[1, 2, 3, 4], [1, 1, 1, 1]])
def test_persons_whom_nobody_can_find_are_told(camera: list[int]) -> None:
    images = torch.zeros(4, 3, 8, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match="none of the 2 persons for validation can be searched for"):
        reid._searches(images, torch.tensor([7, 7, 8, 8]), torch.tensor(camera), torch.tensor([7, 8]), "cosine")
    found = reid._searches(
        images, torch.tensor([7, 7, 7, 8]), torch.tensor([1, 1, 2, 1]), torch.tensor([7, 8]), "cosine"
    )
    assert found.query.identity.tolist() == [7, 7, 8] and found.gallery.identity.tolist() == [7]


def test_labels_follow_the_persons() -> None:
    whole, part = TINY.load(0), TINY.model_copy(update={"n_validation": 2}).load(0)
    for label, name in enumerate(part.class_names):
        there = whole.train.images[whole.train.labels == whole.class_names.index(name)]
        assert torch.equal(part.train.images[part.train.labels == label], there)


def test_market_1501_from_the_data_folder(root: Path) -> None:
    spec = Market1501(height=32, width=16)
    with pytest.warns(
        UserWarning, match="not quite Market-1501 as published: training images: 36, published 12,936"
    ):
        data = spec.load(0)
    assert data.train.images.shape == (36, 3, 32, 16) and len(data.test) == 18
    assert "query identities: 6, published 750" in spec.deviations()
    assert Market1501().load(0).train.images.shape[2:] == (256, 128)
    few = Market1501(height=32, width=16, identities=3).load(0)
    assert few.num_classes == 3 and len(few.train) == 18
    shutil.move(root / PLACES[0], root / "mine")
    with pytest.raises(DataError, match="given out by its authors"):
        spec.load(0)
    shutil.make_archive(str(root / "mine"), "zip", root / "mine")
    for path in ("mine", "mine.zip"):
        again = Market1501(height=32, width=16, path=path).load(0)
        assert torch.equal(again.train.images, data.train.images)
    with pytest.raises(DataError, match=r"path must be a folder or zip in Market-1501's layout; .*nowhere"):
        Market1501(path="nowhere").load(0)


def test_pictures_are_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(reid, "read_market", lambda *args: (reads.append(args), real(*args))[1])
    spec = Market1501(height=32, width=16)
    first = spec.load(0)
    assert torch.equal(spec.load(1).train.images, first.train.images) and len(reads) == 1
    next((root / PLACES[0] / "query").iterdir()).unlink()
    assert len(spec.load(0).test) == len(first.test) - 1 and len(reads) == 2


real = reid.read_market


# --- judgement ---------------------------------------------------------------------------------------------


def test_peers_are_judged_by_their_embeddings() -> None:
    data = TINY.load(0)
    assert isinstance(data.test, RetrievalSplit)
    peers = [build_peer("tiny_reid", 3, data.num_classes, seed=k) for k in range(2)]
    found = evaluate(peers, data.test, data)
    assert set(found) == {"mAP", "rank1", "rank5", "rank10"} and scores(peers, data.test, data) == found["mAP"]
    for k, peer in enumerate(peers):
        sides = [
            Labelled(predict(peer, side.images, data).embedding, side.identity, side.camera)
            for side in (data.test.query, data.test.gallery)
        ]
        assert {name: values[k] for name, values in found.items()}.items() <= retrieval_metrics(*sides).items()
    euclidean = TINY.model_copy(update={"distance": "euclidean"}).load(0)
    assert evaluate(peers, euclidean.test, euclidean) != found


def test_pictures_of_any_size_are_asked_in_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    data, sizes = TINY.load(0), []
    peer = build_peer("tiny_reid", 3, data.num_classes, seed=0)
    whole = predict(peer, data.train.images, data)
    peer.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr("ctsl_lib.metrics.evaluation.EVALUATION_PIXELS", 10 * 32 * 16)
    parts = predict(peer, data.train.images, data)
    assert sizes == [10, 10, 10, 6] and torch.allclose(parts.embedding, whole.embedding, atol=1e-5)


# --- runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("peers", [("tiny_reid", "tiny_reid"), ("tiny_reid", "tiny_resnet")])
def test_every_method_runs_in_both_stages(method: str, peers: tuple[str, ...], store: Store) -> None:
    record = run(Spec(data=TINY, peers=peers, objective=METHODS[method], recipe=RECIPE), store)
    assert set(record.metrics) == {"mAP", "rank1", "rank5", "rank10"}
    assert [curve[-1] for curve in record.history.accuracy] == record.metrics["mAP"]
    assert (store.load(record.spec.stage1()) is not None) == (method in ("tfkd", "ctsl_mkt"))
    assert run(record.spec, store) == record and store.load(record.spec) == record


@pytest.mark.slow
def test_persons_are_found_better_after_training(store: Store) -> None:
    spec = Spec(data=SyntheticMarket(height=32, width=16), peers=("tiny_reid",), recipe=RECIPE)
    longer = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 8})})
    assert run(longer, store).metrics["mAP"][0] > run(spec, store).metrics["mAP"][0] + 5


@pytest.mark.parametrize("batch_size", [12, 24])
def test_embeddings_that_are_not_finite_are_a_failed_run(store: Store, batch_size: int) -> None:
    recipe = RECIPE.model_copy(update={"learning_rate": 1e38, "batch_size": batch_size, "padding": 0})
    spec = Spec(data=TINY, peers=("tiny_reid",), recipe=recipe)
    with pytest.raises(NonFiniteLossError, match="not finite"):
        run(spec, store)
    assert store.path(spec).with_suffix(".failed").exists()


def test_settings_are_chosen_on_persons_set_apart(store: Store) -> None:
    data = TINY.model_copy(update={"n_validation": 2})
    spec = Spec(data=data, peers=("tiny_reid",), recipe=RECIPE, evaluate_on="validation")
    record = run(spec, store, keep_weights=True)
    loaded = data.load(0)
    expected = evaluate(store.load_peers(spec), loaded.validation, loaded)
    assert record.metrics == expected and record.history.accuracy[0][-1] == expected["mAP"][0]
    with pytest.raises(ValueError, match="evaluate_on is 'validation', but synthetic_market has no such images"):
        run(Spec(data=TINY, peers=("tiny_reid",), recipe=RECIPE, evaluate_on="validation"), store)


@pytest.mark.parametrize("optimizer", ["sgd", "amsgrad"])
def test_a_stopped_run_goes_on_bit_for_bit(
    optimizer: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_CHECKPOINT", "0")
    changes = {"optimizer": optimizer, "images_per_class": 3, "erasing": 0.5, "learning_rate": 0.01, "epochs": 4}
    recipe = Recipe.model_validate(RECIPE.model_dump() | changes)
    spec = Spec(data=TINY, peers=("tiny_reid",), objective=Objective(triplet=1), recipe=recipe)
    whole, stopped = run(spec, Store(tmp_path / "whole"), keep_weights=True), store.checkpoint(spec)

    def stop_after_two(state: dict, done: int, epochs: int) -> None:
        type(stopped).end_of_epoch(stopped, state, done, epochs)
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(stopped, "end_of_epoch", stop_after_two)
    monkeypatch.setattr(store, "checkpoint", lambda _: stopped)
    with pytest.raises(KeyboardInterrupt):
        run(spec, store)
    fresh = Store(store.root)
    assert fresh.checkpoint(spec).path.exists()
    again = run(spec, fresh, keep_weights=True)
    assert again.history == whole.history and again.metrics == whole.metrics


def test_pre_training_learns_from_the_labels_in_every_way() -> None:
    full = METHODS["ctsl_mkt"].model_copy(update={"triplet": 1.0, "margin": 0.5})
    spec = Spec(data=TINY, peers=("tiny_reid",), objective=full)
    assert spec.stage1().objective == Objective(triplet=1.0, margin=0.5)
    # Without the term its margin is no setting: all methods share one stage 1.
    assert spec.model_copy(update={"objective": METHODS["ctsl_mkt"]}).stage1().objective == Objective()


def test_keys_tell_sets_and_settings_apart() -> None:
    specs = [
        Spec(data=TINY, peers=("tiny_reid",)),
        Spec(data=SyntheticMarket(), peers=("tiny_reid",)),
        Spec(data=Market1501(), peers=("tiny_reid",)),
        Spec(data=Market1501(distance="euclidean"), peers=("tiny_reid",)),
        Spec(data=Market1501(), peers=("tiny_reid",), initial="imagenet"),
        Spec(data=Market1501(), peers=("tiny_reid",), recipe=Recipe(images_per_class=4)),
    ]
    assert len({spec.key for spec in specs}) == len(specs)
    for spec in specs:
        assert Spec.model_validate_json(spec.model_dump_json()) == spec


# --- tables, claims, the command -----------------------------------------------------------------------------

VALUES = {
    "pairs": [["tiny_reid", "tiny_resnet"]],
    "methods": ["independent", "dml"],
    "seeds": 2,
    "height": 32,
    "width": 16,
    "weights": {"response": 1},
    "epochs": 1,
    "batch_size": 12,
    "learning_rate": 0.05,
    "weight_decay": 5e-4,
    "schedule": "one_cycle",
    "padding": 1,
    "mirror": True,
}


def test_plan_and_table(store: Store) -> None:
    plan = plan_from(VALUES | {"identities": 12}, "synthetic_market")
    assert isinstance(plan.data, SyntheticMarket) and plan.data.identities == 12 and plan.data.height == 32
    plan.train(store, processes=1)
    table = summary(measurements(plan, store), "mAP", by=EACH_PEER, also=["rank1"])
    records = plan.records(store)[plan.pairs[0], "dml"]
    row = table.loc[("tiny_reid + tiny_resnet", 2, "tiny_resnet", "dml")]
    for column, metric in (("mean", "mAP"), ("rank1", "rank1")):
        assert row[column] == pytest.approx(sum(record.metrics[metric][1] for record in records) / 2)
    shown = readable(table, "mAP, last epoch (%)")
    assert {"mAP, last epoch (%)", "rank-1 (%)"} <= set(shown.columns)


@pytest.mark.parametrize(
    ("change", "dataset", "message"),
    [
        ({"n_train": 20}, "market1501", "market1501 has no setting for n_train = 20"),
        ({"n_train": 50}, "synthetic_market", "synthetic_market has no setting for n_train = 50"),
        ({}, "cifar10", "cifar10 has no setting for height = 32, width = 16"),
    ],
)
def test_settings_of_other_data_are_named(change: dict, dataset: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_from(VALUES | change, dataset).specs()


def test_identity_sampling_needs_whole_groups() -> None:
    with pytest.raises(ValidationError, match="batch_size must be a multiple of images_per_class, got 12 and 5"):
        Recipe(batch_size=12, images_per_class=5)


def test_claim_c6_is_judged_by_map(root: Path, store: Store) -> None:
    values = VALUES | {"methods": ["independent", "dml", "rkd", "tfkd", "ctsl_mkt"]}
    values["weights"] = {"response": 1, "distance": 1, "angle": 1, "self": 1}
    plan: Plan = plan_from(values, "market1501")
    plan.train(store, processes=1)
    found = {claim.name: claim for claim in judge({"market1501": plan.records(store)})}
    assert len(found["C6"].comparisons) == 3
    for comparison, other in zip(found["C6"].comparisons, ("dml", "rkd", "tfkd"), strict=True):
        ours, theirs = (
            [sum(record.metrics["mAP"]) / 2 for record in plan.records(store)[plan.pairs[0], method]]
            for method in ("ctsl_mkt", other)
        )
        assert comparison.effect is not None and comparison.verdict != NOT_TESTED
        assert comparison.effect.mean == pytest.approx((sum(ours) - sum(theirs)) / 2)


def test_a_data_set_moves_whole() -> None:
    data = TINY.load(0)
    moved = data.to("cpu")
    assert isinstance(moved, Dataset) and isinstance(moved.test, RetrievalSplit)
    assert moved.test.distance == "cosine" and torch.equal(moved.test.gallery.images, data.test.gallery.images)
