"""Decoded images on disk, built once and then mapped into memory."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np

from ctsl_lib.data.files import walk
from ctsl_lib.environment import cache_root, open_file, read_whole, remove_remains, temporary_beside
from ctsl_lib.errors import DataError

FORMAT = 3
"""Incremented when an entry of the same source would hold something else. 2: every entry has a digest. 3: pictures
are turned as their note says, grey of 16 bits is scaled, what is transparent shows white, links are followed."""

LARGEST = 64 * 2**20
"""Bytes that the facts of an entry may have."""


class Entry(NamedTuple):
    """What the cache holds of one source."""

    arrays: dict[str, np.ndarray]
    """Mapped into memory."""
    about: dict[str, Any]
    """What JSON can say: names, statistics."""


def cached(name: str, build: Callable[[], tuple[Mapping[str, np.ndarray], dict[str, Any]]]) -> Entry:
    """The entry `name`, built only if the cache does not hold it yet.

    An entry appears whole or not at all: two processes may build it at once, and the first one wins. One that was
    cut afterwards is named in a warning and built again. What dead processes left half built is removed.

    Args:
        name: of the entry; see `entry_name`.
        build: gives the arrays by name, and what JSON can say of them. The latter is joined by the `digest` of
            the arrays (see `digest`) unless it has one.

    Returns: the entry, its arrays mapped into memory.
    Raises: DataError where the cache cannot be written or read, or the memory is too small; and whatever else `build`
        raises.
    """
    folder = cache_root() / name
    found = _load(folder)
    if found is None:
        try:
            _write(folder, *build())
        except MemoryError as error:
            raise DataError(
                f"the images of {name} need more memory than there is ({error}); a smaller size needs less"
            ) from error
        found = _load(folder)
    if found is None:
        raise DataError(f"{folder} cannot be read again after it was written; is the disk full or damaged?")
    return found


def _write(folder: Path, arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    about = {"digest": digest(arrays[part] for part in sorted(arrays)), "arrays": sorted(arrays)} | about
    temporary = temporary_beside(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(folder.parent)
        temporary.mkdir()  # not by tempfile, which would lock others out whatever the umask says
        for part, values in arrays.items():
            with (temporary / f"{part}.npy").open("wb") as file:
                # Given a real file, numpy writes it by means that do not say why they fail.
                np.save(cast(Any, SimpleNamespace(write=file.write)), values)
        text = json.dumps(about)
        signed = {"about": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        (temporary / "about.json").write_text(json.dumps(signed), encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another process has built it meanwhile
            raise DataError(
                f"the cache {folder.parent} cannot be written ({error}); CTSL_CACHE may name another"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(folder: Path) -> Entry | None:
    """The entry in this folder; None where there is none, or a damaged one, which is named and taken away."""
    if not folder.exists():
        return None
    try:
        signed = json.loads(read_whole(folder / "about.json", LARGEST))
        if hashlib.sha256(signed["about"].encode()).hexdigest() != signed["sha256"]:
            raise ValueError("about.json is not what was written")
        about = json.loads(signed["about"])
        files = {part: folder / f"{part}.npy" for part in about["arrays"]}
        for file in files.values():
            open_file(file).close()  # NumPy would wait for a pipe
        # Copy-on-write: nobody writes, and PyTorch warns of arrays that cannot be written.
        arrays = {part: np.load(file, mmap_mode="c") for part, file in files.items()}
    except (FileNotFoundError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{folder} in the cache is damaged and is made anew ({error})", stacklevel=3)
        aside = temporary_beside(folder)
        with suppress(FileNotFoundError):  # another process has taken it away meanwhile
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        return None
    except OSError as error:
        raise DataError(f"{folder} in the cache cannot be read ({error}); CTSL_CACHE may name another") from error
    return Entry(arrays, about)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """A hash of the arrays' content, in their order: 32 hexadecimal digits.

    Args:
        arrays: of any shape and kind; neither of them is part of the hash.
    """
    found = hashlib.sha256()
    for values in arrays:
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()[:32]


def entry_name(path: Path, variant: object = None) -> str:
    """A name for the decoded source at `path`; it changes when its files' paths, sizes or times do (rights too).

    Args:
        path: a folder, in which links are followed and clutter does not count (see `files.walk`), or a file.
        variant: in what the entry differs from others of the same source, such as the size of its images.

    Raises: DataError on an empty folder, and as `files.list_files` does.
    """
    seen = walk(path) if path.is_dir() else [("", path.stat())]
    # The last is when content, name or rights changed; unlike the time before it, nobody can set it.
    facts = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in seen if s is not None]
    if not facts:
        raise DataError(f"{path} is empty")
    content = repr((FORMAT, str(path.resolve()), facts, variant))
    return f"{path.name.split('.')[0]}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def statistics(images: np.ndarray) -> dict[str, list[float]]:
    """`mean` and `std` of each channel, exactly, a block of images at a time.

    Args:
        images: (N, channels, H, W) uint8.

    Returns: lists with a number for each channel, in units of 0 to 255.
    """
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), 1024):
        for channel, row in enumerate(counts):
            row += np.bincount(images[start : start + 1024, channel].ravel(), minlength=256)
    share, values = counts / counts[0].sum(), np.arange(256)
    mean = share @ values
    return {"mean": mean.tolist(), "std": np.sqrt(share @ values**2 - mean**2).tolist()}


def spread(std: Sequence[float]) -> tuple[float, ...]:
    """What images are divided by: the deviation of each channel, and 1 for one that is the same everywhere.

    Args:
        std: of the channels, in units of 0 to 255.
    """
    return tuple(one if one > 0 else 1.0 for one in std)
