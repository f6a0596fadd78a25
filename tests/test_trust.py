"""What lies on the disk is believed only where it can be: records, kept weights, checkpoints."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from ctsl_lib.data.specs import Digits, SyntheticMarket
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.training.recipe import Recipe

SPEC = Spec(
    data=Digits(n_train=60),
    peers=("tiny_cnn", "tiny_cnn"),
    objective=METHODS["tfkd"],
    recipe=Recipe(epochs=5, batch_size=20, evaluate_every=2),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Store]:
    """The record of a run that nothing went wrong in, and the store that it lies in."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    return run(SPEC, store, keep_weights=True), store


NAN, INFINITY = float("nan"), float("inf")
WRONG: list[tuple[str, Any, str]] = [
    ("metrics.top1", [250, 80], r"metrics.top1 must be finite and at least 0 and at most 100, got 250"),
    ("metrics.top1", [80, -5], r"metrics.top1 .* got -5"),
    ("metrics.top1", [80, NAN], r"metrics.top1 .* got nan"),
    ("metrics.ece", [INFINITY, 80], r"metrics.ece .* got inf"),
    ("metrics.top1", [80, 81, 82], r"metrics.top1 must have 2 values, one for each peer, got 3"),
    ("metrics.top5", [], r"metrics.top5 must have 2 values, one for each peer, got 0"),
    ("metrics.agreement", [80, 80], r"metrics.agreement must have 1 value, one for each group, got 2"),
    ("metrics.mine", [NAN, 1], r"metrics.mine must be finite, got nan"),
    ("metrics", {"top5": [80, 80]}, r"metrics must have top1, by which digits is judged, got top5"),
    ("metrics", {}, r"metrics must have top1, .* got nothing"),
    ("parameters", [5], r"parameters must have 2 values, one for each peer, got 1"),
    ("parameters", [5, 0], r"parameters must be above 0, got \[5, 0\]"),
    ("history.terms", [{"ce": [1.0] * 5}], r"history.terms must have 2 values, one for each peer, got 1"),
    ("history.terms.1", {}, r"history.terms must have one term or more, got none for peer 1"),
    ("history.terms.1.ce", [1.0] * 4, r"history.terms.ce must have 5 values, .* each epoch, got 4 for peer 1"),
    ("history.terms.0.ce", [1.0, 1, NAN, 1, 1], r"history.terms.ce must be finite, got nan for peer 0"),
    ("history.accuracy", [[1, 2, 3]] * 3, r"history.accuracy must have 2 values, one for each peer, got 3"),
    ("history.accuracy.1", [1, 2], r"history.accuracy must have 3 values, .* evaluated epoch, got 2 for peer 1"),
    ("history.accuracy.1", [1, 2, 101], r"history.accuracy .* at most 100, got 101.0 for peer 1"),
    ("history.evaluated", [2, 2, 5], r"history.evaluated must increase within 1 to 5, got \[2, 2, 5\]"),
    ("history.evaluated", [0, 4, 5], r"history.evaluated must increase within 1 to 5"),
    ("history.evaluated", [2, 4, 6], r"history.evaluated must increase within 1 to 5"),
    ("history.evaluated", [1, 2, 4], r"history.evaluated must end with the last epoch, 5, got \[1, 2, 4\]"),
    ("provenance.wall_time", -1, r"provenance.wall_time must be finite and at least 0, got -1"),
    ("provenance.wall_time", NAN, r"provenance.wall_time .* got nan"),
]


def changed(record: Record, place: str, value: Any) -> dict[str, Any]:
    content: Any = json.loads(record.model_dump_json())
    *above, last = (int(part) if part.isdecimal() else part for part in place.split("."))
    inner = content
    for part in above:
        inner = inner[part]
    inner[last] = value
    return dict(content)


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_record_that_cannot_be_right_is_none(
    undisturbed: tuple[Record, Store], place: str, value: Any, message: str
) -> None:
    content = changed(undisturbed[0], place, value)
    with pytest.raises(ValidationError, match=message):
        Record.model_validate(content)
    with pytest.raises(ValidationError, match=message):
        Record.model_validate_json(json.dumps(content))


def test_a_metric_of_the_users_own_may_be_any_finite_number(undisturbed: tuple[Record, Store]) -> None:
    content = changed(undisturbed[0], "metrics.mine", [-3.5, 1e9])
    assert Record.model_validate(content).metrics["mine"] == [-3.5, 1e9]


def test_searches_are_judged_by_their_own_metric(undisturbed: tuple[Record, Store]) -> None:
    content = changed(undisturbed[0], "spec.data", SyntheticMarket().model_dump())
    with pytest.raises(ValidationError, match="metrics must have mAP, by which synthetic_market is judged"):
        Record.model_validate(content)
