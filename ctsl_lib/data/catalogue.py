"""All data sets that a spec may name, and how each is called for by name."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ctsl_lib.data.archives import SOURCES
from ctsl_lib.data.digits import Digits
from ctsl_lib.data.images import ImageFolder, Images
from ctsl_lib.data.reid import Market1501, SyntheticMarket

DataSpec = Annotated[Digits | Images | ImageFolder | Market1501 | SyntheticMarket, Field(discriminator="name")]
"""What a spec may name as its data."""
RETRIEVAL = ("market1501", "synthetic_market")
"""Those whose test images are ranked, not classified."""


def data_class(dataset: str) -> type[DataSpec]:
    """The class of the data set called `dataset`; any other word is the path of class folders."""
    if dataset in SOURCES:
        return Images
    named: dict[str, type[DataSpec]] = {
        "digits": Digits, "market1501": Market1501, "synthetic_market": SyntheticMarket
    }  # fmt: skip
    return named.get(dataset, ImageFolder)


def data_spec(dataset: str, values: Mapping[str, Any]) -> DataSpec:
    """The data set called `dataset`, or the folder or zip of class folders at that path, with these values."""
    kind = data_class(dataset)
    place = {"path": dataset} if kind is ImageFolder else {"name": dataset}
    return kind.model_validate(place | dict(values))
