"""What a spec may name as its data: settings alone. What they stand for is read when it is loaded.

Nothing here needs torch, so that a wrong setting is named at once.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SerializeAsAny, model_validator

from ctsl_lib.environment import data_root, expanded
from ctsl_lib.errors import shown

if TYPE_CHECKING:
    from ctsl_lib.data.types import Dataset

Metric = Literal["cosine", "euclidean"]
"""A distance between embeddings, by which a gallery is ranked."""


class DataSettings(BaseModel, frozen=True, extra="forbid"):
    """Common to all data sets."""

    metric: ClassVar[str] = "top1"
    """The number that a network is judged by first; see `ctsl_lib.metrics.evaluation`."""

    name: str

    @model_validator(mode="after")
    def _hashable(self) -> Self:
        for name in type(self).model_fields:
            try:
                hash(getattr(self, name))
            except TypeError:
                raise ValueError(
                    f"{name} must be of a type that cannot change, such as a tuple for a list"
                ) from None
        return self

    def load(self, seed: int) -> "Dataset":
        """The data set: its splits and wrong labels follow from `seed`, its test images do not.

        Raises: DataError where the images are not at hand or cannot be used.
        """
        raise NotImplementedError

    def digest(self) -> str:
        """A hash of all decoded images and labels; raises DataError as `load` does."""
        raise NotImplementedError


class Digits(DataSettings, frozen=True, extra="forbid"):
    """scikit-learn's 1,797 real 8x8 images of handwritten digits, made hard by little and noisy data."""

    name: Literal["digits"] = "digits"
    n_train: int = Field(default=400, ge=20, le=800)
    """Number of training images."""
    label_noise: float = Field(default=0.4, ge=0, lt=1)
    """Share of training images that carry a random label (any of the ten, so a tenth of them stay right)."""

    def load(self, seed: int) -> "Dataset":
        """The data set; see `digits.load_splits`."""
        from ctsl_lib.data import digits

        return digits.load_splits(self, seed)

    def digest(self) -> str:
        """A hash of all 1,797 images and their labels, before any noise."""
        from ctsl_lib.data import digits

        return digits.content()


def one_spelling(path: str) -> str:
    """A path of images as specs have it: one folder is one data set however it is written, as long as CTSL_DATA stays.

    Args:
        path: of a folder or zip; a relative one is looked for in the data folder, ~ is the home.

    Returns: the path in the data folder where it lies in it, else the absolute path.
    Raises: ValueError if it is empty or begins with the home of a user who does not exist.
    """
    if not path.strip():
        raise ValueError("path must name a folder or a zip; got nothing")
    root = Path(os.path.normpath(data_root().absolute()))
    place = Path(os.path.normpath(root / expanded("path", path)))
    return place.relative_to(root).as_posix() if root in place.parents else str(place)


DataPath = Annotated[str, AfterValidator(one_spelling)]
"""A folder or zip of images."""


class Images(DataSettings, frozen=True, extra="forbid"):
    """A published data set of real images; where it is looked for, see `ctsl data`."""

    name: Literal["cifar10", "cifar100", "tiny_imagenet", "fashion_mnist"]
    n_train: int | None = Field(default=None, ge=20)
    """Number of training images, every class in proportion; None for all that validation leaves."""
    n_validation: int = Field(default=0, ge=0)
    """Training images set apart to choose settings on."""
    label_noise: float = Field(default=0, ge=0, lt=1)
    """Share of training images that carry a random label."""

    def load(self, seed: int) -> "Dataset":
        """The data set; which images train and validate, and which labels are wrong, follows from `seed`."""
        from ctsl_lib.data import images

        return images.load_splits(self, seed)

    def digest(self) -> str:
        """A hash of all decoded images and labels."""
        from ctsl_lib.data import images

        return images.decoded(self).digest


class ImageFolder(Images, frozen=True, extra="forbid"):
    """Your own images: a folder or zip with train/<class>/* and test/<class>/*."""

    name: Literal["folder"] = "folder"  # type: ignore[assignment]
    path: DataPath
    """Folder or zip; a relative path is looked for in the data folder."""
    size: int | None = Field(default=None, ge=8)
    """Shorten each image's smaller side to this and crop its middle; None where all have one size."""


