"""Published data sets: where their files are fetched from, over https alone, and the SHA-256 that each must have."""

import hashlib
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, NamedTuple
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from ctsl_lib import __version__
from ctsl_lib.environment import data_root, open_file, shows_progress, write_atomically
from ctsl_lib.errors import DataError

PATIENCE = 60.0
"""Seconds that a server may be silent."""
BLOCK = 2**20
"""Bytes that are read at a time."""


class Published(NamedTuple):
    """A file as it was published."""

    url: str
    place: str
    """Path in the data folder."""
    size: int
    """In bytes; no more is read."""
    sha256: str


@dataclass(frozen=True)
class Source:
    """What is known of a published data set before a byte of it is read."""

    counts: tuple[int, int]
    """Training and test images."""
    classes: int
    shape: tuple[int, int, int]
    folder: str
    """Name of the folder that the archive unpacks to, or of a tree of class folders."""
    files: tuple[Published, ...]

    @property
    def megabytes(self) -> int:
        """Of all files together."""
        return round(sum(file.size for file in self.files) / 2**20)


_TORONTO = "https://www.cs.toronto.edu/~kriz"
# The authors' own repository, at its newest commit; their other server knows no https.
_FASHION = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion"
)
FASHION_FOLDER = "FashionMNIST/raw"
"""Where torchvision keeps Fashion-MNIST, too."""


def _fashion(name: str, size: int, sha256: str) -> Published:
    return Published(f"{_FASHION}/{name}", f"{FASHION_FOLDER}/{name}", size, sha256)


# No author publishes a SHA-256. CIFAR: those of Keras (keras/src/datasets/cifar10.py and cifar100.py). Fashion-MNIST:
# TensorFlow Datasets (url_checksums/fashion_mnist.txt), which for both files of labels we have computed ourselves.
# Tiny-ImageNet: berenslab/t-simcne (tsimcne/dataset/tiny_imagenet.py), and the same in other public repositories.
SOURCES = {
    "cifar10": Source((50_000, 10_000), 10, (3, 32, 32), "cifar-10", (Published(
        f"{_TORONTO}/cifar-10-python.tar.gz", "cifar-10-python.tar.gz", 170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),)),
    "cifar100": Source((50_000, 10_000), 100, (3, 32, 32), "cifar-100", (Published(
        f"{_TORONTO}/cifar-100-python.tar.gz", "cifar-100-python.tar.gz", 169_001_437,
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),)),
    "tiny_imagenet": Source((100_000, 10_000), 200, (3, 64, 64), "tiny-imagenet-200", (Published(
        "https://cs231n.stanford.edu/tiny-imagenet-200.zip", "tiny-imagenet-200.zip", 248_100_043,
        "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    ),)),
    "fashion_mnist": Source((60_000, 10_000), 10, (1, 28, 28), "FashionMNIST", (
        _fashion("train-images-idx3-ubyte.gz", 26_421_880,
                 "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        _fashion("train-labels-idx1-ubyte.gz", 29_515,
                 "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        _fashion("t10k-images-idx3-ubyte.gz", 4_422_102,
                 "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        _fashion("t10k-labels-idx1-ubyte.gz", 5_148,
                 "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    )),
}  # fmt: skip


def known(name: str) -> Source:
    """What is known of a data set; raises a DataError that lists all names if there is none of this name."""
    if name not in SOURCES:
        raise DataError(f"data must be one of {', '.join(SOURCES)}; got {name!r}")
    return SOURCES[name]


def download(name: str, root: Path | None = None) -> None:
    """Fetch the files of a published data set into the data folder; nothing is done twice.

    Args:
        name: a key of `SOURCES`. root: the data folder; by default what `data_root` says.

    Raises: DataError where a file cannot be fetched or written, is not what was published, or where another file is
        in its place.
    """
    if name == "market1501":
        raise DataError(
            "market1501 is given out by its authors alone: `ctsl data market1501` says where to put it"
        )
    root = root if root is not None else data_root()
    for file in known(name).files:
        place = root / file.place
        if not place.exists():
            try:
                fetch(file, place)
            except OSError as error:
                raise DataError(f"{error}; CTSL_DATA may name another folder for data") from error
        elif not is_published(place, file.sha256):
            raise DataError(f"{place} is not the published file; move it away, then fetch it again")


def is_published(path: Path, sha256: str) -> bool:
    """Whether a file has this SHA-256.

    Args:
        path: the file. sha256: 64 hexadecimal digits.

    Raises: DataError if it cannot be read.
    """
    try:
        with open_file(path) as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == sha256
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def fetch(file: Published, path: Path) -> None:
    """Write what lies at the file's address to `path`, which appears whole and right or not at all.

    Args:
        file: its address must begin with https, and so must each that it leads on to.
        path: where to put it; its folder is created.

    Raises: DataError if it cannot be fetched, or is not what was published; OSError if it cannot be written.
    """
    _check_address(file.url)
    # Some servers turn the default name of Python's client away.
    request = Request(file.url, headers={"User-Agent": f"ctsl/{__version__}"})
    try:
        answer = build_opener(_OnlyHttps).open(request, timeout=PATIENCE)
    except (OSError, HTTPException) as error:
        raise _failed(file, error) from error
    with answer:
        write_atomically(path, partial(_copy, answer, file))


def _copy(answer: IO[bytes], file: Published, target: Path) -> None:
    seen, count = hashlib.sha256(), 0
    bar = tqdm(
        desc=Path(file.place).name, total=file.size, unit="B", unit_scale=True, disable=not shows_progress(None)
    )
    with target.open("wb") as written, bar:
        while count <= file.size:
            try:
                block = answer.read(min(BLOCK, file.size + 1 - count))
            except (OSError, HTTPException) as error:
                raise _failed(file, error) from error
            if not block:
                break
            written.write(block)
            seen.update(block)
            bar.update(len(block))
            count += len(block)
    if seen.hexdigest() != file.sha256:
        found = f"{seen.hexdigest()} of {count:,} bytes" if count <= file.size else "more bytes than it has"
        raise _failed(file, f"its SHA-256 must be {file.sha256}, got {found}")


def _failed(file: Published, reason: object) -> DataError:
    return DataError(f"{file.place} could not be fetched from {file.url}: {reason}")


class _OnlyHttps(HTTPRedirectHandler):
    """Follows a server elsewhere only over https."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    if not url.startswith("https://"):
        raise DataError(f"data is fetched over https alone; got the address {url}")
