"""Whatever a person or a file hands in is taken or refused with a ValueError, which the command tells in one line."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ctsl_lib.cli.notebooks import check_parameters, find_notebooks
from ctsl_lib.data.catalogue import check_data_set
from ctsl_lib.data.specs import Market1501
from ctsl_lib.errors import explained
from ctsl_lib.experiments.plan import Plan, plan_from, plan_names
from ctsl_lib.experiments.profiles import load_profile, parse_assignments
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import Objective
from ctsl_lib.training.recipe import Recipe

ODD = [
    "extra",
    "name",
    "digits",
    "folder",
    "path",
    "self",
    "ce",
    "~nobody_of_this_name",
    "\0",
    "\ud800",
    "nan",
    "1e400",
]
leaves = (
    st.none() | st.booleans() | st.integers() | st.integers(10**30, 10**400) | st.floats() | st.text(max_size=5)
    | st.sampled_from(ODD)
)  # fmt: skip
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ODD) | st.text(max_size=3),
    inner, max_size=3), max_leaves=8,
)  # fmt: skip
often = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be put in place of something else: the whole, and each part of it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, part in inner for place in places(part, (*above, key)))]


def put(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(whole)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def accepts(call: Any, *arguments: Any) -> bool:
    """Whether the call succeeds; anything but a ValueError, which is told in one line, fails the test."""
    try:
        call(*arguments)
    except ValueError as error:
        assert "\n" not in explained(error)
        return False
    return True


RECORD = Path(__file__).parent.parent / "data" / "records"


@cache
def good(kind: type[BaseModel]) -> Any:
    """The JSON of a right one."""
    if kind is Record:
        record = next(iter(Store(RECORD)))
        short = record.history.model_copy(update={"evaluated": record.history.evaluated})
        return json.loads(record.model_copy(update={"history": short}).model_dump_json())
    if kind is Plan:
        return plan_from(load_profile("small"), "cifar100").model_dump(mode="json")
    return Spec(objective=METHODS["ctsl_mkt"]).model_dump(mode="json")


@often
@given(st.data())
@pytest.mark.parametrize("kind", [Spec, Plan, Record])
def test_random_json_is_taken_or_refused(kind: type[BaseModel], data: st.DataObject) -> None:
    whole = good(kind)
    changed = put(whole, data.draw(st.sampled_from(places(whole))), data.draw(values))
    if accepts(kind.model_validate, changed) and kind is Spec:
        assert len(Spec.model_validate(changed).key) == 16
    try:
        text = json.dumps(changed)
    except ValueError:  # Python writes no number of more than 4300 digits
        return
    accepts(kind.model_validate_json, text)


@often
@given(st.dictionaries(st.sampled_from([*plan_names(), "weights"]), values, max_size=3))
def test_random_settings_of_a_plan(given: dict[str, Any]) -> None:
    accepts(plan_from, load_profile("small") | given, "cifar100")


@often
@given(st.dictionaries(st.sampled_from([*Objective.model_fields, "mine"]), values, max_size=3))
def test_random_weights(given: dict[str, Any]) -> None:
    accepts(Objective.model_validate, given)


@often
@given(st.text(st.sampled_from("[]{}:,-!&*?|>%@`'\"#~=.0123456789eEtimestampflonu \n\0\ud800"), max_size=20))
def test_random_text_as_value(text: str) -> None:
    accepts(parse_assignments, [f"epochs={text}"])


ODD_YAML = (
    b"3", b"[1, 2]", b"epochs: [", b"{1: 2, null: 3}", b"{[1]: 2}", b"\xff\xfe\x00", b"epochs: !!timestamp x",
    b"[" * 100_000, b"weights: 3", b"weights: null", b"weights: [1]", b"weights: {1: 2, a: 3}", b"rows: [a]",
    b"weights: {extra: {1: 2, a: 3}}", b"data: 2", b"2001-01-01: 3", b"epochs: 2001-99-99",
)  # fmt: skip


@pytest.mark.parametrize("content", ODD_YAML, ids=lambda content: content[:20].decode(errors="replace"))
def test_a_profile_of_odd_content_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.yaml").write_bytes(content)
    with pytest.raises(ValueError) as raised:
        plan_from(load_profile("odd", tmp_path), "digits")
    assert "\n" not in explained(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "the value of a parameter must be YAML"),
        ("!!timestamp x", "the value of a parameter must be YAML"),
        ("2001-99-99", "the value of a parameter must be YAML"),
    ],
)
def test_values_that_yaml_stumbles_over(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        parse_assignments([f"epochs={text}"])
    assert len(str(raised.value)) < 300


def test_what_hypothesis_found_once() -> None:
    for extra in (None, 3, [1], [[1, 2], ["a", 3]], {"a": "b"}, [["a", 1, 2]], [[["a"], 1]]):
        assert not accepts(Objective.model_validate, {"extra": extra}), extra
    for name in (None, [], {}, 3):
        assert not accepts(Spec.model_validate, {"data": {"name": name}}), name


def test_parameters_of_notebooks() -> None:
    [path] = find_notebooks(["05"])
    for value in (None, [None], {"a": []}, 10**400, float("nan"), "\ud800"):
        accepts(check_parameters, path, {"epochs": value})


# --- paths ----------------------------------------------------------------------------------------------------


def test_every_path_of_a_data_set_has_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    inside = tmp_path / "data" / "plain"
    inside.mkdir(parents=True)
    (tmp_path / "far").mkdir()
    ways = (
        "plain",
        "plain/",
        "./plain",
        "other/../plain",
        str(inside),
        f"{inside}/",
        "~/data/plain",
        "~/data/plain/",
    )
    assert {Market1501(path=way).path for way in ways} == {"plain"}
    assert {check_data_set(way) for way in ways} == {"plain"}
    assert {check_data_set(way) for way in ("~/far", "../far/", str(tmp_path / "far"))} == {str(tmp_path / "far")}
    assert Market1501().path is None and check_data_set("cifar10") == "cifar10"
    for wrong, message in (("~nobody_of_this_name/x", "home of a user who is not known"), (" ", "got nothing")):
        for taken in (check_data_set, lambda path: Market1501(path=path)):
            with pytest.raises(ValueError, match=message):
                taken(wrong)
    with pytest.raises(
        ValueError, match=r"dataset must be one of .* or the path of .*; got 'cifar1'; did you mean"
    ):
        check_data_set("cifar1")


def test_recipes_refuse_odd_numbers() -> None:
    assert not accepts(Recipe.model_validate, {"drop_at": [float("nan")]})
