"""The commands beside `ctsl` in scripts/: what they search, write, and say of a mistake."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.training.recipe import Recipe
from scripts import mean_answer, search


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call `python -m scripts.NAME` in an empty folder: (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CTSL_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("ctsl_lib.experiments.grid.run_grid", lambda *_, **__: pytest.fail("it trains"))

    def call(name: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        monkeypatch.delitem(sys.modules, f"scripts.{name}", raising=False)
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"scripts.{name}", run_name="__main__")
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search", "nonsense"), "WHAT must be one of recipe, weights,"),
        (("search", "recipe", "--profile", "small"), "--profile needs --dataset"),
        (("search", "recipe", "-p", "epochs=3", "--validation", "9"), "-p, --validation needs --dataset"),
        (
            ("search", "soft_targets", "--dataset", "digits", "-p", "pairs=[[tiny_cnn]]"),
            "-p pairs cannot be given",
        ),
        (("search", "recipe", "--dataset", "nonsense"), "dataset must be one of digits, "),
        (("search", "recipe", "--out", "taken"), "--out must name a folder, but taken is a file"),
        (("mean_answer", "nonsense"), "dataset must be one of digits, "),
        (("mean_answer", "digits", "--out", "taken"), "--out must name a folder, but taken is a file"),
        (("mean_answer", "digits", "--profile", "quick", "-p", "n_train=x"), "n_train: Input should be"),
        (("reference_weights", "--to", "taken"), "folder must name a folder, but taken is a file"),
    ],
)
def test_a_mistake_is_one_line(command, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "taken").touch()
    status, error = command(*words)
    assert status in (1, 2) and error.startswith(f"error: {message}") and len(error.splitlines()) == 1


def test_a_search_takes_as_many_seeds_as_it_is_told(store: Store) -> None:
    """More than the ten that the committed searches have."""
    recipe = Recipe(epochs=1, batch_size=20)
    base = Spec(data=Spec().data.model_copy(update={"n_train": 40}), peers=("pocket_cnn",), recipe=recipe)
    table = search.run_search({"a": base, "b": base.model_copy(update={"peers": ("tiny_cnn",)})}, 12, store, 1)
    assert sorted(table.index) == ["a", "b"] and list(table["n"]) == [12, 12]
    assert {record.spec.seed for record in store} == set(range(1000, 1012))
    assert {record.spec.evaluate_on for record in store} == {"validation"}


def test_candidates_keep_the_rest_of_the_recipe() -> None:
    changed = Recipe(batch_size=128, learning_rate=0.2, mirror=True, precision="bf16")
    base = Spec().model_copy(update={"recipe": changed})
    for name in ("recipe", "rival", "twice_the_epochs", "overnight_recipe", "reid_recipe"):
        for spec in search.SEARCHES[name](base).values():
            assert spec.recipe.precision == "bf16" and spec.recipe.batch_size == 128 and spec.recipe.mirror
    first = next(iter(search.SEARCHES["recipe"](Spec()).values())).recipe  # of the committed search
    assert first == Recipe(epochs=12, weight_decay=5e-4, padding=1, evaluate_every=12)


@pytest.fixture
def birds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two data sets: one in a folder of the data folder, and one elsewhere, by its whole path."""
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    for place in (tmp_path / "data" / "sub" / "birds", tmp_path / "mine" / "birds"):
        for folder in ("train/crow", "train/owl", "val/crow", "val/owl"):
            (place / folder).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(place / folder / "0.png")
    return ["sub/birds", str(tmp_path / "mine" / "birds")]


def check_tables(folder: Path, end: str, data: Path) -> None:
    """Both tables lie in the folder, each named by a whole path, and none beside the images."""
    inside, outside = sorted((path.name for path in folder.iterdir()), key=len)
    assert inside == f"sub__birds{end}" and outside.endswith(f"__mine__birds{end}")
    assert not list(data.rglob("birds*.csv"))


def test_a_search_on_class_folders_has_a_table_of_its_own(
    birds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def found(candidates: dict[str, Spec], seeds: int, **_: object) -> pd.DataFrame:
        asked.append(seeds)
        assert {spec.data.model_dump()["n_validation"] for spec in candidates.values()} == {30}
        return pd.DataFrame({"candidate": list(candidates), "mean": 1.0}).set_index("candidate")

    monkeypatch.setattr(search, "run_search", found)
    for dataset in birds:
        search.main("rival", dataset, validation=30, seeds=20, out=tmp_path / "out")
    assert asked == [20, 20]
    check_tables(tmp_path / "out", "_rival.csv", tmp_path / "mine")


def test_mean_answers_on_class_folders_have_a_table_of_their_own(
    birds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"pair": "a + a", "method": "dml", "seed": 0, "together": 1.0}
    monkeypatch.setattr(mean_answer, "mean_answers", lambda *_: pd.DataFrame([row]))
    for dataset in birds:
        mean_answer.main(dataset, "small", None, tmp_path / "out")
    check_tables(tmp_path / "out", ".csv", tmp_path / "mine")
