"""A record, kept weights and a checkpoint know by content which images they were made from."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from pydantic import Field, ValidationError

from ctsl_lib import data_set
from ctsl_lib.data.cache import entry_name
from ctsl_lib.data.specs import DATA_SETS, DataSettings, Digits, ImageFolder, Images, Market1501
from ctsl_lib.data.synthetic_market import write_synthetic_market
from ctsl_lib.data.types import Dataset
from ctsl_lib.errors import DataError
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.training.checkpoint import read_state, write_state
from ctsl_lib.training.recipe import Recipe
from scripts.waiting import until

RECIPE = Recipe(epochs=6, batch_size=10)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))


def write_images(folder: Path, *, classes: int = 2, random_labels: bool = False) -> Path:
    """Light and dark images in class folders; with random labels there is nothing to learn."""
    shutil.rmtree(folder, ignore_errors=True)
    draw = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 40)):
        for number in range(count * classes // 2):
            shade = number % classes
            label = draw.integers(classes) if random_labels else shade
            target = folder / part / f"class {label}" / f"{number:03}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(60, size=(8, 8, 3)) + 60 * shade
            Image.fromarray(pixels.astype(np.uint8)).save(target)
    return folder


def spec_of(path: Path, method: str = "independent", peers: tuple[str, ...] = ("tiny_cnn", "tiny_cnn")) -> Spec:
    return Spec(data=ImageFolder(path=str(path)), peers=peers, objective=METHODS[method], recipe=RECIPE)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_replaced_images_are_trained_on_anew(tmp_path: Path, store: Store, packed: bool) -> None:
    def put(**changes: bool) -> None:
        write_images(folder, **changes)
        if packed:
            shutil.make_archive(str(folder), "zip", folder)

    folder = tmp_path / "mine"
    spec = spec_of(folder.with_suffix(".zip") if packed else folder, "tfkd")
    put()
    first = run(spec, store)
    assert run(spec, store) == first
    put(random_labels=True)
    with pytest.warns(
        UserWarning, match=r"was made from other images of folder .* the run is trained again"
    ) as named:
        second = run(spec, store)
    assert {Path(str(warning.message).split()[0]).suffix for warning in named} >= {".json"}
    assert second.data_digest not in ("", first.data_digest)
    assert sum(first.metrics["top1"]) > 180 > 140 > sum(second.metrics["top1"])
    stage1 = store.load(spec.stage1(), weights=True)  # made anew as well
    assert stage1 is not None and stage1.data_digest == second.data_digest
    put()
    with pytest.warns(UserWarning, match="other images"):
        assert run(spec, store).metrics == first.metrics


@pytest.mark.slow
def test_another_number_of_classes_does_not_end_in_a_traceback(tmp_path: Path, store: Store) -> None:
    folder = write_images(tmp_path / "mine")
    spec = spec_of(folder, "tfkd")
    run(spec, store)
    write_images(folder, classes=3)
    with pytest.warns(UserWarning, match="other images"):
        assert run(spec, store).metrics["top1"][0] > 0
    # Only the weights are of other images: their record says otherwise.
    state = read_state(store.weights_path(spec.stage1()))
    write_state(store.weights_path(spec.stage1()), state | {"data_digest": "0" * 32})
    with pytest.raises(DataError, match="cannot be used"), pytest.warns(UserWarning, match=r"\.pt was made from"):
        store.load_peers(spec.stage1())
    store.path(spec).unlink()
    with pytest.warns(UserWarning, match=r"\.pt was made from other images"):
        run(spec, store)


def test_a_checkpoint_of_other_images_is_not_continued(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_CHECKPOINT", "0")
    folder = write_images(tmp_path / "mine")
    spec = spec_of(folder)

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr("ctsl_lib.experiments.run.evaluate", stop)
        run(spec, store)
    assert store.checkpoint(spec).path.exists()
    write_images(folder, random_labels=True)
    with pytest.warns(UserWarning, match=r"\.ckpt is not used, .* other images than those at hand"):
        run(spec, store)


def test_records_are_used_where_the_images_are_not_at_hand(tmp_path: Path, store: Store) -> None:
    folder = write_images(tmp_path / "mine")
    record = run(spec_of(folder), store)
    shutil.rmtree(folder)
    assert Store(store.root).load(record.spec) == record and run(record.spec, store) == record


def test_market_and_named_sets_have_a_digest(tmp_path: Path) -> None:
    market = Market1501(path=str(tmp_path / "market"), height=32, width=16)
    write_synthetic_market(tmp_path / "market", identities=8, size=(32, 16))
    with pytest.warns(UserWarning, match="not quite Market-1501"):
        first = market.digest()
    assert market.load(0).digest == first
    shutil.rmtree(tmp_path / "market")
    write_synthetic_market(tmp_path / "market", identities=8, size=(32, 16), seed=1)
    with pytest.warns(UserWarning, match="not quite Market-1501"):
        assert market.digest() != first
    with pytest.raises(DataError, match="cifar100 is not in"):
        Images(name="cifar100").digest()
    assert Spec().data.load(3).digest == Spec().data.digest()


@pytest.fixture
def own_set() -> Iterator[type[DataSettings]]:
    @data_set
    class Own(DataSettings, frozen=True, extra="forbid"):
        name: Literal["own_digits"] = "own_digits"
        n_train: int = 60

        def load(self, seed: int) -> Dataset:
            return replace(Digits(n_train=self.n_train).load(seed), name=self.name, digest="")

        def digest(self) -> str:
            return "mine"

    yield Own
    del DATA_SETS["own_digits"]


def test_a_data_set_of_ones_own_gives_one_digest(own_set: type[DataSettings], store: Store) -> None:
    spec = Spec(data=own_set(), recipe=Recipe(epochs=1, batch_size=20))  # type: ignore[call-arg]
    with pytest.raises(DataError, match=r"load\(\) gave images with the digest '', digest\(\) says 'mine'"):
        run(spec, store)
    assert not list(store)


def test_settings_of_a_data_set_cannot_change() -> None:
    class Cropped(DataSettings, frozen=True, extra="forbid"):
        name: str = "cropped"
        crop: list[int] = Field(default=[1, 2])

    with pytest.raises(
        ValidationError, match="crop must be of a type that cannot change, such as a tuple for a list"
    ):
        Cropped(crop=[1, 2])


def test_a_file_with_the_size_and_time_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    file = tmp_path / "images.zip"
    file.write_bytes(b"some images")
    before, name = file.stat(), entry_name(file)
    assert entry_name(file) == name
    assert until(lambda: time.time_ns() > before.st_ctime_ns + 20_000_000, 5)  # some clocks of files tick slowly
    file.write_bytes(b"other image")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp --preserve` and archives do
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert entry_name(file) != name
