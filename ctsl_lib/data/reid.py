"""Person re-identification as data of a spec: train on some persons, search for others by the embedding."""

import hashlib
import tempfile
import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from ctsl_lib.data.archives import data_root
from ctsl_lib.data.cache import FORMAT, Entry, cached, entry_name, statistics
from ctsl_lib.data.market1501 import Market, Pictures, deviations, find_market, read_market
from ctsl_lib.data.synthetic_market import DRAWING, write_synthetic_market
from ctsl_lib.data.types import Dataset, Metric, RetrievalSplit, Sightings, Split
from ctsl_lib.errors import DataError
from ctsl_lib.randomness import generator


class Reid(BaseModel, frozen=True, extra="forbid"):
    """What re-identification sets have in common."""

    metric: ClassVar[str] = "mAP"

    height: int = Field(default=256, ge=16)
    width: int = Field(default=128, ge=8)
    """Pixels that each picture is resized to."""
    n_validation: int = Field(default=0, ge=0)
    """Training persons set apart to choose settings on: the first picture by each camera is a query."""
    distance: Metric = "cosine"
    """Between embeddings; the gallery is ranked by it."""

    def dataset(self, name: str, entry: Entry, seed: int, persons: int | None = None) -> Dataset:
        """The data set; which persons train (all, or this many) and which validate follows from `seed`.

        The persons searched for in the test images are the same for every seed; none of them trains.
        """
        parts = {
            part: Pictures(*(entry.arrays[f"{part}_{field}"] for field in Pictures._fields))
            for part in Market._fields
        }
        images, identity, camera = (torch.from_numpy(values) for values in parts["train"])
        everyone = identity.unique()
        if self.n_validation + (persons or 2) > len(everyone):
            raise DataError(
                f"identities and n_validation must be at most the {len(everyone)} training persons together, "
                f"2 of whom train at least; got {persons} and {self.n_validation}"
            )
        order = everyone[torch.randperm(len(everyone), generator=generator(seed, "validation"))]
        apart, rest = order[: self.n_validation], order[self.n_validation :]
        trained = (rest if persons is None else rest[:persons]).sort().values
        rows, labels = torch.isin(identity, trained), torch.searchsorted(trained, identity)
        train = images if bool(rows.all()) else images[rows]  # all: mapped, which costs no memory
        query, gallery = (
            Sightings(*(torch.from_numpy(values) for values in parts[part])) for part in ("query", "gallery")
        )
        about = entry.about
        return Dataset(
            name=name,
            train=Split(train, labels[rows], labels[rows]),
            validation=_searches(images, identity, camera, apart, self.distance),
            test=RetrievalSplit(query, gallery, self.distance),
            class_names=tuple(f"{person:04d}" for person in trained.tolist()),
            mean=tuple(about["mean"]),
            std=tuple(about["std"]),
            digest=about["digest"],
        )


def _searches(
    images: Tensor, identity: Tensor, camera: Tensor, persons: Tensor, distance: Metric
) -> RetrievalSplit:
    """Searches for these persons: the first picture of each by each camera is a query, the others the gallery."""
    seen: set[tuple[int, int]] = set()
    query: list[int] = []
    gallery: list[int] = []
    for row in torch.isin(identity, persons).nonzero().flatten().tolist():
        place = (int(identity[row]), int(camera[row]))
        (gallery if place in seen else query).append(row)
        seen.add(place)

    def side(rows: list[int]) -> Sightings:
        return Sightings(images[rows], identity[rows], camera[rows])

    return RetrievalSplit(side(query), side(gallery), distance)


class Market1501(Reid, frozen=True, extra="forbid"):
    """Market-1501, or another set in its layout; it is given out by its authors and never downloaded."""

    name: Literal["market1501"] = "market1501"
    path: str | None = None
    """Folder or zip; a relative path is looked for in the data folder. None: where `market.find_market` looks."""
    identities: int | None = Field(default=None, ge=2)
    """Persons to train on; None for all that validation leaves."""

    def load(self, seed: int) -> Dataset:
        """The data set; see `Reid.dataset`."""
        return self.dataset(self.name, self._entry(), seed, self.identities)

    def digest(self) -> str:
        """A hash of all decoded pictures, identities and cameras; raises DataError where they are not at hand."""
        return str(self._entry().about["digest"])

    def deviations(self) -> list[str]:
        """In what the pictures differ from the published set, a sentence each; see `market.deviations`."""
        return list(self._entry().about["deviations"])

    def _entry(self) -> Entry:
        path = find_market() if self.path is None else data_root() / self.path
        if not path.exists():
            raise DataError(f"path must be a folder or zip in Market-1501's layout; {path} does not exist")
        size = (self.height, self.width)

        def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            market = read_market(path, size)
            said = deviations(market)
            if said:
                warnings.warn(f"{path} is not quite Market-1501 as published: {'; '.join(said)}", stacklevel=2)
            return _entry_of(market, deviations=said)

        return cached(entry_name(path, size), build)


class SyntheticMarket(Reid, frozen=True, extra="forbid"):
    """Drawn figures in Market-1501's layout, for tests and for the quick profile: nothing real is shown."""

    name: Literal["synthetic_market"] = "synthetic_market"
    identities: int = Field(default=60, ge=4)
    """Figures; the first half trains, the others are searched for."""
    cameras: int = Field(default=4, ge=2, le=9)
    images_per_camera: int = Field(default=3, ge=2)
    """Of each figure."""
    distractors: int = Field(default=20, ge=0)
    """Gallery pictures of figures that nobody searches for."""
    height: int = Field(default=64, ge=16)
    width: int = Field(default=32, ge=8)

    def load(self, seed: int) -> Dataset:
        """The data set; the pictures are the same for every seed. See `Reid.dataset`."""
        return self.dataset(self.name, self._entry(), seed)

    def digest(self) -> str:
        """A hash of all drawn pictures, identities and cameras."""
        return str(self._entry().about["digest"])

    def _entry(self) -> Entry:
        fields = ("identities", "cameras", "images_per_camera", "distractors")
        settings = {name: getattr(self, name) for name in fields} | {"size": (self.height, self.width)}

        def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            with tempfile.TemporaryDirectory() as folder:
                return _entry_of(read_market(write_synthetic_market(Path(folder), **settings), size=None))

        key = hashlib.sha256(repr((FORMAT, DRAWING, settings)).encode()).hexdigest()[:16]
        return cached(f"synthetic-market-{key}", build)


def _entry_of(market: Market, **about: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {
        f"{part}_{field}": values
        for part, pictures in market._asdict().items()
        for field, values in pictures._asdict().items()
    }
    return arrays, about | statistics(market.train.images)
