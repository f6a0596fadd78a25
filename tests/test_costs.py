"""Costs by the times of records that are there."""

import os

import pytest

from ctsl_lib.data.specs import Digits
from ctsl_lib.experiments.plan import Cost, cost
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS, baselines
from ctsl_lib.losses.objective import Objective
from ctsl_lib.training.recipe import Recipe

BASE = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=2, batch_size=30))


def record_of(template: Record, seconds: float, **changes: object) -> Record:
    provenance = template.provenance.model_copy(update={"wall_time": seconds, "device": "here"})
    return template.model_copy(
        update={"spec": template.spec.model_copy(update=changes), "provenance": provenance}
    )


def test_like_runs_are_scaled_to_the_epochs(store: Store) -> None:
    template = run(BASE, store)
    records = [record_of(template, seconds, seed=seed) for seed, seconds in enumerate((10.0, 20.0, 90.0))]
    records.append(record_of(template, 1000.0, objective=METHODS["tfkd"]))
    longer = BASE.model_copy(update={"recipe": BASE.recipe.model_copy(update={"epochs": 6}), "seed": 7})
    assert cost([longer], records, "here") == Cost(pytest.approx(60), 0)
    assert cost([longer.model_copy(update={"objective": METHODS["ctsl_mkt"]})], records, "here") == Cost(3000, 0)
    assert cost([longer], records, "elsewhere") == Cost(0, 1)
    assert cost([longer.model_copy(update={"peers": ("tiny_resnet",)})], records, "here") == Cost(0, 1)
    unlike = [
        {"objective": baselines("tiny_resnet")["kd"]},  # another frozen network
        {"objective": Objective(response=1, update="sequential")},
        {"recipe": longer.recipe.model_copy(update={"compile": True})},
        {"recipe": longer.recipe.model_copy(update={"precision": "bf16"})},
        {"recipe": longer.recipe.model_copy(update={"batch_size": 60})},
    ]
    assert cost([longer.model_copy(update=changes) for changes in unlike], records, "here") == Cost(0, 5)
    other = longer.model_copy(update={"data": Digits(n_train=61)})
    assert cost([longer, longer, other], records, "here") == Cost(pytest.approx(120), 1)


def test_costs_in_words() -> None:
    assert str(Cost(7200, 0)) == "about 2.0 h of one process"
    assert str(Cost(600, 3)) == "about 10 min of one process, and 3 runs of unknown cost"
    assert str(Cost(0, 3)) == "3 runs of unknown cost"


def test_the_newest_records_are_read_first(store: Store) -> None:
    written = [run(BASE.model_copy(update={"seed": seed}), store) for seed in (3, 1, 2)]
    for place, record in enumerate(written):
        os.utime(store.path(record.spec), (place, place))
    assert [record.spec.seed for record in store.newest(2)] == [2, 1]
    assert len(store.newest(10)) == 3
