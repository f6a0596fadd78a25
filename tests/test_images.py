"""Readers of real images, on small archives made here, over a local server, and on real data where it is."""

import gzip
import hashlib
import io
import multiprocessing
import os
import pickle
import shutil
import tarfile
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from ctsl_lib.data import sources
from ctsl_lib.data.archives import find, read_tiny_imagenet
from ctsl_lib.data.cache import digest
from ctsl_lib.data.class_folders import Arrays, read_class_folders
from ctsl_lib.data.images import DIGESTS, cached
from ctsl_lib.data.sources import Published, Source, download
from ctsl_lib.data.specs import DataSpec, ImageFolder, Images
from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.store import Store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(seed: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def tree(per_class: int = 30) -> dict[str, bytes]:
    """train/<class>/* and test/<class>/* of two classes."""
    names = [("train", per_class), ("test", 4)]
    return {
        f"{split}/{label}/{i}.png": png(1000 * s + 100 * c + i)
        for s, (split, count) in enumerate(names)
        for c, label in enumerate(("cat", "dog"))
        for i in range(count)
    }


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_folder_and_zip_give_the_same_data_set(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", tree())
    archive = write_zip(tmp_path / "own.zip", {f"enclosing/{name}": data for name, data in tree().items()})
    one, two = (ImageFolder(path=str(path), n_validation=10).load(3) for path in (folder, archive))
    assert one.class_names == two.class_names == ("cat", "dog")
    assert torch.equal(one.train.images, two.train.images) and torch.equal(one.test.labels, two.test.labels)
    assert (len(one.train), len(one.validation), len(one.test)) == (50, 10, 8)
    assert one.train.images.shape[1:] == (3, 8, 8) and one.validation.labels.bincount().tolist() == [5, 5]
    pixels = np.stack(
        [np.asarray(Image.open(io.BytesIO(data))) for name, data in tree().items() if "train" in name]
    )
    assert one.mean == pytest.approx(pixels.mean(axis=(0, 1, 2)))
    assert one.std == pytest.approx(pixels.std(axis=(0, 1, 2)))


def test_splits_follow_the_seed_and_never_overlap(tmp_path: Path) -> None:
    spec = ImageFolder(path=str(write_zip(tmp_path / "own.zip", tree())), n_train=20, n_validation=10)
    one, again, other = spec.load(0), spec.load(0), spec.load(1)
    assert torch.equal(one.train.images, again.train.images)
    assert not torch.equal(one.train.images, other.train.images)
    rows = {image.numpy().tobytes() for image in one.train.images}
    assert len(rows) == 20 and not rows & {image.numpy().tobytes() for image in one.validation.images}
    noisy = spec.model_copy(update={"label_noise": 0.5}).load(0)
    assert (noisy.train.labels != noisy.train.true_labels).any() and torch.equal(
        noisy.train.images, one.train.images
    )
    with pytest.raises(DataError, match="at most the 60 training images together, got 55 and 10"):
        spec.model_copy(update={"n_train": 55}).load(0)


def test_a_size_brings_images_together(tmp_path: Path) -> None:
    files = tree() | {"train/cat/odd.png": png(7, size=(20, 12))}
    path = write_zip(tmp_path / "own.zip", files)
    with pytest.raises(DataError, match=r"train/cat/odd.png is 20x12 .*, the images before it 8x8; .*-p size=32"):
        ImageFolder(path=str(path)).load(0)
    assert ImageFolder(path=str(path), size=10).load(0).train.images.shape == (61, 3, 10, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/cat/bad.png": b"not an image"}, "train/cat/bad.png cannot be read as an image"),
        ({"train/cat/cut.png": png(1)[:60]}, "train/cat/cut.png cannot be read as an image"),
        ({"train/owl/0.png": png(1)}, r"test has no images for 1 classes of train: \['owl'\]"),
        ({"test/owl/0.png": png(1)}, r"train has no images for 1 classes of test: \['owl'\]"),
        ({"../outside.png": png(1)}, "'../outside.png', which leads out of its folder"),
        ({"/etc/outside.png": png(1)}, "leads out of its folder"),
    ],
)
def test_a_wrong_tree_is_named_and_leaves_nothing(
    tmp_path: Path, cache: Path, change: dict[str, bytes], message: str
) -> None:
    path = write_zip(tmp_path / "own.zip", tree() | change)
    with pytest.raises(DataError, match=message):
        ImageFolder(path=str(path)).load(0)
    assert not cache.exists() and not (tmp_path / "outside.png").exists()


def test_truncated_zip_and_missing_path(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "own.zip", tree())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a whole zip file"):
        ImageFolder(path=str(path)).load(0)
    with pytest.raises(DataError, match="does not exist"):
        ImageFolder(path="nowhere").load(0)
    assert not cache.exists()


def test_the_cache_is_used_and_follows_its_source(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "own.zip", tree())
    reads = []

    def read() -> Arrays:
        reads.append(1)
        return read_class_folders(path)

    first = cached(path, read)
    assert cached(path, read).digest == first.digest == digest(first.arrays[:4]) and len(reads) == 1
    assert isinstance(first.arrays.train_images, np.memmap)
    write_zip(path, tree(per_class=31))
    assert len(cached(path, read).arrays.train_labels) == 62 and len(reads) == 2
    with pytest.raises(DataError, match="does not hold the published images"):
        cached(path, read, variant=1, expected="0" * 32)
    assert len(list(cache.iterdir())) == 2


def build_cache(path: Path, cache: Path, queue) -> None:
    os.environ["CTSL_CACHE"] = str(cache)
    queue.put(cached(path, lambda: read_class_folders(path)).digest)


@pytest.mark.slow
def test_two_processes_may_build_the_cache_at_once(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "own.zip", tree(per_class=200))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ctsl_lib.data.images"])
    queue = context.Queue()
    workers = [context.Process(target=build_cache, args=(path, cache, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = {queue.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(found) == 1 and len(list(cache.iterdir())) == 1


def tiny_imagenet() -> dict[str, bytes]:
    files = {f"train/n0{c}/images/n0{c}_{i}.JPEG": png(10 * c + i, kind="JPEG") for c in (1, 2) for i in range(3)}
    files |= {f"val/images/val_{i}.JPEG": png(50 + i, kind="JPEG") for i in range(2)}
    files["val/val_annotations.txt"] = b"val_0.JPEG\tn02\t0\t0\t62\t62\nval_1.JPEG\tn01\t0\t0\t62\t62\n"
    files["test/images/test_0.JPEG"] = png(60, kind="JPEG")
    return {f"tiny-imagenet-200/{name}": content for name, content in files.items()}


def test_tiny_imagenet_layout(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "tiny-imagenet-200.zip", tiny_imagenet())
    arrays = read_tiny_imagenet(path)
    assert arrays.class_names == ("n01", "n02") and arrays.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert arrays.test_labels.tolist() == [1, 0] and arrays.test_images.shape == (2, 3, 8, 8)
    wrong = tiny_imagenet() | {"tiny-imagenet-200/val/val_annotations.txt": b"val_9.JPEG\tn02\n"}
    with pytest.raises(DataError, match="names an unknown class or image"):
        read_tiny_imagenet(write_zip(tmp_path / "wrong.zip", wrong))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def published(url: str, path: Path, place: str) -> Published:
    content = path.read_bytes()
    return Published(f"{url}/{path.name}", place, len(content), hashlib.sha256(content).hexdigest())


def test_tiny_imagenet_is_fetched_and_its_checksum_checked(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, web = server
    archive = write_zip(web / "tiny-imagenet-200.zip", tiny_imagenet())
    changed = Source((6, 2), 2, (3, 8, 8), "tiny-imagenet-200", (published(url, archive, archive.name),))
    monkeypatch.setitem(sources.SOURCES, "tiny_imagenet", changed)
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"tiny_imagenet is not in .*Fetch it with `ctsl data tiny"):
        find("tiny_imagenet")
    download("tiny_imagenet")
    assert len(Images(name="tiny_imagenet").load(0).train) == 6
    archive.write_bytes(b"something else")
    (data_root() / archive.name).unlink()
    with pytest.raises(DataError, match="could not be fetched"):
        download("tiny_imagenet")
    (data_root() / archive.name).write_bytes(b"cut off")
    with pytest.raises(DataError, match="does not have the SHA-256"):
        find("tiny_imagenet")[1]()


def test_cifar_is_fetched_and_checked(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, web = server
    source = np.random.default_rng(0)
    parts = {
        split: pickle.dumps({
            "data": source.integers(0, 256, (count, 3072), dtype=np.uint8),
            "fine_labels": [i % 2 for i in range(count)],
        })
        for split, count in (("train", 40), ("test", 6))
    }  # fmt: skip
    parts["meta"] = pickle.dumps({"fine_label_names": ["apple", "worm"]})
    with tarfile.open(web / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, content in parts.items():
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    official = torchvision.datasets.CIFAR100
    packed_file = published(url, web / "cifar-100-python.tar.gz", "cifar-100-python.tar.gz")
    known = replace(sources.SOURCES["cifar100"], files=(packed_file,))
    monkeypatch.setitem(sources.SOURCES, "cifar100", known)
    monkeypatch.setattr(official, "train_list", [["train", md5(parts["train"])]])
    monkeypatch.setattr(official, "test_list", [["test", md5(parts["test"])]])
    monkeypatch.setattr(
        official, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5(parts["meta"])}
    )
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"cifar100 is not in .*cifar-100-python.tar.gz"):
        find("cifar100")
    download("cifar100")
    packed = find("cifar100")[1]()
    assert [path.name for path in data_root().iterdir()] == ["cifar-100-python.tar.gz"]  # nothing is unpacked
    with tarfile.open(data_root() / "cifar-100-python.tar.gz") as archive:
        archive.extractall(data_root(), filter="data")
    for arrays in (packed, find("cifar100")[1]()):
        assert arrays.train_images.shape == (40, 3, 32, 32) and arrays.class_names == ("apple", "worm")
        assert np.array_equal(arrays.train_images.reshape(40, -1), pickle.loads(parts["train"])["data"])
        assert arrays.test_labels.tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(DataError, match=r"cifar100 must have \(50000, 10000\) .* found \(40, 6\)"):
        Images(name="cifar100").load(0)
    (data_root() / "cifar-100-python" / "train").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cifar-100-python/train is damaged; remove it and fetch it again"):
        find("cifar100")[1]()
    shutil.rmtree(data_root() / "cifar-100-python")
    with (data_root() / "cifar-100-python.tar.gz").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"cifar-100-python.tar.gz is damaged; remove it and fetch it again"):
        find("cifar100")[1]()


def test_fashion_mnist_is_fetched_and_checked(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, web = server
    files = []
    for split, count in (("train", 30), ("t10k", 4)):
        images = (
            bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28)) + bytes(count * 784)
        )
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(i % 10 for i in range(count))
        for name, content in (
            (f"{split}-images-idx3-ubyte.gz", images),
            (f"{split}-labels-idx1-ubyte.gz", labels),
        ):
            (web / name).write_bytes(gzip.compress(content))
            files.append(published(url, web / name, f"FashionMNIST/raw/{name}"))
    known = replace(sources.SOURCES["fashion_mnist"], files=tuple(files))
    monkeypatch.setitem(sources.SOURCES, "fashion_mnist", known)
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match="fashion_mnist is not in"):
        find("fashion_mnist")
    download("fashion_mnist")
    arrays = find("fashion_mnist")[1]()
    assert arrays.train_images.shape == (30, 1, 28, 28) and arrays.test_labels.tolist() == [0, 1, 2, 3]
    raw = data_root() / "FashionMNIST" / "raw"
    for packed in raw.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is damaged; remove it"):
        find("fashion_mnist")[1]()
    for packed in raw.glob("*.gz"):
        packed.unlink()
    assert np.array_equal(find("fashion_mnist")[1]().train_images, arrays.train_images)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte is damaged; remove it"):
        find("fashion_mnist")[1]()
    (raw / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"lacks t10k-images-idx3-ubyte.gz; fetch it with"):
        find("fashion_mnist")[1]()


def test_specs_of_data_are_told_apart_by_name() -> None:
    adapter: TypeAdapter = TypeAdapter(DataSpec)
    assert isinstance(adapter.validate_python({"name": "cifar10"}), Images)
    assert isinstance(adapter.validate_python({"name": "folder", "path": "own.zip"}), ImageFolder)
    for wrong in ({"name": "cifar1000"}, {"name": "folder"}, {"name": "cifar10", "n_train": 3}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize(
    ("name", "classes", "mean", "std"),
    [
        ("cifar10", 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("cifar100", 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ],
)
def test_real_data_has_the_stated_statistics(
    name: str, classes: int, mean: tuple[float, ...], std: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        path, _ = find(name)
    except DataError:
        pytest.skip(f"{name} is not in the data folder")
    monkeypatch.delenv("CTSL_CACHE")  # decoding 60,000 images takes half a minute: once a machine is enough
    data = Images(name=name).load(0)
    assert (len(data.train), len(data.test), data.num_classes) == (50_000, 10_000, classes)
    assert data.train.labels.bincount().unique().tolist() == [50_000 // classes]
    assert data.mean == pytest.approx([255 * value for value in mean], abs=0.02)
    assert data.std == pytest.approx([255 * value for value in std], abs=0.02)
    assert path.exists() and name in DIGESTS


def test_a_channel_that_is_the_same_everywhere_does_not_stop_a_training(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path))
    draw = np.random.default_rng(0)
    for part, label in product(("train", "test"), "ab"):
        folder = tmp_path / "noblue" / part / label
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            pixels[..., 2] = 137
            Image.fromarray(pixels).save(folder / f"{i}.png")
    plan = plan_from(
        {"epochs": 1, "batch_size": 8, "pairs": [["tiny_cnn"]], "seeds": 1, "methods": ["independent"]}, "noblue"
    )
    data = plan.data.load(0)
    assert data.std[2] == 1 and not data.normalise(data.train.images)[:, 2].any()
    plan.train(store, processes=1)
    assert len(list(store)) == 1
