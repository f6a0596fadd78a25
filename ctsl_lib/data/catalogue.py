"""Data sets as a person calls for them: by name, or by the path of class folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from ctsl_lib.data.specs import DATA_SETS, DataSettings, ImageFolder, Images, Reid, one_spelling
from ctsl_lib.environment import data_root, suggestion

NAMED = tuple(get_args(Images.model_fields["name"].annotation))
"""Published sets of real images."""
PAPER_SETS = ("cifar10", "cifar100", "tiny_imagenet", "market1501")
"""The four data sets that the paper's claims speak of."""


def retrieval_sets() -> tuple[str, ...]:
    """Names of the data sets whose test images are ranked, not classified."""
    return tuple(name for name, settings in DATA_SETS.items() if issubclass(settings, Reid))


def data_class(dataset: str) -> type[DataSettings]:
    """The class of the data set called `dataset`; any other word is the path of class folders."""
    return DATA_SETS.get(dataset, ImageFolder)


def data_spec(dataset: str, values: Mapping[str, Any]) -> DataSettings:
    """The settings of a data set.

    Args:
        dataset: its name, or the path of a folder or zip of class folders.
        values: fields of its class, by name.
    """
    kind = data_class(dataset)
    place = {"path": dataset} if kind is ImageFolder else {"name": dataset}
    return kind.model_validate(place | dict(values))


def check_data_set(dataset: str) -> str:
    """Return a known name as it is, or a path that exists in its one spelling, else raise a ValueError.

    For the spelling see `specs.one_spelling`; the message says which names are known.
    """
    names = [name for name in DATA_SETS if name != "folder"]
    if dataset in names:
        return dataset
    path = one_spelling(dataset)
    if not (data_root() / path).exists():
        here = Path(dataset).absolute()
        hint = f"; did you mean {here}?" if here.exists() else suggestion(dataset, names)
        raise ValueError(
            f"dataset must be one of {', '.join(names)}, or the path of a folder or zip of class folders (looked for "
            f"in {data_root()}); got {dataset!r}{hint}"
        )
    return path
