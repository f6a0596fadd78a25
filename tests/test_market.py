"""Market-1501's layout, read from small synthetic sets: as folder, as zip, and broken in every way."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctsl_lib.data.market1501 import deviations, find_market, read_market
from ctsl_lib.data.synthetic_market import write_synthetic_market
from ctsl_lib.errors import DataError
from ctsl_lib.metrics.retrieval import Labelled, retrieval_metrics

SMALL = {"identities": 6, "cameras": 3, "images_per_camera": 2, "distractors": 4, "junk": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_market(tmp_path / "set", **SMALL)


def zipped(folder: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, top + file.relative_to(folder).as_posix())
    return target


def test_what_is_written_is_read(folder: Path) -> None:
    market = read_market(folder, size=None)
    assert market.train.images.shape == (3 * 3 * 2, 3, 64, 32) and market.train.images.dtype == np.uint8
    assert sorted(set(market.train.identities)) == [1, 2, 3] and sorted(set(market.query.identities)) == [4, 5, 6]
    assert len(market.query.identities) == 3 * 3
    # Junk is dropped, distractors are kept, and no image is lost otherwise.
    assert sorted(set(market.gallery.identities)) == [0, 4, 5, 6]
    assert len(market.gallery.identities) == 3 * 3 + 4
    assert set(market.query.cameras) == {1, 2, 3}
    first = np.asarray(Image.open(folder / "query" / "0004_c1s1_000000_01.jpg")).transpose(2, 0, 1)
    assert np.array_equal(market.query.images[0], first)
    assert read_market(folder, size=(16, 8)).query.images.shape[2:] == (16, 8)


@pytest.mark.parametrize("top", ["", "Market-1501-v15.09.15/"])
def test_a_zip_is_read_like_the_folder(folder: Path, tmp_path: Path, top: str) -> None:
    found = read_market(zipped(folder, tmp_path / "set.zip", top), size=None)
    for one, other in zip(found, read_market(folder, size=None), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_seed_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = write_synthetic_market(tmp_path / "again", **SMALL)
    other = write_synthetic_market(tmp_path / "other", **SMALL, seed=1)

    def content(root: Path) -> dict[str, bytes]:
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*.jpg")}

    assert content(again) == content(folder) != content(other)
    assert len(content(other)) == len(content(folder))


def test_the_synthetic_task_is_neither_trivial_nor_hopeless_for_raw_pixels(tmp_path: Path) -> None:
    market = read_market(write_synthetic_market(tmp_path / "set"), size=None)
    query, gallery = (
        Labelled(
            torch.from_numpy(part.images).flatten(1).float(),
            torch.from_numpy(part.identities),
            torch.from_numpy(part.cameras),
        )
        for part in (market.query, market.gallery)
    )
    found = retrieval_metrics(query, gallery)
    assert 5 < found["rank1"] < 50 and found["queries"] == len(market.query.identities)


def test_other_files_are_left_alone(folder: Path) -> None:
    before = read_market(folder, size=None)
    (folder / "query" / "Thumbs.db").write_bytes(b"windows")
    (folder / "readme.txt").write_text("hello")
    assert len(read_market(folder, size=None).query.identities) == len(before.query.identities)


def remove_query(folder: Path) -> None:
    shutil.rmtree(folder / "query")
    (folder / "query").mkdir()


def misname(folder: Path) -> None:
    (folder / "query" / "0004_c1s1_000000_01.jpg").rename(folder / "query" / "person4.jpg")


def damage(folder: Path) -> None:
    (folder / "bounding_box_train" / "0001_c1s1_000000_01.jpg").write_bytes(b"not a picture")


def resize_one(folder: Path) -> None:
    path = folder / "bounding_box_test" / "0005_c2s1_000001_01.jpg"
    Image.open(path).resize((40, 80)).save(path)


def junk_only(folder: Path) -> None:
    for position, path in enumerate(sorted((folder / "query").glob("*.jpg"))):
        path.rename(path.with_name(f"-1_c1s1_{position:06d}_01.jpg"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_query, r"needs images query/\*\.jpg"),
        (misname, r"query/person4\.jpg must be named like 0002_c1s1_000451_03\.jpg"),
        (damage, r"bounding_box_train/0001_c1s1_000000_01\.jpg cannot be read as an image"),
        (
            resize_one,
            r"0005_c2s1_000001_01\.jpg is 40x80 \(width x height\).* give a \(height, width\)",
        ),
        (junk_only, "query shows no person"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_market(folder, size=None)


def test_deviations_from_the_published_set_are_said(folder: Path) -> None:
    said = deviations(read_market(folder, size=None))
    assert "training images: 18, published 12,936" in said and "query identities: 3, published 750" in said
    for path in [*folder.glob("query/0004_c[23]*"), *folder.glob("bounding_box_test/0004_c[23]*")]:
        path.unlink()
    said = deviations(read_market(folder, size=None))
    assert "identity 4: 1 queries cannot count, as no other camera has it in the gallery" in said
    for path in folder.glob("bounding_box_test/0004*"):
        path.unlink()
    assert said[-1] in deviations(read_market(folder, size=None))  # now it is not in the gallery at all


def test_where_it_is_looked_for(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with pytest.raises(DataError, match=r"given out by its authors.*Market-1501-v15\.09\.15"):
        find_market(root)
    zipped(folder, root / "market1501.zip")
    assert find_market(root).name == "market1501.zip"
    folder.rename(root / "Market-1501-v15.09.15")
    assert find_market(root).is_dir()


def test_too_small_a_synthetic_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cameras 2 to 9"):
        write_synthetic_market(tmp_path, identities=6, cameras=1)
