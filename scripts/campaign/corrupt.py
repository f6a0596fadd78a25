"""Ways to damage a file that know nothing of what is in it."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random


def flip(content: bytes, draw: Random) -> bytes:
    """Change one to eight bits."""
    changed = bytearray(content)
    for bit in draw.sample(range(8 * len(content)), draw.randint(1, 8)):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cut(content: bytes, draw: Random) -> bytes:
    """Leave the beginning, or the end."""
    place = draw.randrange(len(content))
    return content[:place] if draw.random() < 0.8 else content[place + 1 :]


def overwrite(content: bytes, draw: Random) -> bytes:
    """Put zeros or noise in place of a block, as a disk may."""
    start = draw.randrange(len(content))
    block = draw.randbytes(draw.randint(1, 4096)) if draw.random() < 0.5 else bytes(draw.randint(1, 4096))
    return (content[:start] + block + content[start + len(block) :])[: len(content)]


def add(content: bytes, draw: Random) -> bytes:
    """Add noise at the end, or the content once more."""
    return content + (draw.randbytes(draw.randint(1, 100)) if draw.random() < 0.5 else content)


def replace(content: bytes, draw: Random) -> bytes:
    """Put something in its place that has nothing to do with it."""
    return draw.choice(
        [b"", b"\0" * 4096, b"[" * 200_000, b"GIF89a", b"{}", b"null", b'{"a":' * 100_000, draw.randbytes(1000)]
    )


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (flip, flip, cut, overwrite, add, replace)


def put_something_else(path: Path, draw: Random) -> None:
    """Put a pipe, a folder or a link in place of a file."""
    path.unlink(missing_ok=True)
    match draw.choice(["pipe", "folder", "loop", "nowhere"]):
        case "pipe":
            os.mkfifo(path)
        case "folder":
            (path / "inner").mkdir(parents=True)
        case "loop":
            path.symlink_to(path.name)
        case "nowhere":
            path.symlink_to("nowhere")