class Reid(DataSettings, frozen=True, extra="forbid"):
    """What person re-identification sets have in common."""

    metric: ClassVar[str] = "mAP"

    height: int = Field(default=256, ge=16)
    width: int = Field(default=128, ge=8)
    """Pixels that each picture is resized to."""
    n_validation: int = Field(default=0, ge=0)
    """Training persons set apart to choose settings on: the first picture by each camera is a query."""
    label_noise: float = Field(default=0, ge=0, lt=1)
    """Share of training pictures that carry a random training person's number."""
    distance: Metric = "cosine"
    """Between embeddings; the gallery is ranked by it."""


class Market1501(Reid, frozen=True, extra="forbid"):
    """Market-1501, or another set in its layout; it is given out by its authors and never downloaded."""

    name: Literal["market1501"] = "market1501"
    path: DataPath | None = None
    """Folder or zip; a relative path is looked for in the data folder. None: see `market1501.find_market`."""
    identities: int | None = Field(default=None, ge=2)
    """Persons to train on; None for all that validation leaves."""

    def load(self, seed: int) -> "Dataset":
        """The data set; see `reid.load_splits`."""
        from ctsl_lib.data import reid

        return reid.load_splits(self, reid.market_entry(self), seed, self.identities)

    def digest(self) -> str:
        """A hash of all decoded pictures, identities and cameras."""
        from ctsl_lib.data import reid

        return str(reid.market_entry(self).about["digest"])

    def deviations(self) -> Sequence[str]:
        """In what the pictures differ from the published set, a sentence each; see `market1501.deviations`."""
        from ctsl_lib.data import reid

        return list(reid.market_entry(self).about["deviations"])


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

    def load(self, seed: int) -> "Dataset":
        """The data set; the pictures are the same for every seed. See `reid.load_splits`."""
        from ctsl_lib.data import reid

        return reid.load_splits(self, reid.synthetic_entry(self), seed)

    def digest(self) -> str:
        """A hash of all drawn pictures, identities and cameras."""
        from ctsl_lib.data import reid

        return str(reid.synthetic_entry(self).about["digest"])


DATA_SETS: dict[str, type[DataSettings]] = {}
"""Name -> class of every data set that a spec may name; see `data_set` for how to add one."""


def data_set(settings: type[DataSettings]) -> type[DataSettings]:
    """Let specs name a data set: decorate a class of settings that has a `name`, `load` and `digest`.

    >>> @data_set
    ... class Stripes(DataSettings, frozen=True):
    ...     name: Literal["stripes"] = "stripes"
    ...     width: int = 2
    ...     def load(self, seed): ...  # returns a ctsl_lib.data.types.Dataset
    ...     def digest(self): ...  # returns a hash of all images and labels
    >>> DATA_SETS["stripes"](width=3)
    Stripes(name='stripes', width=3)

    Raises: ValueError if a name is taken or missing.
    """
    field = settings.model_fields.get("name")
    names = get_args(field.annotation) if field is not None else ()
    if not names:
        raise ValueError(f"{settings.__name__} needs a field such as  name: Literal['my_data'] = 'my_data'")
    for name in names:
        if DATA_SETS.get(name, settings) is not settings:
            raise ValueError(f"a data set named {name!r} is registered already")
        DATA_SETS[name] = settings
    return settings


for _known in (Digits, Images, ImageFolder, Market1501, SyntheticMarket):
    data_set(_known)


def _by_name(value: Any) -> Any:
    if isinstance(value, DataSettings) or not isinstance(value, Mapping):
        return value
    name = value.get("name")
    if not isinstance(name, str) or name not in DATA_SETS:
        raise ValueError(f"name must be one of {', '.join(DATA_SETS)}; got {shown(name)}")
    return DATA_SETS[name].model_validate(dict(value))


DataSpec = Annotated[SerializeAsAny[DataSettings], BeforeValidator(_by_name)]
"""What a spec may name as its data."""
