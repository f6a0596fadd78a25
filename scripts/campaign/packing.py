"""Archives and pictures that are made in memory, right ones and wrong ones."""

import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image

Members = dict[str, bytes]
"""Path in an archive -> content."""


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """A picture file of pixels (H, W, 3) uint8, or (H, W) for grey."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def tree() -> Members:
    """Class folders of two classes with twelve pictures each for training, and two to test."""
    draw = np.random.default_rng(0)
    counts = {"train/a": 12, "train/b": 12, "test/a": 2, "test/b": 2}
    return {
        f"{place}/{number:02}.png": png(draw.integers(256, size=(8, 8, 3), dtype=np.uint8))
        for place, count in counts.items()
        for number in range(count)
    }


def claims(width: int, height: int) -> bytes:
    """A PNG file of some hundred bytes that says how large it is, and has not a line of that."""
    parts = [
        (b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b""),
    ]  # fmt: skip
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def packed(members: Members, spoil: Callable[[list[zipfile.ZipInfo]], None] | None = None) -> bytes:
    """A zip of these members.

    Args:
        members: path -> content.
        spoil: changes what the list of contents says.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(name, content)
        if spoil is not None:
            spoil(archive.infolist())
    return buffer.getvalue()


def tarred(members: Members, draw: Random) -> bytes:
    """A tar of these members with links that lead out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("train/a/link.png")
        link.type, link.linkname = draw.choice([tarfile.SYMTYPE, tarfile.LNKTYPE]), "../../../outside.png"
        archive.addfile(link)
    return buffer.getvalue()
