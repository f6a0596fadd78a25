"""Plans and their tables, from real short runs."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ctsl_lib.cli.notebooks import NOTEBOOKS, profile_for
from ctsl_lib.cli.status import BARE, KEPT, lines, state_of
from ctsl_lib.data.specs import Images
from ctsl_lib.evidence.published import PUBLISHED, published_values
from ctsl_lib.evidence.tables import EACH_PEER, export, frame_of, measurements, readable, summary
from ctsl_lib.experiments.plan import LONGER, WARM, Plan, plan_from
from ctsl_lib.experiments.profiles import load_profile
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.sharing import claimed
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.experiments.workers import Here
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.metrics import COLUMNS
from ctsl_lib.models.registry import network_names
from ctsl_lib.models.reid import IMAGENET
from ctsl_lib.training.recipe import learning_rate_factor
from tests.notebook_code import parameters_of

VALUES = {
    "pairs": [["tiny_cnn", "tiny_resnet"]],
    "methods": ["independent", "independent_2x", "dml", "tfkd", "label_smoothing", "kd"],
    "teacher": "tiny_cnn",
    "seeds": 2,
    "weights": {"response": 1, "distance": 2.5, "angle": 5, "self": 1, "temperature": 2},
    "n_train": 60,
    "epochs": 2,
    "batch_size": 30,
    "learning_rate": 0.05,
    "weight_decay": 5e-4,
    "schedule": "one_cycle",
    "padding": 1,
    "mirror": False,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    plan, store = plan_from(VALUES, "digits"), Store(tmp_path_factory.mktemp("records"))
    plan.train(store, processes=1)
    return plan, store


class Recorder(Here):
    """Has room for everything, and keeps the specs in the order in which they came."""

    processes = 1000

    def __init__(self) -> None:
        self.specs: list[Spec] = []

    def submit(self, fn, /, spec, *rest, **named):  # type: ignore[no-untyped-def]
        self.specs.append(spec)
        return super().submit(fn, spec, *rest, **named)


@pytest.mark.slow
def test_a_cluster_gets_the_runs_of_all_pairs_at_once(tmp_path: Path) -> None:
    small = {"pairs": [["tiny_cnn"] * 2, ["pocket_cnn"] * 2], "methods": ["independent", "tfkd"], "epochs": 1}
    plan, recorder = plan_from(VALUES | small, "digits"), Recorder()
    plan.train(Store(tmp_path), executor=recorder)
    found = [(spec.peers[0], spec.seed, spec.stage) for spec in recorder.specs]
    blocks = [(network, seed) for network in ("tiny_cnn", "pocket_cnn") for seed in (0, 1)]
    assert found[:8] == [(*block, stage) for block in blocks for stage in (1, 2)]  # these wait for nothing
    assert found[8:] == [(*block, 2) for block in blocks]
    assert all(spec.objective.learns_from_frozen for spec in recorder.specs[8:])


def test_table_holds_means_of_the_records(trained: tuple[Plan, Store]) -> None:
    plan, store = trained
    frame = measurements(plan, store)
    assert len(frame) == 6 * 2 * 2
    assert tuple(frame)[: len(COLUMNS)] == COLUMNS and {"top1", "top5", "ece", "agreement"} <= set(frame)
    table = summary(frame, by=EACH_PEER)
    assert list(table.index.get_level_values("method")) == list(plan.methods) * 2
    records = plan.records(store)[plan.pairs[0], "dml"]
    baseline = plan.records(store)[plan.pairs[0], "independent"]
    row = table.loc[("tiny_cnn + tiny_resnet", 2, "tiny_resnet", "dml")]
    last = [record.metrics["top1"][1] for record in records]
    assert row["mean"] == pytest.approx(np.mean(last)) and row["n"] == 2
    assert row["difference"] == pytest.approx(np.mean(last) - np.mean([r.metrics["top1"][1] for r in baseline]))
    assert row["best"] >= row["mean"] and row["parameters"] == 36_594
    trained_for = table["epochs"].groupby("method").unique()
    assert {name: list(epochs) for name, epochs in trained_for.items()} == {
        "independent": [2], "independent_2x": [4], "dml": [2], "tfkd": [4], "label_smoothing": [2], "kd": [4],
    }  # fmt: skip


def test_records_give_one_frame_whichever_way_they_are_named(trained: tuple[Plan, Store]) -> None:
    plan, store = trained
    by_plan = measurements(plan, store)
    names = {name: row for name, row in plan.objectives.items() if name != LONGER}  # the same row of weights
    records = [record for (_, name), runs in plan.records(store).items() if name in names for record in runs]
    named = frame_of(records, names, store)
    same = by_plan[by_plan["method"] != LONGER].reset_index(drop=True)
    pd.testing.assert_frame_equal(named, same)


def test_longer_training_is_independent_training_of_twice_the_epochs() -> None:
    plan = plan_from(VALUES, "digits")
    specs = plan.specs()
    plain, longer = (specs[plan.pairs[0], name][1] for name in ("independent", LONGER))
    assert longer.recipe.epochs == 2 * plain.recipe.epochs and longer.key != plain.key
    assert longer.model_copy(update={"recipe": plain.recipe}) == plain


def test_a_warm_start_is_the_full_method_from_the_first_stage() -> None:
    plan = plan_from(VALUES | {"methods": ["ctsl_mkt", WARM]}, "digits")
    specs = plan.specs()
    full, warm = (specs[plan.pairs[0], name][1] for name in ("ctsl_mkt", WARM))
    assert warm.objective.start == "pretrained" and warm.stage1() == full.stage1()
    assert warm.model_copy(update={"objective": full.objective}) == full


def test_a_plan_goes_pair_by_pair_and_seed_by_seed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    values = VALUES | {"pairs": [["tiny_resnet", "tiny_resnet"], ["tiny_cnn", "tiny_cnn"]], "epochs": 1}
    plan = plan_from(values | {"methods": ["independent", "dml"]}, "digits")
    saved: list[Spec] = []
    original = Store.save

    def noted(self: Store, record: Record, *others: object) -> None:
        saved.append(record.spec)
        original(self, record, *others)

    monkeypatch.setattr(Store, "save", noted)
    plan.train(store, processes=1)
    assert [(spec.peers[0], spec.seed) for spec in saved] == [
        (name, seed) for name in ("tiny_resnet", "tiny_cnn") for seed in (0, 1) for _ in range(2)
    ]


def test_stage_1_counts_as_cost(trained: tuple[Plan, Store]) -> None:
    plan, store = trained
    frame = measurements(plan, store)
    [record, _] = plan.records(store)[plan.pairs[0], "tfkd"]
    first = store.load(record.spec.stage1())
    assert first is not None
    seconds = frame[(frame["key"] == record.spec.key)]["seconds"].iloc[0]
    assert seconds == pytest.approx(record.provenance.wall_time + first.provenance.wall_time)


def test_readable_export_and_published(trained: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = trained
    table = summary(measurements(plan, store), by=EACH_PEER)
    row = {"dataset": "digits", "network": "tiny_cnn", "method": "dml", "value": 91.5, "metric": "top1",
           "recipe": "theirs", "source": "table 3"}  # fmt: skip
    pd.DataFrame([row]).to_csv(tmp_path / "paper.csv", index=False)
    shown = readable(table, published=published_values("digits", "paper", tmp_path))
    assert shown.loc[("tiny_cnn + tiny_resnet", 1, "tiny_cnn", "DML"), "paper (%)"] == "91.5"
    assert shown.loc[("tiny_cnn + tiny_resnet", 2, "tiny_resnet", "DML"), "paper (%)"] == "–"
    nothing = published_values("digits", "paper", tmp_path / "nowhere")
    assert "paper (%)" not in readable(table, published=nothing)  # no column of dashes
    csv, latex = export(table, shown, tmp_path / "out", "digits")
    assert pd.read_csv(csv)["mean"].tolist() == pytest.approx(table["mean"].tolist(), abs=1e-4)
    assert latex.read_text().startswith("\\begin{tabular}") and "±" in latex.read_text()


def test_a_published_value_needs_a_source(tmp_path: Path) -> None:
    (tmp_path / "paper.csv").write_text(",".join(PUBLISHED) + "\ncifar100,resnet18,ctsl_mkt,80,top1,,\n")
    missing = "each row must have a number as its value and a source, unlike that of .*, network resnet18"
    with pytest.raises(ValueError, match=missing):
        published_values("cifar100", "paper", tmp_path)
    (tmp_path / "paper.csv").write_text(
        ",".join(PUBLISHED) + "\ncifar100,resnet18,ctsl_mkt,70.1 %,top1,,Tab. 2\n"
    )
    with pytest.raises(ValueError, match=f"{missing}, method ctsl_mkt, value 70.1 %"):
        published_values("cifar100", "paper", tmp_path)
    assert published_values("cifar100", "paper", tmp_path / "nowhere").empty
    assert published_values("cifar100", "paper").empty


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "tiny_imagenet", "market1501"])
def test_values_of_others_are_of_our_networks(dataset: str) -> None:
    values = published_values(dataset)
    assert len(values) and set(values["network"]) <= set(network_names()) and not values.duplicated().any()
    assert set(values["metric"]) == ({"mAP", "rank1"} if dataset == "market1501" else {"top1"})
    assert values["value"].between(30, 100).all()
    assert not values.isna().any(axis=None) and values["source"].str.contains("github.com/|arXiv|NeurIPS").all()


def test_what_has_no_record_has_no_row(store: Store) -> None:
    plan = plan_from(VALUES, "digits")
    assert readable(summary(measurements(plan, store), by=EACH_PEER)).empty


def test_states(store: Store) -> None:
    spec = plan_from(VALUES, "digits").specs()[("tiny_cnn", "tiny_resnet"), "dml"][0]
    assert state_of(spec, store) == "missing"
    checkpoint = store.checkpoint(spec)
    with claimed(checkpoint, 2):
        checkpoint.note(1, 2)
        assert state_of(spec, store) == "running: epoch 1 of 2"
    note = json.loads(checkpoint.note_path.read_text())
    checkpoint.note_path.write_text(json.dumps(note | {"pid": 2**22 + 1}))
    assert state_of(spec, store) == "stopped after epoch 1 of 2"
    run(spec, store)
    assert state_of(spec, store) == "done" and not checkpoint.note_path.exists()


def test_a_first_stage_without_its_networks_is_left_where_a_run_needs_them(store: Store) -> None:
    plan = plan_from(VALUES | {"methods": ["tfkd"], "epochs": 1}, "digits")
    [(_, first), (_, other), (_, done), (_, lacking)] = plan.runs()
    for spec in (first, other, done):
        run(spec, store)
    recent = list(store)

    def summed_up() -> str:
        return lines(plan, store, recent, each=False)[0]

    assert [line.split("  ")[-1] for line in lines(plan, store, recent, each=True)[:-1]] == [
        KEPT,
        KEPT,
        "done",
        "missing",
    ]
    assert summed_up().startswith("digits: 3 done, 1 missing; left: ")
    for spec in (first, other):  # as in a clone, which has no networks
        store.weights_path(spec).unlink()
    assert state_of(first, store) == state_of(other, store) == "done"
    assert state_of(other, store, networks=True) == BARE
    states = [line.split("  ")[-1] for line in lines(plan, store, recent, each=True)[:-1]]
    assert states == ["done", BARE, "done", "missing"]  # nothing that is missing learns from the first one
    assert summed_up().startswith("digits: 2 done, 1 done without networks, 1 missing; left: ")
    assert "2 runs of unknown cost" in lines(plan, store, [], each=False)[0]
    run(lacking, store)
    assert summed_up() == "digits: 4 done" and store.weights_path(other).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": [["resnet5000", "resnet8"]]}, "network must be one of .*got 'resnet5000'"),
        ({"pairs": []}, "pairs"),
        ({"pairs": [["resnet8"], []]}, r"pairs\.1\n"),
        ({"methods": []}, "methods"),
        ({"methods": ["dml", "rkd", "dml"]}, "methods must name each once; got 'dml' 2 times"),
        (
            {"pairs": [["resnet8", "resnet8"]] * 2},
            r"pairs must name each once; got \('resnet8', 'resnet8'\) 2 times",
        ),
        ({"seeds": 0}, "seeds"),
        ({"schedule": "linear"}, "schedule"),
    ],
)
def test_wrong_plans_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        plan_from(VALUES | change, "cifar100")


def test_unknown_methods_and_weights_are_named() -> None:
    with pytest.raises(ValueError, match=r"methods must be among independent, .*got 'magic'"):
        plan_from(VALUES | {"methods": ["magic"]}, "digits").specs()
    with pytest.raises(ValidationError, match="weight"):
        plan_from(VALUES | {"weights": {"weight": 1}}, "digits").specs()


@pytest.mark.parametrize(
    ("weights", "method", "missing"),
    [
        ({"response": 2}, "rkd", "distance or angle"),
        ({"response": 2}, "tfkd", "self"),
        ({"response": 2}, "ctsl_mkt", "distance or angle"),
        ({"self": 1, "angle": 1}, "dml", "response"),
        ({"self": 1, "angle": 1}, WARM, "response"),
        ({"response": 2, "distance": 1}, "MLI+SLI", "self"),
        ({}, "dml", "response"),
    ],
)
def test_a_method_without_its_own_terms_is_named(weights: dict[str, float], method: str, missing: str) -> None:
    change = {"weights": weights, "methods": ["independent", method]}
    with pytest.raises(ValidationError, match=re.escape(f"{method} needs {missing} above 0 in weights")):
        plan_from(VALUES | change, "digits")


def test_a_method_needs_one_term_of_each_of_its_kinds() -> None:
    names = ["independent", LONGER, "kd", "label_smoothing", "none", "rkd", "MLR"]
    plan = plan_from(VALUES | {"weights": {"angle": 1}, "methods": names}, "digits")
    assert plan.objectives["rkd"].active == {"ce": 1, "angle": 1}
    mine = {"rows": {"dml": {"ce": 1}}, "methods": ["dml"], "weights": {}}  # a row of one's own may be anything
    assert plan_from(VALUES | mine, "digits").objectives["dml"].active == {"ce": 1}


def test_the_table_notebook_shows_the_digits() -> None:
    declared = parameters_of(NOTEBOOKS / "10_tables.ipynb")
    profile = load_profile("digits")
    assert declared.pop("run_missing") is False and profile.pop("run_missing") is True
    assert profile.items() <= declared.items()
    assert plan_from(declared, "digits").specs() == plan_from(profile, "digits").specs()
    spec, [equal, _] = Spec(), plan_from(profile, "digits").pairs
    plan = plan_from(profile, "digits")
    assert plan.base(equal).model_copy(update={"objective": METHODS["ctsl_mkt"]}) == spec.model_copy(
        update={"objective": plan.objectives["ctsl_mkt"]}
    )  # the same runs as those of the course's notebooks


def test_a_profile_is_that_of_the_data_set_or_a_file_of_ones_own(tmp_path: Path) -> None:
    for dataset, name in (("digits", "digits"), ("cifar100", "overnight"), ("my_images", "small")):
        assert load_profile(None, dataset=dataset) == load_profile(name, dataset=dataset)
    assert load_profile(None, dataset="synthetic_market") == load_profile("small", dataset="market1501")
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\npairs: [[tiny_cnn]]\n", encoding="utf-8")
    assert load_profile(str(path), dataset="digits") == {"epochs": 3, "pairs": [["tiny_cnn"]]}
    with pytest.raises(ValueError, match=r"the profile .*nowhere\.yaml cannot be read: No such file"):
        load_profile(str(tmp_path / "nowhere.yaml"))


def test_the_profile_of_a_teacher_is_the_recipe_of_repdistiller() -> None:
    plan = plan_from(load_profile("teacher"), "cifar100")
    assert {spec.peers for _, spec in plan.runs()} == {("resnet56",), ("resnet20",)}
    recipe, epochs = plan.recipe, (149.5, 150.5, 180.5, 210.5)
    rates = [recipe.learning_rate * learning_rate_factor(recipe, epoch / recipe.epochs) for epoch in epochs]
    assert rates == pytest.approx([0.05, 0.005, 0.0005, 0.00005])
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (240, 64, 5e-4)


@pytest.mark.parametrize(
    ("notebook", "dataset", "name"),
    [
        *(("10_tables", "cifar100", name) for name in ("small", "overnight", "short", "paper", "teacher")),
        *(("13_person_reid", "market1501", name) for name in ("small", "short", "paper")),
    ],
)
def test_a_notebook_shows_the_table_that_the_command_trains(notebook: str, dataset: str, name: str) -> None:
    path = NOTEBOOKS / f"{notebook}.ipynb"
    values = parameters_of(path) | profile_for(path, name, dataset=dataset) | {"dataset": dataset}
    trained = plan_from(load_profile(name, dataset=dataset), dataset)
    assert plan_from(values, dataset).specs() == trained.specs()


@pytest.mark.parametrize(
    ("notebook", "dataset", "name", "lost"),
    [
        ("10_tables", "market1501", "paper", "height, width, initial, images_per_class, optimizer, erasing"),
        ("10_tables", "synthetic_market", "small", "height, width, images_per_class, erasing"),
        ("13_person_reid", "market1501", "teacher", "n_train, teacher, compile"),
    ],
)
def test_a_notebook_drops_no_setting_of_its_table(notebook: str, dataset: str, name: str, lost: str) -> None:
    with pytest.raises(
        ValueError, match=f"{notebook}.ipynb has no parameter for {lost}, which the profile '{name}'"
    ):
        profile_for(NOTEBOOKS / f"{notebook}.ipynb", name, dataset=dataset)


def test_an_empty_table_is_not_written_over_another() -> None:
    for name in ("10_tables", "13_person_reid"):
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        [source] = [cell.source for cell in cells if cell.cell_type == "code" and "= export(" in cell.source]
        exec(source, {"table": pd.DataFrame()})  # else it would miss `export`


@pytest.mark.parametrize("dataset", ["cifar10", "tiny_imagenet", "market1501"])
def test_the_short_profile_is_the_paper_profile_in_fewer_epochs(dataset: str) -> None:
    [notebook] = NOTEBOOKS.glob("13_*.ipynb" if dataset == "market1501" else "10_*.ipynb")
    paper, short = (load_profile(name, dataset=dataset) for name in ("paper", "short"))
    assert set(paper) | set(short) <= set(parameters_of(notebook))
    may_differ = ("pairs", "epochs", "precision", "compile", "evaluate_every")
    assert all(paper[name] == short[name] for name in paper if name not in may_differ)
    plans = [plan_from(profile, dataset) for profile in (paper, short)]
    recipes = [plan.base(plan.pairs[0]).recipe for plan in plans]
    assert recipes[1].epochs * 2 < recipes[0].epochs
    for share in (0.2, 0.32, 0.65, 0.9):
        assert learning_rate_factor(recipes[0], share) == learning_rate_factor(recipes[1], share)


def test_the_notebook_of_re_identification_shows_the_small_profile() -> None:
    declared = parameters_of(NOTEBOOKS / "13_person_reid.ipynb")
    profile = load_profile("small", dataset="synthetic_market")
    defaults = plan_from(profile, "synthetic_market")
    assert plan_from(declared, "synthetic_market") == defaults and profile.items() <= declared.items()
    paper = load_profile("paper", dataset="market1501")
    assert set(paper) <= set(declared) and paper["dataset"] == "market1501"
    plan = plan_from(paper, "market1501")
    assert plan.data.height == 256 and all(name in IMAGENET for pair in plan.pairs for name in pair)
    rates = [learning_rate_factor(plan.base(plan.pairs[0]).recipe, epoch / 60) for epoch in (19, 20, 39, 40)]
    assert rates == pytest.approx([1, 0.1, 0.1, 0.01])


def test_longer_training_keeps_what_independent_training_has() -> None:
    own = {"weights": {"ce": 0.5, "triplet": 1, "self": 1}, "methods": ["independent", LONGER]}
    plan = plan_from(VALUES | own | {"label_smoothing": 0.1}, "digits")
    plain, longer = (plan.objectives[name] for name in ("independent", LONGER))
    assert longer == plain and (longer.ce, longer.triplet, longer.label_smoothing) == (0.5, 1, 0.1)
    warm = plan_from(VALUES | {"start": "pretrained"}, "digits").objectives[LONGER]
    assert warm.start == "fresh"  # its only stage is the first one


def test_a_setting_is_not_dropped_because_it_is_empty() -> None:
    with pytest.raises(ValidationError, match=r"n_train\n  Input should be a valid integer"):
        plan_from(VALUES | {"n_train": None}, "digits")
    alone = {"pairs": [["resnet8"]], "methods": ["independent"]}
    assert plan_from(alone | {"n_train": None}, "cifar10").data == Images(name="cifar10")
