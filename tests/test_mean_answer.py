"""What peers score together: scripts/mean_answer.py."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ctsl_lib.experiments.plan import Plan, plan_from
from ctsl_lib.experiments.store import Store
from ctsl_lib.training.checkpoint import read_state, write_state
from scripts import mean_answer

SHORT = {"n_train": 60, "epochs": 3, "batch_size": 20, "pairs": [["tiny_cnn", "tiny_cnn"]], "seeds": 2}
SHORT |= {"methods": ["independent", "dml"], "learning_rate": 0.1, "weights": {"response": 4}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """Four short runs with kept peers."""
    plan, store = plan_from(SHORT, "digits"), Store(tmp_path_factory.mktemp("kept"))
    plan.train(store, processes=1, keep_weights=True)
    return plan, store


def test_each_peer_scores_what_its_record_says(trained: tuple[Plan, Store]) -> None:
    plan, store = trained
    found = mean_answer.mean_answers(plan, store)
    records = [record for records in plan.records(store).values() for record in records]
    assert list(found["method"]) == ["independent"] * 2 + ["dml"] * 2 and list(found["seed"]) == [0, 1] * 2
    assert list(found["pair"].unique()) == ["tiny_cnn + tiny_cnn"]
    for column, metric in (("peer", "top1"), ("peer_ece", "ece"), ("agreement", "agreement")):
        values = [sum(record.metrics[metric]) / len(record.metrics[metric]) for record in records]
        assert list(found[column]) == pytest.approx(values)


def test_networks_are_read_once_and_what_cannot_be_used_is_left_out(
    trained: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = trained[0], Store(shutil.copytree(trained[1].root, tmp_path / "copy"))
    gone, broken, *_ = (store.weights_path(spec) for specs in plan.specs().values() for spec in specs)
    gone.unlink()
    broken.write_bytes(broken.read_bytes()[:-100])
    read: list[Path] = []

    def reading(path: Path, *names: str) -> dict[str, Any]:
        read.append(path)
        return read_state(path, *names)

    monkeypatch.setattr("ctsl_lib.experiments.store.read_state", reading)
    with pytest.warns(UserWarning, match=f"{broken.name} is not used"):
        found = mean_answer.mean_answers(plan, store)
    assert list(found["method"]) == ["dml", "dml"] and len(read) == len(set(read))


def test_the_mean_answer_is_the_mean_of_probabilities(trained: tuple[Plan, Store]) -> None:
    plan, store = trained
    spec = plan.specs()[plan.pairs[0], "independent"][0]
    data = spec.data.load(spec.seed)
    with torch.no_grad():
        one, two = (peer(data.normalise(data.test.images)).logits.softmax(1) for peer in store.load_peers(spec))
    right = ((one + two).argmax(1) == data.test.labels).double().mean().item()
    assert mean_answer.mean_answer(*store.load_kept(spec))["together"] == pytest.approx(100 * right)


def test_a_record_of_another_processor_does_not_matter(trained: tuple[Plan, Store], tmp_path: Path) -> None:
    """The networks have a record of their own; one whose numbers are not theirs is refused."""
    plan, store = trained[0], Store(shutil.copytree(trained[1].root, tmp_path / "copy"))
    spec = plan.specs()[plan.pairs[0], "dml"][0]
    before, record = mean_answer.mean_answer(*store.load_kept(spec)), store.load(spec)
    assert record is not None
    wrong = record.model_copy(update={"metrics": record.metrics | {"top1": [1.0, 2.0]}})
    store.save(wrong)
    assert mean_answer.mean_answer(*store.load_kept(spec)) == before
    path = store.weights_path(spec)
    write_state(path, read_state(path, "record") | {"record": wrong.model_dump_json()})
    with pytest.raises(ValueError, match=rf"the peers of {spec.key} reach .*, their record says \[1.0, 2.0\]"):
        mean_answer.mean_answer(*store.load_kept(spec))


def test_the_command_writes_a_table(
    trained: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = trained
    monkeypatch.setenv("CTSL_RECORDS", str(store.root))
    settings = [f"{name}={value}".replace("'", "") for name, value in SHORT.items()]
    mean_answer.main("digits", "quick", settings, tmp_path)
    table = pd.read_csv(tmp_path / "digits.csv")
    assert len(table) == 4 and table["together"].between(0, 100).all()
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "empty"))
    with pytest.raises(
        ValueError, match=r"no run of this table has its peers in .*empty; train with `--keep-weights`"
    ):
        mean_answer.main("digits", "quick", settings, tmp_path)
