"""Pictures in folders that are named for their classes, read into arrays."""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ctsl_lib.data.decoding import SUFFIXES, read_images, suffix
from ctsl_lib.data.files import left_out, list_files
from ctsl_lib.errors import DataError, shown

ADVICE = "bring them to one size: `-p size=32` (pixels; any number from 8 on)"


class Arrays(NamedTuple):
    """A data set as it was published: images (N, channels, H, W) uint8, labels (N,) int64."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


def read_class_folders(path: Path, size: int | None = None, advice: str = ADVICE) -> Arrays:
    """Read train/<class>/* and test/<class>/* from a folder or a zip of it; classes in the order of names.

    Files that are no pictures, or lie elsewhere, are counted in a warning and left out.

    Args:
        path: the folder, or the zip.
        size: shorten each image's smaller side to this and crop its middle; by default all must be of one size.
        advice: what to do where they are not, the end of a message.

    Returns: the images with three channels.
    Raises: DataError on a damaged image, which it names, on sizes or classes that do not agree, and as
        `files.list_files` does.
    """
    files = list_files(path)
    chosen: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    others = Counter(files.clutter)
    for name in sorted(files.readers):
        parts = PurePosixPath(name).parts
        if not name.lower().endswith(SUFFIXES):
            others[suffix(name)] += 1
        elif len(parts) >= 3 and parts[0] in chosen:
            chosen[parts[0]].append((parts[1], name))
        else:
            others["outside train/<class> and test/<class>"] += 1
    left_out(path, others)
    classes = {split: sorted({label for label, _ in members}) for split, members in chosen.items()}
    if len(classes["train"]) < 2:
        raise DataError(f"{path} must hold train/<class>/* with 2 or more classes, found {len(classes['train'])}")
    for here, there in (("train", "test"), ("test", "train")):
        missing = sorted(set(classes[here]) - set(classes[there]))
        if missing:
            raise DataError(
                f"{path}: {there} has no images for {len(missing)} classes of {here}: {shown(missing)}"
            )
    images = {split: read_images(files, [name for _, name in chosen[split]], size, advice) for split in chosen}
    if images["train"].shape[1:] != images["test"].shape[1:]:
        raise DataError(f"{path}: images of train and test differ in size; {advice}")
    index = {label: number for number, label in enumerate(classes["train"])}
    labels = {s: np.array([index[label] for label, _ in chosen[s]], dtype=np.int64) for s in chosen}
    return Arrays(images["train"], labels["train"], images["test"], labels["test"], tuple(classes["train"]))
