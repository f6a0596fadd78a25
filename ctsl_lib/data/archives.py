"""Where real images come from: official archives, and trees of class folders, read into arrays."""

import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torchvision
from PIL import Image, UnidentifiedImageError
from torchvision.datasets.utils import check_md5, download_url

from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
Files = Mapping[str, Callable[[], bytes]]
"""Relative path with forward slashes -> function that reads the file."""


class Arrays(NamedTuple):
    """A data set as it was published: images (N, channels, H, W) uint8, labels (N,) int64."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """What is known of a published data set before a byte of it is read."""

    counts: tuple[int, int]
    """Training and test images."""
    classes: int
    shape: tuple[int, int, int]
    url: str
    megabytes: int
    archive: str
    """Name of the file to put into the data folder."""
    folder: str
    """Name of the folder that the archive unpacks to, or of a tree of class folders."""


SOURCES = {
    "cifar10": Source(
        (50_000, 10_000), 10, (3, 32, 32),
        torchvision.datasets.CIFAR10.url, 163, "cifar-10-python.tar.gz", "cifar-10",
    ),
    "cifar100": Source(
        (50_000, 10_000), 100, (3, 32, 32),
        torchvision.datasets.CIFAR100.url, 162, "cifar-100-python.tar.gz", "cifar-100",
    ),
    "tiny_imagenet": Source(
        (100_000, 10_000), 200, (3, 64, 64),
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip", 237, "tiny-imagenet-200.zip", "tiny-imagenet-200",
    ),
    "fashion_mnist": Source(
        (60_000, 10_000), 10, (1, 28, 28),
        torchvision.datasets.FashionMNIST.mirrors[0], 30, "FashionMNIST/raw/*.gz", "FashionMNIST",
    ),
}  # fmt: skip
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_TORCHVISION = {
    "cifar10": torchvision.datasets.CIFAR10,
    "cifar100": torchvision.datasets.CIFAR100,
    "fashion_mnist": torchvision.datasets.FashionMNIST,
}


def download(name: str, root: Path | None = None) -> None:
    """Fetch a published data set into the data folder and check its checksum; nothing is done twice."""
    if name == "market1501":
        raise DataError(
            "market1501 is given out by its authors alone: `ctsl data market1501` says where to put it"
        )
    root = root if root is not None else data_root()
    root.mkdir(parents=True, exist_ok=True)
    source = _known(name)
    try:
        if name == "tiny_imagenet":
            download_url(source.url, str(root), source.archive, TINY_IMAGENET_MD5)
        else:
            for train in (True, False):
                _TORCHVISION[name](str(root), train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise DataError(f"{name} could not be fetched from {source.url}: {error}") from error


def find(name: str, root: Path | None = None) -> tuple[Path, Callable[[], Arrays]]:
    """Where a published data set lies, and a function that reads it.

    Taken is what comes first: the official archive or folder, then `<folder>.zip` or `<folder>/` with class
    folders. Raises DataError that says what to fetch, from where, and how.
    """
    root = root if root is not None else data_root()
    source = _known(name)
    if name == "tiny_imagenet":
        archive = root / source.archive
        if archive.is_file():
            return archive, lambda: read_tiny_imagenet(_with_md5(archive, TINY_IMAGENET_MD5))
        if (root / source.folder / "val" / "val_annotations.txt").is_file():
            return root / source.folder, lambda: read_tiny_imagenet(root / source.folder)
    else:
        official = _TORCHVISION[name]
        for path in (root / getattr(official, "base_folder", "FashionMNIST/raw"), root / source.archive):
            if path.exists():
                return path, lambda: _read_torchvision(name, root)
    for tree in (root / f"{source.folder}.zip", root / source.folder):
        if tree.exists():
            return tree, partial(read_class_folders, tree)
    raise DataError(
        f"{name} is not in {root}. Fetch it with `ctsl data {name} --download` ({source.megabytes} MB from "
        f"{source.url}), or put {source.archive}, or a tree or zip of class folders named {source.folder} "
        f"(train/<class>/*, test/<class>/*), there. Another folder: set CTSL_DATA."
    )


def check(name: str, arrays: Arrays) -> Arrays:
    """The arrays, if they have the counts, classes and shape that `name` is known for; else DataError."""
    source = _known(name)
    found = (
        (len(arrays.train_labels), len(arrays.test_labels)),
        len(arrays.class_names),
        arrays.train_images.shape[1:],
    )
    if found != (source.counts, source.classes, source.shape):
        raise DataError(
            f"{name} must have {source.counts} training and test images of shape {source.shape} in "
            f"{source.classes} classes, found {found[0]}, {found[2]}, {found[1]}"
        )
    return arrays


def _known(name: str) -> Source:
    if name not in SOURCES:
        raise DataError(f"data must be one of {', '.join(SOURCES)}; got {name!r}")
    return SOURCES[name]


def _with_md5(path: Path, md5: str) -> Path:
    if not check_md5(str(path), md5):
        raise DataError(f"{path} does not have the checksum {md5}: remove it and fetch it again")
    return path


def _read_torchvision(name: str, root: Path) -> Arrays:
    official = _TORCHVISION[name]
    parts = []
    # With the archive there, download=True checks and unpacks it and fetches nothing.
    unpack = name != "fashion_mnist" and not (root / official.base_folder).exists()
    for train in (True, False):
        try:
            parts.append(official(str(root), train=train, download=unpack))
        except (RuntimeError, OSError, EOFError) as error:
            raise DataError(f"{name} in {root} is damaged; remove it and fetch it again ({error})") from error
    images = [np.asarray(part.data).reshape(len(part), *np.asarray(part.data).shape[1:3], -1) for part in parts]
    images = [np.ascontiguousarray(side.transpose(0, 3, 1, 2)) for side in images]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in parts]
    return Arrays(images[0], labels[0], images[1], labels[1], tuple(parts[0].classes))


def read_class_folders(path: Path, size: int | None = None) -> Arrays:
    """Read train/<class>/* and test/<class>/* from a folder or a zip of it; classes in the order of names.

    Args:
        path: the folder, or the zip.
        size: shorten each image's smaller side to this and crop its middle; by default all must be of one size.
    """
    files = list_files(path)
    chosen: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for name in sorted(files):
        parts = PurePosixPath(name).parts
        if len(parts) >= 3 and parts[0] in chosen and name.lower().endswith(IMAGE_SUFFIXES):
            chosen[parts[0]].append((parts[1], name))
    classes = {split: sorted({label for label, _ in members}) for split, members in chosen.items()}
    if len(classes["train"]) < 2:
        raise DataError(f"{path} must hold train/<class>/* with 2 or more classes, found {len(classes['train'])}")
    for here, there in (("train", "test"), ("test", "train")):
        missing = sorted(set(classes[here]) - set(classes[there]))
        if missing:
            raise DataError(f"{path}: {there} has no images for {len(missing)} classes of {here}: {missing[:5]}")
    images = {split: _decode(path, files, [name for _, name in chosen[split]], size) for split in chosen}
    if images["train"].shape[1:] != images["test"].shape[1:]:
        raise DataError(f"{path}: images of train and test differ in size; give a size to bring them to")
    index = {label: number for number, label in enumerate(classes["train"])}
    labels = {s: np.array([index[label] for label, _ in chosen[s]], dtype=np.int64) for s in chosen}
    return Arrays(images["train"], labels["train"], images["test"], labels["test"], tuple(classes["train"]))


def read_tiny_imagenet(path: Path) -> Arrays:
    """Read the official zip or its folder. Its test images have no labels: `val`, 10,000 images, is the test set.

    The validation images lie in one folder; val_annotations.txt names the class of each.
    """
    files = list_files(path)
    train = sorted(name for name in files if name.startswith("train/") and name.endswith(".JPEG"))
    wnids = sorted({PurePosixPath(name).parts[1] for name in train})
    index = {wnid: number for number, wnid in enumerate(wnids)}
    if "val/val_annotations.txt" not in files:
        raise DataError(f"{path} has no val/val_annotations.txt: is it the official tiny-imagenet-200.zip?")
    rows = [line.split("\t") for line in files["val/val_annotations.txt"]().decode().splitlines() if line]
    for row in rows:
        if len(row) < 2 or row[1] not in index or f"val/images/{row[0]}" not in files:
            raise DataError(f"{path}: val_annotations.txt names an unknown class or image: {row[:2]}")
    test = [f"val/images/{row[0]}" for row in rows]
    return Arrays(
        _decode(path, files, train, None),
        np.array([index[PurePosixPath(name).parts[1]] for name in train], dtype=np.int64),
        _decode(path, files, test, None),
        np.array([index[row[1]] for row in rows], dtype=np.int64),
        tuple(wnids),
    )


def list_files(path: Path) -> Files:
    """All files of a folder or a zip by their path in it, without a single folder that may enclose them all.

    Nothing is ever unpacked; a zip whose members would leave its folder is refused all the same.
    """
    if path.is_dir():
        every = sorted(file for file in path.rglob("*") if file.is_file())
        found = {file.relative_to(path).as_posix(): file.read_bytes for file in every}
    else:
        found = _list_zip(path)
    tops = {name.split("/", 1)[0] for name in found}
    if len(tops) == 1 and not tops & {"train", "test", "val"}:
        found = {name.split("/", 1)[1]: read for name, read in found.items() if "/" in name}
    return found


def _list_zip(path: Path) -> dict[str, Callable[[], bytes]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is not a whole zip file ({error}); fetch it again") from error
    found: dict[str, Callable[[], bytes]] = {}
    for info in archive.infolist():
        place = PurePosixPath(info.filename)
        if place.is_absolute() or ".." in place.parts or "\\" in info.filename:
            raise DataError(f"{path} holds {info.filename!r}, which leads out of its folder: not read")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{path} holds a link, {info.filename!r}: not read")
        if not info.is_dir() and place.parts[0] != "__MACOSX":
            found[info.filename] = lambda info=info: archive.read(info)  # type: ignore[misc]
    return found


def _decode(path: Path, files: Files, names: list[str], size: int | None) -> np.ndarray:
    """The images with these names as one (N, 3, H, W) array."""
    found: np.ndarray | None = None
    for position, name in enumerate(names):
        try:
            with Image.open(BytesIO(files[name]())) as opened:
                picture = opened.convert("RGB")
        except (UnidentifiedImageError, zipfile.BadZipFile, OSError, SyntaxError) as error:
            raise DataError(f"{path}: {name} cannot be read as an image ({error})") from error
        if size is not None:
            picture = torchvision.transforms.functional.resize(picture, size)
            picture = torchvision.transforms.functional.center_crop(picture, [size, size])
        pixels = np.asarray(picture).transpose(2, 0, 1)
        if found is None:
            found = np.empty((len(names), *pixels.shape), dtype=np.uint8)
        if pixels.shape != found.shape[1:]:
            (_, height, width), (_, first_height, first_width) = pixels.shape, found.shape[1:]
            raise DataError(
                f"{path}: {name} is {width}x{height}, the images before it {first_width}x{first_height}; "
                "give a size to bring them to"
            )
        found[position] = pixels
    if found is None:
        raise DataError(f"{path} holds no images")
    return found
