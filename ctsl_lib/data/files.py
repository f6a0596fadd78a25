"""The files of a folder or a zip, by their path in it: listed in one pass, read one by one, never unpacked."""

import lzma
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from ctsl_lib.environment import open_file
from ctsl_lib.errors import DataError, plain, shown

LARGEST = 512 * 2**20
"""Bytes that one file may have, unpacked: more than a picture of as many pixels as are allowed can need."""
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini")
"""Names, in small letters, that systems leave beside pictures."""
_DAMAGE = (
    OSError, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    RuntimeError,  # zipfile's, as NotImplementedError, for an unknown compression
)  # fmt: skip


@dataclass(frozen=True)
class Files:
    """What a folder or a zip holds."""

    path: Path
    """The folder or zip."""
    readers: Mapping[str, Callable[[], bytes]]
    """Path in it, with forward slashes -> function that reads the file."""
    clutter: Mapping[str, int]
    """Why files were passed over -> how many; a hidden folder counts once."""

    def read(self, name: str) -> bytes:
        """The content of a file; raises a DataError that names it and says why it cannot be read."""
        try:
            return self.readers[name]()
        except _DAMAGE as error:
            raise DataError(f"{self.path}: {plain(name)} cannot be read ({plain(str(error))})") from error


def list_files(path: Path) -> Files:
    """All files of a folder or a zip, without a single folder that may enclose them all.

    Links are followed. Passed over and counted is what starts with a dot and what systems leave behind
    (`CLUTTER`), so that a notebook's `.ipynb_checkpoints` is no class.

    Raises: DataError on a link that leads nowhere or in a circle, on a zip that is not whole, and on a zip with
        links or with members that would leave its folder.
    """
    clutter: Counter[str] = Counter()
    if path.is_dir():
        readers: dict[str, Callable[[], bytes]] = {}
        for name, status in walk(path):
            if status is None:
                clutter[_clutter(PurePosixPath(name))[1]] += 1
            else:
                readers[name] = partial(_read_file, path / name, status.st_size)
    else:
        readers = _list_zip(path, clutter)
    tops = {name.split("/", 1)[0] for name in readers}
    if len(tops) == 1 and not tops & {"train", "test", "val"}:
        readers = {name.split("/", 1)[1]: read for name, read in readers.items() if "/" in name}
    return Files(path, readers, clutter)


def walk(folder: Path, top: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, os.stat_result | None]]:
    """Each file's path in the folder and what the system says of it, links followed; None for clutter.

    Args:
        folder: where to begin. top: its path in the folder where the walk began, with a slash.
        above: the real paths of the folders above it, by which a link that leads in a circle is known.

    Raises: DataError as `list_files` does.
    """
    here = os.path.realpath(folder)
    if here in above:
        raise DataError(f"{folder} is a link to a folder that it lies in: remove it")
    try:
        with os.scandir(folder) as entries:
            members = sorted(entries, key=lambda entry: entry.name)
        for entry in members:
            name = top + entry.name
            if _clutter(PurePosixPath(entry.name))[1]:
                yield name, None
                continue
            status = entry.stat()
            if stat.S_ISDIR(status.st_mode):
                yield from walk(folder / entry.name, f"{name}/", (*above, here))
            elif stat.S_ISREG(status.st_mode):
                yield name, status
    except OSError as error:
        place = Path(error.filename or folder)
        what = "is a link that leads nowhere" if place.is_symlink() else "cannot be read"
        raise DataError(f"{place} {what} ({error.strerror})") from error


def left_out(path: Path, reasons: Mapping[str, int]) -> None:
    """Warn of files that were not used, if there are any.

    Args:
        path: the folder or zip. reasons: why -> how many files.
    """
    said = [f"{count} {why}" for why, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]
    if said:
        number = sum(reasons.values())
        what = f"{number} file{'s' if number > 1 else ''} left out: {', '.join(said)}"
        warnings.warn(f"{path.name}: {what}", stacklevel=3)


def _clutter(place: PurePosixPath) -> tuple[str, str]:
    """The path down to the first part that no picture is under, and why; two empty words where there is none."""
    for depth, part in enumerate(place.parts):
        reason = (
            "beginning with a dot" if part.startswith(".")
            else f"named {part}" if part.lower() in CLUTTER else ""
        )  # fmt: skip
        if reason:
            return "/".join(place.parts[: depth + 1]), reason
    return "", ""


def _list_zip(path: Path, clutter: Counter[str]) -> dict[str, Callable[[], bytes]]:
    """The readable members by path; those passed over are counted in `clutter`."""
    try:
        open_file(path).close()  # zipfile would wait for a pipe
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise DataError(f"{path} is not a whole zip file ({error}); fetch it again") from error
    readers: dict[str, Callable[[], bytes]] = {}
    passed: dict[str, str] = {}
    for info in archive.infolist():
        # Zips made on Windows may have backslashes, and then a drive as well.
        name = info.filename.replace("\\", "/")
        place = PurePosixPath(name)
        drive = PureWindowsPath(info.filename).drive if name != info.filename else ""
        if place.is_absolute() or drive or ".." in place.parts:
            raise DataError(f"{path} holds {shown(info.filename)}, which leads out of its folder: not read")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{path} holds a link, {shown(info.filename)}: not read")
        top, reason = _clutter(place)
        if reason:
            passed[top] = reason
        elif not name.endswith("/") and place.parts:
            readers[place.as_posix()] = partial(_read_member, archive, info)
    clutter.update(passed.values())
    return readers


def _read_file(path: Path, size: int) -> bytes:
    _check_size(size)
    return path.read_bytes()


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_size(info.file_size)
    if info.flag_bits & 1:
        raise ValueError("it is encrypted: unpack the zip with its password")
    # No more than the stated size is unpacked, whatever the member really holds.
    with archive.open(info) as member:
        return member.read(info.file_size)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"it has {size / 2**20:,.0f} MB, no file here may have more than {LARGEST >> 20}")
