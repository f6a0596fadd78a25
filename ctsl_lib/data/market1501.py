"""Market-1501 in its official layout: `bounding_box_train`, `query`, `bounding_box_test`, as a folder or a zip.

A file name says who was seen by which camera: `0002_c1s1_000451_03.jpg` is identity 2 by camera 1.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ctsl_lib.data.decoding import SUFFIXES, read_images, suffix
from ctsl_lib.data.files import Files, left_out, list_files
from ctsl_lib.data.types import DISTRACTOR
from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError, plain

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
NAME = re.compile(r"(-1|\d{4})_c([1-9])s\d_\d{6}_\d{2}(\.\w+)+")
"""Identity and camera; a few published files end in .jpg twice."""
PLACES = ("Market-1501-v15.09.15", "Market-1501", "market1501")
"""Names under which it is looked for in the data folder, as they are or with .zip."""
PUBLISHED = {
    "training images": 12_936, "query images": 3_368, "gallery images": 15_913,
    "training identities": 751, "query identities": 750,
}  # fmt: skip
"""Counts after junk is dropped (Zheng et al. 2015; torchreid has the same)."""


class Pictures(NamedTuple):
    """Images (N, 3, H, W) uint8, with each one's identity and camera, (N,) int64, ordered by file name."""

    images: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray


class Market(NamedTuple):
    """The three parts. Junk (identity -1) is dropped; distractors (0) are in the gallery alone."""

    train: Pictures
    query: Pictures
    gallery: Pictures


def find_market(root: Path | None = None) -> Path:
    """Where Market-1501 is in the data folder: the first of `PLACES`, as a folder or a zip.

    Args:
        root: the data folder; by default what `data_root` says.

    Raises: DataError that says how to come by it.
    """
    root = root if root is not None else data_root()
    for place in PLACES:
        for path in (root / place, root / f"{place}.zip"):
            if path.exists():
                return path
    raise DataError(
        f"Market-1501 is not in {root}. It is given out by its authors (Zheng et al. 2015, 'Scalable Person "
        f"Re-identification: A Benchmark'), so the kit does not download it. Put the folder {PLACES[0]}, or a "
        "zip of it, into the data folder, or let CTSL_DATA name the folder that holds it"
    )


def read_market(path: Path, size: tuple[int, int] | None = (256, 128)) -> Market:
    """Read all three parts. Files in their folders that are no pictures are counted in a warning and left out.

    Args:
        path: the folder or zip, the layout at its top or one folder below.
        size: (height, width) that each image is resized to; None where all have one size already.

    Raises: DataError on a missing or empty part, a wrong file name, a damaged image, or mixed sizes where
        `size` is None.
    """
    files = list_files(path)
    return Market(*(_read_part(path, files, part, size) for part in FOLDERS))


def _read_part(path: Path, files: Files, part: str, size: tuple[int, int] | None) -> Pictures:
    folder = FOLDERS[part]
    there = sorted(name for name in files.readers if name.split("/")[-2:-1] == [folder])
    names = [name for name in there if name.lower().endswith(SUFFIXES)]
    left_out(path, Counter(suffix(name) for name in there if not name.lower().endswith(SUFFIXES)))
    if not names:
        raise DataError(f"{path} needs images {folder}/*.jpg, as Market-1501 is laid out; there are none")
    labels = [_parse(path, name) for name in names]
    lowest = DISTRACTOR if part == "gallery" else DISTRACTOR + 1
    kept = [(name, label) for name, label in zip(names, labels, strict=True) if label[0] >= lowest]
    if not kept:
        raise DataError(f"{path}: {folder} shows no person; all its images are junk or distractors")
    images = read_images(files, [name for name, _ in kept], size, "give a (height, width) to bring them to")
    identities, cameras = np.array([label for _, label in kept], dtype=np.int64).T
    return Pictures(images, identities, cameras)


def _parse(path: Path, name: str) -> tuple[int, int]:
    match = NAME.fullmatch(name.rsplit("/", 1)[-1])
    if match is None:
        raise DataError(
            f"{path}: {plain(name)} must be named like 0002_c1s1_000451_03.jpg (identity, camera, sequence, frame, box)"
        )
    return int(match[1]), int(match[2])


def deviations(market: Market) -> list[str]:
    """In what these images differ from the published data set, and what will not count.

    Args:
        market: what was read.

    Returns: a sentence each; none for the published set.
    """
    found = {
        "training images": len(market.train.identities),
        "query images": len(market.query.identities),
        "gallery images": len(market.gallery.identities),
        "training identities": len(set(market.train.identities.tolist())),
        "query identities": len(set(market.query.identities.tolist())),
    }
    said = [
        f"{name}: {count:,}, published {PUBLISHED[name]:,}"
        for name, count in found.items()
        if count != PUBLISHED[name]
    ]
    query, gallery = (
        pd.DataFrame({"identity": side.identities, "camera": side.cameras})
        for side in (market.query, market.gallery)
    )
    # A query counts if the gallery has the person by another camera.
    pairs = query.reset_index().merge(gallery.drop_duplicates(), on="identity", suffixes=("", " there"))
    counted = pairs.loc[pairs["camera"] != pairs["camera there"], "index"]
    for identity, count in query[~query.index.isin(counted)].groupby("identity").size().items():
        said.append(
            f"identity {identity}: {count} queries cannot count, as no other camera has it in the gallery"
        )
    return said
