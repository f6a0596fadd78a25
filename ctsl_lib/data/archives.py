"""Published data sets in the data folder: official archives, read as they are, or trees of class folders.

Nothing is unpacked, so that the data folder may be read-only; every archive is checked by its SHA-256.
"""

import gzip
import hashlib
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torchvision

from ctsl_lib.data.class_folders import Arrays, read_class_folders
from ctsl_lib.data.decoding import read_images
from ctsl_lib.data.files import list_files
from ctsl_lib.data.sources import FASHION_FOLDER, is_published, known
from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError

_CIFAR = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
"""Names and checksums of what is in the archives, kept by torchvision."""


def find(name: str, root: Path | None = None) -> tuple[Path, Callable[[], Arrays]]:
    """Where a published data set lies, and a function that reads it.

    Taken is what comes first: the official archive or folder, then `<folder>.zip` or `<folder>/` with class
    folders.

    Args:
        name: a key of `SOURCES`. root: the data folder; by default what `data_root` says.

    Returns: the path, and the function, which raises a DataError where the images cannot be used.
    Raises: DataError that says what to fetch, from where, and how.
    """
    root = root if root is not None else data_root()
    source = known(name)
    archive = root / source.files[0].place
    readers: list[tuple[Path, Callable[[str, Path], Arrays]]] = []
    if name == "tiny_imagenet":
        folder = root / source.folder
        official = _read_tiny if (folder / "val" / "val_annotations.txt").is_file() else _read_tree
        readers = [(archive, _read_tiny_zip), (folder, official)]
    elif name == "fashion_mnist":
        readers = [(root / FASHION_FOLDER, _read_fashion_mnist)]
    else:
        readers = [(root / _CIFAR[name].base_folder, _read_cifar), (archive, _read_cifar)]
    readers += [(root / f"{source.folder}.zip", _read_tree), (root / source.folder, _read_tree)]
    for path, read in readers:
        if path.exists():
            return path, partial(read, name, path)
    files = ", ".join(file.place for file in source.files)
    raise DataError(
        f"{name} is not in {root}. Fetch it with `ctsl data {name} --download` ({source.megabytes} MB from "
        f"{source.files[0].url}), or put {files}, or a tree or zip of class folders named {source.folder} "
        f"(train/<class>/*, test/<class>/*), there. Another folder: set CTSL_DATA."
    )


def check(name: str, arrays: Arrays) -> Arrays:
    """Make sure of the counts, classes and shape that a published data set is known for.

    Args:
        name: a key of `SOURCES`. arrays: what was read.

    Returns: the same arrays.
    Raises: DataError that says what must be and what was found.
    """
    source = known(name)
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


def _read_tree(name: str, path: Path) -> Arrays:
    """Class folders in place of the published files; grey ones where those are grey."""
    channels, height, width = known(name).shape
    arrays = read_class_folders(path, advice=f"{name} has images of {width}x{height} only")
    if channels == 1 and all((side == side[:, :1]).all() for side in (arrays.train_images, arrays.test_images)):
        arrays = arrays._replace(
            train_images=arrays.train_images[:, :1].copy(), test_images=arrays.test_images[:, :1].copy()
        )
    return arrays


def _check_published(path: Path, sha256: str) -> None:
    if not is_published(path, sha256):
        raise DataError(f"{path} is damaged; remove it and fetch it again (its SHA-256 is not {sha256})")


def _checked(content: bytes, md5: str, place: Path) -> bytes:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{place} is damaged; remove it and fetch it again (its MD5 is not {md5})")
    return content


