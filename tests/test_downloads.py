"""Published files are fetched over https alone, from a local server here, and only with their own SHA-256."""

import hashlib
import socket
from pathlib import Path

import pytest

from ctsl_lib.data import sources
from ctsl_lib.data.sources import SOURCES, Published, Source, download, fetch
from ctsl_lib.environment import data_root
from ctsl_lib.errors import DataError

CONTENT = b"what was published" * 1000


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def published(url: str, content: bytes = CONTENT) -> Published:
    return Published(f"{url}/set.zip", "deep/set.zip", len(content), hashlib.sha256(content).hexdigest())


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_known_of_published_files() -> None:
    for source in SOURCES.values():
        for file in source.files:
            assert file.url.startswith("https://") and len(file.sha256) == 64 and file.size > 5000
    assert {name: source.megabytes for name, source in SOURCES.items()} == {
        "cifar10": 163, "cifar100": 161, "tiny_imagenet": 237, "fashion_mnist": 29,
    }  # fmt: skip


def test_a_file_is_fetched_whole(server: tuple[str, Path], data: Path) -> None:
    url, web = server
    (web / "set.zip").write_bytes(CONTENT)
    fetch(published(url), data / "set.zip")
    assert (data / "set.zip").read_bytes() == CONTENT and left(data) == [data / "set.zip"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (CONTENT[:-1] + b"D", "of 18,000 bytes"),
        (CONTENT[:-1], "of 17,999 bytes"),
        (CONTENT + b"more" * 9999, "more bytes"),
    ],
)
def test_what_was_not_published_is_not_kept(
    server: tuple[str, Path], data: Path, content: bytes, found: str
) -> None:
    url, web = server
    (web / "set.zip").write_bytes(content)
    with pytest.raises(DataError, match=f"deep/set.zip could not be fetched from .* SHA-256 must be .*{found}"):
        fetch(published(url), data / "set.zip")
    assert left(data) == []


def test_only_https_is_used(server: tuple[str, Path], data: Path) -> None:
    url, web = server
    (web / "set.zip").write_bytes(CONTENT)
    (web / "away.zip.to").write_text(f"http{url.removeprefix('https')}/set.zip")
    (web / "on.zip.to").write_text(f"{url}/set.zip")
    plain = published(url)._replace(url=f"http{url.removeprefix('https')}/set.zip")
    for file in (
        plain,
        plain._replace(url=f"file://{web}/set.zip"),
        published(url)._replace(url=f"{url}/away.zip"),
    ):
        with pytest.raises(DataError, match=r"data is fetched over https alone; got the address (http|file):"):
            fetch(file, data / "set.zip")
    assert left(data) == []
    fetch(published(url)._replace(url=f"{url}/on.zip"), data / "set.zip")
    assert (data / "set.zip").read_bytes() == CONTENT


def test_a_server_that_nobody_vouches_for_is_refused(
    server: tuple[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, web = server
    (web / "set.zip").write_bytes(CONTENT)
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(DataError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(published(url), data / "set.zip")
    assert left(data) == []


def test_servers_that_fail_are_named(server: tuple[str, Path], data: Path) -> None:
    url, web = server
    with pytest.raises(DataError, match=r"could not be fetched from https://.*/set.zip: HTTP Error 404"):
        fetch(published(url), data / "set.zip")
    (web / "set.zip.cut").write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"could not be fetched from https://.*/set.zip: .*IncompleteRead"):
        fetch(published(url), data / "set.zip")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"https://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(DataError, match="refused"):
        fetch(published(nobody), data / "set.zip")
    assert left(data) == []


def test_nothing_is_fetched_twice_and_nothing_is_overwritten(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, web = server
    (web / "set.zip").write_bytes(CONTENT)
    monkeypatch.setitem(sources.SOURCES, "cifar10", Source((1, 1), 2, (3, 8, 8), "cifar-10", (published(url),)))
    download("cifar10")
    (web / "set.zip").unlink()
    download("cifar10")
    place = data_root() / "deep" / "set.zip"
    assert place.read_bytes() == CONTENT
    place.write_bytes(b"class folders of my own")
    with pytest.raises(DataError, match=r"deep/set.zip is not the published file; move it away"):
        download("cifar10")
    assert place.read_bytes() == b"class folders of my own"
    place.unlink()
    place.mkdir()
    with pytest.raises(DataError, match=r"deep/set.zip cannot be read: "):
        download("cifar10")


def test_a_folder_that_cannot_be_written_is_named(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, web = server
    (web / "set.zip").write_bytes(CONTENT)
    monkeypatch.setitem(sources.SOURCES, "cifar10", Source((1, 1), 2, (3, 8, 8), "cifar-10", (published(url),)))
    data_root().parent.joinpath("data").write_text("a file")
    with pytest.raises(
        DataError, match=r"set.zip cannot be written: .*; CTSL_DATA may name another folder for data"
    ):
        download("cifar10")
