"""Decoded images on disk, built once and then mapped into memory."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctsl_lib.environment import cache_root
from ctsl_lib.errors import DataError

FORMAT = 2
"""Incremented when an entry of the same source would hold something else. 2: every entry has a digest."""


class Entry(NamedTuple):
    """What the cache holds of one source."""

    arrays: dict[str, np.ndarray]
    """Mapped into memory."""
    about: dict[str, Any]
    """What JSON can say: names, statistics."""


def cached(name: str, build: Callable[[], tuple[Mapping[str, np.ndarray], dict[str, Any]]]) -> Entry:
    """The entry `name`, built only if the cache does not hold it yet.

    An entry appears whole or not at all: two processes may build it at once, and the first one wins. What it says
    of itself includes the `digest` of its arrays, which `build` may give; see `digest`.
    """
    folder = cache_root() / name
    if not folder.exists():
        arrays, about = build()
        about = {"digest": digest(arrays[part] for part in sorted(arrays))} | about
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for part, values in arrays.items():
                np.save(temporary / f"{part}.npy", values)
            (temporary / "about.json").write_text(json.dumps(about), encoding="utf-8")
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process has built it meanwhile
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    # Copy-on-write: nobody writes, and PyTorch warns of arrays that cannot be written.
    found = {path.stem: np.load(path, mmap_mode="c") for path in sorted(folder.glob("*.npy"))}
    return Entry(found, json.loads((folder / "about.json").read_text(encoding="utf-8")))


def digest(arrays: Iterable[np.ndarray]) -> str:
    """A hash of the arrays' content, in their order."""
    found = hashlib.sha256()
    for values in arrays:
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()[:32]


def entry_name(path: Path, variant: object = None) -> str:
    """A name for the decoded source at `path`; it changes when its files' paths, sizes or times do."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} is empty")
    facts = [(str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    content = repr((FORMAT, str(path.resolve()), facts, variant))
    return f"{path.name.split('.')[0]}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def statistics(images: np.ndarray) -> dict[str, list[float]]:
    """`mean` and `std` of each channel, exactly, a block of images at a time."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), 1024):
        for channel, row in enumerate(counts):
            row += np.bincount(images[start : start + 1024, channel].ravel(), minlength=256)
    share, values = counts / counts[0].sum(), np.arange(256)
    mean = share @ values
    return {"mean": mean.tolist(), "std": np.sqrt(share @ values**2 - mean**2).tolist()}
