"""Runs by what a person types: the key of a record, its first digits, or the record's file."""

import re
from collections.abc import Sequence
from pathlib import Path

from ctsl_lib.data.catalogue import check_data_set
from ctsl_lib.environment import expanded
from ctsl_lib.errors import DataError, explained
from ctsl_lib.experiments.spec import Record
from ctsl_lib.experiments.store import Store, read_record
from ctsl_lib.losses.methods import ABLATIONS, METHODS
from ctsl_lib.losses.objective import Objective

KEY = re.compile("[0-9a-f]{4,16}")


def names_a_run(text: str) -> bool:
    """Whether a word may be a run by its form; a folder of images may have the form of a key, too."""
    return text.endswith(".json") or KEY.fullmatch(text) is not None


def names_a_data_set(text: str) -> bool:
    """Whether a word is the name of a data set, or the path of one that exists, and no file of a record."""
    try:
        return not text.endswith(".json") and bool(check_data_set(text))
    except ValueError:
        return False


def find_runs(words: Sequence[str], store: Store) -> list[tuple[Record, Store]]:
    """Runs by their keys or files, each once.

    Args:
        words: what names a run each; see `find_run`.
        store: where keys are looked for.

    Returns: the records, each with the store that it lies in. Raises: the errors of `find_run`.
    """
    found = [find_run(word, store) for word in words]
    return list({where.path(record.spec).resolve(): (record, where) for record, where in found}.values())


def find_run(text: str, store: Store) -> tuple[Record, Store]:
    """A run by its key or its file.

    Args:
        text: a key, four or more of its first digits, or the path of a record.
        store: where keys are looked for.

    Returns: the record, and the store that it lies in.
    Raises: ValueError if there is none or several of that key, DataError if the file is no record.
    """
    if text.endswith(".json"):
        path = expanded("RUN", text).absolute()
        return _read(path), Store(path.parent.parent)
    if not KEY.fullmatch(text):
        raise ValueError(
            f"RUN must be the key of a record, four or more of its first digits, or its file; got {text!r}"
        )
    paths = sorted(store.root.glob(f"*/{text}*.json"))
    if len(paths) != 1:
        found = f"{len(paths)} records begin with it: " if paths else f"no record in {store.root} has it"
        names = ", ".join(path.stem for path in paths[:4]) + (", ..." if len(paths) > 4 else "")
        raise ValueError(f"RUN must be the key of one record, got {text!r}; {found}{names}")
    return _read(paths[0]), store


def _read(path: Path) -> Record:
    try:
        record = read_record(path)
        if record.spec.key != path.stem:
            raise ValueError(f"it must be named after its key, {record.spec.key}.json")
    except Exception as error:  # whatever a file may hold
        raise DataError(f"{path} is not a record: {explained(error)}") from None
    return record


def method_of(objective: Objective) -> str:
    """The name of a method or ablation row of the built-in data; of any other objective its weights in words."""
    named = [name for name, row in (METHODS | ABLATIONS).items() if row == objective]
    return named[0] if named else objective.in_words
