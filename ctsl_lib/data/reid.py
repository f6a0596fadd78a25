"""Person re-identification as data of a spec: train on some persons, search for others by the embedding."""

import hashlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ctsl_lib.data.cache import FORMAT, Entry, cached, entry_name, spread, statistics
from ctsl_lib.data.market1501 import Market, Pictures, deviations, find_market, read_market
from ctsl_lib.data.specs import Market1501, Metric, SyntheticMarket
from ctsl_lib.data.splits import add_label_noise
from ctsl_lib.data.synthetic_market import DRAWING, write_synthetic_market
from ctsl_lib.data.types import Dataset, RetrievalSplit, Sightings, Split
from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError
from ctsl_lib.randomness import generator


def load_splits(
    settings: Market1501 | SyntheticMarket, entry: Entry, seed: int, persons: int | None = None
) -> Dataset:
    """The data set; which persons train (all, or this many) and which validate follows from `seed`.

    The persons searched for in the test images are the same for every seed; none of them trains, and no label noise
    touches them.

    Args:
        settings: how many persons validate, which labels are noisy, and by which distance a gallery is ranked.
        entry: the decoded pictures; see `market_entry` and `synthetic_entry`.
        seed: of the run. persons: to train on; None for all that validation leaves.

    Returns: pictures (N, 3, H, W) uint8; labels number the trained persons.
    Raises: DataError where there are too few persons.
    """
    parts = {
        part: Pictures(*(entry.arrays[f"{part}_{field}"] for field in Pictures._fields))
        for part in Market._fields
    }
    images, identity, camera = (torch.from_numpy(values) for values in parts["train"])
    everyone = identity.unique()
    most = len(everyone) - settings.n_validation
    if persons is None and most < 2:
        raise DataError(
            f"n_validation must leave 2 or more of the {len(everyone)} training persons, got {settings.n_validation}"
        )
    if persons is not None and most < max(persons, 2):
        raise DataError(
            f"identities and n_validation must be at most the {len(everyone)} training persons together, "
            f"2 of whom train at least; got {persons} and {settings.n_validation}"
        )
    order = everyone[torch.randperm(len(everyone), generator=generator(seed, "validation"))]
    apart, rest = order[: settings.n_validation], order[settings.n_validation :]
    trained = (rest if persons is None else rest[:persons]).sort().values
    rows = torch.isin(identity, trained)
    labels = torch.searchsorted(trained, identity[rows])
    noisy = add_label_noise(labels, settings.label_noise, num_classes=len(trained), seed=seed)
    train = images if bool(rows.all()) else images[rows]  # all: mapped, which costs no memory
    query, gallery = (
        Sightings(*(torch.from_numpy(values) for values in parts[part])) for part in ("query", "gallery")
    )
    about = entry.about
    return Dataset(
        name=settings.name,
        train=Split(train, noisy, labels),
        validation=_searches(images, identity, camera, apart, settings.distance),
        test=RetrievalSplit(query, gallery, settings.distance),
        class_names=tuple(f"{person:04d}" for person in trained.tolist()),
        mean=tuple(about["mean"]),
        std=spread(about["std"]),
        digest=about["digest"],
    )


def _searches(
    images: Tensor, identity: Tensor, camera: Tensor, persons: Tensor, distance: Metric
) -> RetrievalSplit:
    """Searches for these persons: the first picture of each by each camera is a query, the others the gallery.

    Raises: DataError if there are persons, but none of them can be found.
    """
    rows = torch.isin(identity, persons).nonzero().flatten()
    pairs = pd.DataFrame({"identity": identity[rows], "camera": camera[rows]})
    again = torch.tensor(pairs.duplicated().to_numpy())
    of_person = pairs.groupby("identity")["camera"].agg(["nunique", "count"])
    found = (of_person["nunique"] > 1) & (of_person["count"] > of_person["nunique"])
    if len(persons) and not found.any():
        raise DataError(
            f"none of the {len(persons)} persons for validation can be searched for: that takes pictures by two "
            "cameras, and two by one of them; raise n_validation"
        )

    def side(chosen: Tensor) -> Sightings:
        return Sightings(images[chosen], identity[chosen], camera[chosen])

    return RetrievalSplit(side(rows[~again]), side(rows[again]), distance)


def market_entry(settings: Market1501) -> Entry:
    """The decoded pictures of Market-1501, or of another set in its layout.

    Args:
        settings: the place, and the height and width in pixels.

    Returns: arrays `<part>_images`, `<part>_identities`, `<part>_cameras`; in `about` the deviations.
    Raises: DataError where they are not at hand or cannot be used.
    """
    path = find_market() if settings.path is None else data_root() / settings.path
    if not path.exists():
        raise DataError(f"path must be a folder or zip in Market-1501's layout; {path} does not exist")
    size = (settings.height, settings.width)

    def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        market = read_market(path, size)
        said = deviations(market)
        if said:
            warnings.warn(f"{path} is not quite Market-1501 as published: {'; '.join(said)}", stacklevel=2)
        return _entry_of(market, deviations=said)

    return cached(entry_name(path, size), build)


def synthetic_entry(settings: SyntheticMarket) -> Entry:
    """The drawn pictures of the synthetic set; arrays as of `market_entry`.

    Args:
        settings: how many figures are drawn, and how large.
    """
    fields = ("identities", "cameras", "images_per_camera", "distractors")
    drawn = {name: getattr(settings, name) for name in fields} | {"size": (settings.height, settings.width)}

    def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            return _entry_of(read_market(write_synthetic_market(Path(folder), **drawn), size=None))

    key = hashlib.sha256(repr((FORMAT, DRAWING, drawn)).encode()).hexdigest()[:16]
    return cached(f"synthetic-market-{key}", build)


def _entry_of(market: Market, **about: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {
        f"{part}_{field}": values
        for part, pictures in market._asdict().items()
        for field, values in pictures._asdict().items()
    }
    return arrays, about | statistics(market.train.images)