def _read_cifar(name: str, path: Path) -> Arrays:
    """The official archive, or the folder that it unpacks to."""
    official = _CIFAR[name]
    if path.is_dir():
        members = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    else:
        _check_published(path, known(name).files[0].sha256)
        with tarfile.open(path) as archive:
            opened = ((member, archive.extractfile(member)) for member in archive)
            members = {
                PurePosixPath(member.name).name: file.read() for member, file in opened if file is not None
            }

    def load(file: str, md5: str) -> dict[str, Any]:
        if file not in members:
            raise DataError(f"{path} lacks {file}; remove it and fetch it again")
        # A pickle can run anything when it is opened: only the published ones are.
        found: dict[str, Any] = pickle.loads(_checked(members[file], md5, path / file), encoding="latin1")
        return found

    sides = []
    for batches in (official.train_list, official.test_list):
        parts = [load(file, md5) for file, md5 in batches]
        labels = [label for part in parts for label in part["labels" if "labels" in part else "fine_labels"]]
        sides += [
            np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32),
            np.array(labels, dtype=np.int64),
        ]
    names = load(official.meta["filename"], official.meta["md5"])[official.meta["key"]]
    return Arrays(sides[0], sides[1], sides[2], sides[3], tuple(names))


def _read_fashion_mnist(name: str, path: Path) -> Arrays:
    """The four official files, packed (then their checksums are checked) or unpacked."""
    parts = []
    for file in known(name).files:  # images and labels for training, then for the test
        packed = path / PurePosixPath(file.place).name
        unpacked = packed.with_suffix("")
        if not packed.is_file() and not unpacked.is_file():
            raise DataError(f"{path} lacks {packed.name}; fetch it with `ctsl data {name} --download`")
        if packed.is_file():
            _check_published(packed, file.sha256)
        try:
            content = gzip.decompress(packed.read_bytes()) if packed.is_file() else unpacked.read_bytes()
            shape = [int(size) for size in np.frombuffer(content, dtype=">i4", count=content[3], offset=4)]
            values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise DataError(f"{unpacked} is damaged; remove it and fetch it again ({error})") from error
        parts.append(values[:, None] if len(shape) == 3 else values.astype(np.int64))
    names = torchvision.datasets.FashionMNIST.classes
    return Arrays(parts[0], parts[1], parts[2], parts[3], tuple(names))


def _read_tiny_zip(name: str, path: Path) -> Arrays:
    """The official zip, whose checksum is checked, or class folders in a zip of that name."""
    sha256 = known(name).files[0].sha256
    if is_published(path, sha256):
        return read_tiny_imagenet(path)
    if zipfile.is_zipfile(path) and "val/val_annotations.txt" not in list_files(path).readers:
        return _read_tree(name, path)
    raise DataError(f"{path} does not have the SHA-256 {sha256}: remove it and fetch it again")


def _read_tiny(name: str, path: Path) -> Arrays:
    return read_tiny_imagenet(path)


def read_tiny_imagenet(path: Path) -> Arrays:
    """Read the official zip or its folder. Its test images have no labels: `val`, 10,000 images, is the test set.

    The validation images lie in one folder; val_annotations.txt names the class of each.

    Args:
        path: the zip or folder.

    Returns: the images with three channels; classes by their WordNet numbers.
    Raises: DataError where it is not laid out so, or holds a damaged image.
    """
    files = list_files(path)
    train = sorted(name for name in files.readers if name.startswith("train/") and name.endswith(".JPEG"))
    wnids = sorted({PurePosixPath(name).parts[1] for name in train})
    index = {wnid: number for number, wnid in enumerate(wnids)}
    if "val/val_annotations.txt" not in files.readers:
        raise DataError(f"{path} has no val/val_annotations.txt: is it the official tiny-imagenet-200.zip?")
    lines = files.read("val/val_annotations.txt").decode(errors="replace").splitlines()
    rows = [line.split("\t") for line in lines if line]
    for row in rows:
        if len(row) < 2 or row[1] not in index or f"val/images/{row[0]}" not in files.readers:
            raise DataError(f"{path}: val_annotations.txt names an unknown class or image: {row[:2]}")
    return Arrays(
        read_images(files, train),
        np.array([index[PurePosixPath(name).parts[1]] for name in train], dtype=np.int64),
        read_images(files, [f"val/images/{row[0]}" for row in rows]),
        np.array([index[row[1]] for row in rows], dtype=np.int64),
        tuple(wnids),
    )
