"""Hostile archives: zips, tars and pictures made at random to break, fool or flood whoever reads them."""

import gzip
import io
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from ctsl_lib.data.specs import ImageFolder, Images, Market1501
from ctsl_lib.data.synthetic_market import write_synthetic_market
from ctsl_lib.errors import DataError
from scripts.campaign.corrupt import BYTES
from scripts.campaign.harness import Kind, in_child, require
from scripts.campaign.packing import Members, claims, packed, png, tarred, tree

MEMORY = 2 * 2**30
"""Bytes that reading may take: a picture of as many pixels as are allowed takes half of that."""
SAME, REFUSED, SAME_OR_REFUSED, ANY = "same", "refused", "same or refused", "any"
"""What must become of a change: the images are as without it, none are read, one of the two, or whatever it is."""


# --- changes: each gives a zip, and what must become of it ---------------------------------------------------

Change = Callable[[Members, Random, Path], tuple[bytes, str]]


def leads_out(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """A member that would be written outside."""
    names = [
        "../x.png",
        "train/../../x.png",
        f"{outside}/x.png",
        "..\\x.png",
        "C:\\x.png",
        "\\\\host\\x\\y.png",
        "/x.png",
    ]
    return packed(members | {draw.choice(names): png(np.zeros((8, 8, 3), np.uint8))}), REFUSED


def spoilt(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """A member that is a link, encrypted, compressed by nobody knows what, larger or other than it says."""
    how = draw.choice(["link", "encrypted", "compression", "swollen", "short", "checksum"])

    def spoil(infos: list[zipfile.ZipInfo]) -> None:
        info = draw.choice(infos)
        match how:
            case "link":
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            case "encrypted":
                info.flag_bits |= 1
            case "compression":
                info.compress_type = draw.choice([1, 6, 9, 97, 99])
            case "swollen":
                info.file_size = 3 << 30
            case "short":
                info.file_size //= 2
            case "checksum":
                info.CRC ^= 1

    return packed(members, spoil), REFUSED


def damaged(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """Bits flipped, cut, overwritten, or more at the end, anywhere in the zip."""
    return draw.choice(BYTES)(packed(members), draw), SAME_OR_REFUSED


def bad_picture(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """A picture of any format that is damaged."""
    kind = draw.choice(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
    pixels = np.frombuffer(draw.randbytes(192), dtype=np.uint8).reshape(8, 8, 3)
    content = draw.choice(BYTES)(png(pixels, kind), draw)
    return packed(members | {f"train/a/x.{kind.lower()}": content}), ANY


def bomb(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """Little that wants to become much: pictures of many pixels, many such pictures, a file of zeros."""
    match draw.choice(["claims", "huge", "many", "zeros"]):
        case "claims":
            width, height = draw.choice(
                [(8001, 8000), (100_000, 100_000), (2**31 - 1, 2**31 - 1), (0, 8), (7999, 8000)]
            )
            more = {"train/a/x.png": claims(width, height)}
        case "huge":
            more = {"train/a/x.png": png(np.zeros((9000, 9000), np.uint8))}
        case "many":
            large = png(np.zeros((5000, 5000), np.uint8))
            return packed(
                {
                    f"{part}/{label}/{n}.png": large
                    for part in ("train", "test")
                    for label in "ab"
                    for n in range(20)
                }
            ), REFUSED
        case _:
            more = {"train/a/x.png": bytes(draw.choice([10, 300, 600]) * 2**20)}
    return packed(members | more), REFUSED


def odd_names(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """Names that are legal and rare: of pictures that are none, of classes without a test, of what is left out."""
    odd = draw.choice(
        ["a\nb", "\x1b[31m", "a\u202eb", "x" * 60_000, "ä/é", " ", "con", "x/" * 5000 + "y", "a\rb"]
    )
    name, result = draw.choice(
        [(f"train/a/{odd}.png", REFUSED), (f"train/{odd}/x.png", REFUSED), (f"train/a/x.{odd}", ANY)]
    )
    return packed(members | {name: b"no picture"}), result


def harmless(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """What must not matter: backslashes, a folder around all, names twice, order, clutter in any number."""
    match draw.choice(["backslashes", "enclosed", "twice", "order", "clutter"]):
        case "backslashes":
            return packed({name.replace("/", "\\"): content for name, content in members.items()}), SAME
        case "enclosed":
            return packed({f"mine/{name}": content for name, content in members.items()}), SAME
        case "twice":
            whole = io.BytesIO(packed(members))
            with warnings.catch_warnings(), zipfile.ZipFile(whole, "a") as archive:
                warnings.simplefilter("ignore")
                for name in draw.sample(sorted(members), 5):
                    archive.writestr(name, members[name])
            return whole.getvalue(), SAME
        case "order":
            return packed(dict(draw.sample(sorted(members.items()), len(members)))), SAME
        case _:
            many = {f"{draw.choice(['', 'train/', '.x/'])}{number}.txt": b"" for number in range(20_000)}
            return packed(members | many), SAME


def other_kind(members: Members, draw: Random, outside: Path) -> tuple[bytes, str]:
    """No zip of class folders at all."""
    arrays = io.BytesIO()
    np.savez(arrays, train=np.zeros((4, 8, 8)), test=np.array([{}], dtype=object))
    kinds = [
        tarred(members, draw),
        arrays.getvalue(),
        packed({}),
        packed({"x.zip": packed(members)}),
        gzip.compress(b""),
    ]
    return draw.choice(kinds), REFUSED


CHANGES: tuple[Change, ...] = (
    leads_out, spoilt, spoilt, damaged, damaged, bad_picture, bad_picture, bomb, odd_names, harmless, other_kind,
)  # fmt: skip


# --- the kind -----------------------------------------------------------------------------------------------


def read(settings: Images | Market1501, place: Path) -> tuple[str, str]:
    """The digest of a data set, and the error if there is one.

    Args:
        settings: name it.
        place: holds the folders `data` and `cache`, and is where relative paths begin.
    """
    os.environ |= {"CTSL_DATA": str(place / "data"), "CTSL_CACHE": str(place / "cache")}
    os.chdir(place / "work")
    try:
        return settings.load(0).digest, ""
    except DataError as error:
        return "", str(error)


class HostileArchive(Kind):
    """A data set from somebody who means no good: it is read rightly or refused in a line, and nothing else happens."""

    name, tries = "hostile-archive", 150

    def prepare(self) -> None:
        """Read class folders and a set of persons that are as they should be."""
        for name in ("work", "data"):
            (self.folder / name).mkdir()
        (self.folder / "data" / "mine.zip").write_bytes(packed(tree()))
        self.expected, self.people = (
            in_child(read, ImageFolder(path="mine.zip"), self.folder).value[0],
            self._people(),
        )
        require(self.expected, "class folders cannot be read")

    def _people(self) -> Members:
        folder = self.folder / "market"
        write_synthetic_market(folder, identities=4, cameras=2, images_per_camera=2, size=(32, 16))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}

    def case(self, draw: Random, folder: Path) -> None:
        """Put an archive where the kit looks for it, and read it."""
        for name in ("work", "data", "outside"):
            (folder / name).mkdir()
        settings, expected, result = self._archive(draw, folder)
        before = listing(folder)
        (digest, error), said = in_child(read, settings, folder, memory=MEMORY)
        new = [name for name in listing(folder) - before if not name.startswith("cache")]
        require(not new, f"files appear: {new}")
        require(bool(digest) != bool(error) or error, "neither images nor an error")
        require(error.isprintable() and len(error) < 2000, f"the error is not a line: {error[:300]!r}")
        require(
            all(line.isprintable() and len(line) < 2000 for line in said),
            f"a warning is not one line: {said}"[:500],
        )
        if error:
            require(result != SAME, f"what is harmless is refused: {error}")
            require(not list(folder.glob("cache/*")), "something is left in the cache")
        else:
            require(result != REFUSED, "it is read without a word")
            told = any("left out" in line for line in said)  # a name that is no picture's any more
            require(result == ANY or digest == expected or told, "other images are read than the archive holds")

    def _archive(self, draw: Random, folder: Path) -> tuple[Images | Market1501, str, str]:
        """The settings of a data set that has been put there, its digest if all is well, what must become of it."""
        data, change = folder / "data", draw.choice(CHANGES)
        match draw.choice(["own", "own", "own", "own", "tiny", "market", "cifar", "fashion"]):
            case "own":
                content, result = change(tree(), draw, folder / "outside")
                name = draw.choice(["mine.zip", "mine.ZIP", "mine", "mine.tar", "mine.png"])
                (data / name).write_bytes(content)
                return ImageFolder(path=name), self.expected, result
            case "tiny":
                (data / "tiny-imagenet-200.zip").write_bytes(change(tree(), draw, folder / "outside")[0])
                return Images(name="tiny_imagenet"), "", REFUSED
            case "market":
                content, result = change(self.people, draw, folder / "outside")
                (data / "people.zip").write_bytes(content)
                # What is wrong with class folders need not be wrong here, and pictures lie elsewhere.
                return Market1501(path="people.zip", height=32, width=16), "", ANY
            case "cifar":
                (data / "cifar-100-python.tar.gz").write_bytes(tarred(tree(), draw))
                return Images(name="cifar100"), "", REFUSED
            case _:
                raw = data / "FashionMNIST" / "raw"
                raw.mkdir(parents=True)
                for file in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
                    (raw / f"{file}-ubyte").write_bytes(idx(draw))
                return Images(name="fashion_mnist"), "", REFUSED


def idx(draw: Random) -> bytes:
    """A file in the format of MNIST whose head may say anything."""
    sizes = [draw.choice([0, 1, -1, 28, 100, 2**31 - 1]) for _ in range(draw.choice([0, 1, 3, 9]))]
    head = struct.pack(f">4B{len(sizes)}i", 0, 0, 8, draw.choice([len(sizes), 255]), *sizes)
    return head + bytes(draw.choice([0, 1, 78_400]))


def listing(folder: Path) -> set[str]:
    """All that is in a folder, and what is beside it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} | {
        f"../{p.name}" for p in folder.parent.iterdir()
    }
