"""Pictures of every kind, decoded as a person sees them; what is left out is said; what is unsafe is refused."""

import io
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from pydantic import ValidationError

from ctsl_lib.data import archives, files
from ctsl_lib.data.class_folders import read_class_folders
from ctsl_lib.data.decoding import read_image
from ctsl_lib.data.market1501 import read_market
from ctsl_lib.data.specs import ImageFolder
from ctsl_lib.data.synthetic_market import write_synthetic_market
from ctsl_lib.errors import DataError
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.profiles import load_profile, parse_assignments

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (8, 6, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CTSL_DATA", str(tmp_path / "data"))


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(number: int = 0, kind: str = "PNG") -> bytes:
    return saved(Image.fromarray(np.roll(PIXELS, number)), kind)


def write(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12) -> Path:
    for part in ("train", "test"):
        for position, label in enumerate(classes):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                content = picture(40 * position + number)
                (folder / part / label / f"{number:02}.png").write_bytes(content)
    return folder


def zipped(folder: Path, target: Path, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder).as_posix())
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return target


def shown(array: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3), or (H, W) for grey, as the decoder returns them."""
    colour = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    return colour.transpose(2, 0, 1)


# --- one picture -------------------------------------------------------------------------------------------

EIGHT = PIXELS[..., 0].copy()
EIGHT[0, :2] = 0, 255
SIXTEEN = EIGHT.astype(np.uint16) * 257
"""The same greys with 16 bits: white is 65535."""


def pgm(values: np.ndarray) -> bytes:
    return b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes()


def tiff(values: np.ndarray, bits: int, photometric: int = 1) -> bytes:
    """Grey values (H, W) as a bare little-endian TIFF of `bits` (12: two values in three bytes)."""
    height, width = values.shape
    if bits == 12:
        first, second = values.reshape(-1, 2).astype(np.uint16).T
        data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    else:
        data = values.astype("<u2").tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
    ]
    tags.append((279, len(data)))
    directory = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags
    )
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + directory + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(SIXTEEN)),
        saved(Image.fromarray(SIXTEEN), "TIFF"),
        saved(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"),
        pgm(SIXTEEN),
        tiff(SIXTEEN, 16),
        tiff(65535 - SIXTEEN, 16, photometric=0),
        tiff(np.round(EIGHT / 255 * 4095), 12),
    ],
    ids=["png", "tiff", "tiff big end first", "pgm", "bare tiff", "white is zero", "12 bits"],
)
def test_grey_of_many_bits_is_the_same_picture(content: bytes) -> None:
    assert np.array_equal(read_image(content), shown(EIGHT))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_whose_white_nobody_knows_are_refused(kind: type) -> None:
    with pytest.raises(DataError, match="32 bits, so that nobody knows which is white"):
        read_image(saved(Image.fromarray(EIGHT.astype(kind)), "TIFF"))


TURNED = {
    1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1],
    5: PIXELS.swapaxes(0, 1), 6: np.rot90(PIXELS, -1), 7: np.rot90(PIXELS, 2).swapaxes(0, 1), 8: np.rot90(PIXELS),
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_turned_as_their_note_says(orientation: int, kind: str) -> None:
    note = Image.Exif()
    note[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(PIXELS), kind, exif=note, **options)
    assert np.array_equal(read_image(content), shown(TURNED[orientation]))


def test_a_grey_picture_of_16_bits_is_turned_too() -> None:
    note = Image.Exif()
    note[0x0112] = 6
    assert np.array_equal(read_image(saved(Image.fromarray(SIXTEEN), exif=note)), shown(np.rot90(EIGHT, -1)))


def test_what_is_transparent_shows_white() -> None:
    alpha = np.zeros((8, 6), dtype=np.uint8)
    alpha[:4] = 255
    white = PIXELS.copy()
    white[4:] = 255
    colour = Image.fromarray(np.dstack([PIXELS, alpha]))
    assert np.array_equal(read_image(saved(colour)), shown(white))
    grey = Image.fromarray(np.dstack([EIGHT, alpha]))
    assert grey.mode == "LA" and np.array_equal(read_image(saved(grey)), shown(np.where(alpha > 0, EIGHT, 255)))
    half = Image.fromarray(np.full((2, 2, 4), (100, 100, 100, 51), dtype=np.uint8))
    assert (read_image(saved(half)) == 224).all()  # 0.2 of 100 and 0.8 of 255
    palette = Image.fromarray((alpha == 0).astype(np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 0, 0])
    for kind in ("PNG", "GIF"):
        found = read_image(saved(palette, kind, transparency=1))
        assert np.array_equal(found, shown(np.where(alpha[..., None] > 0, (10, 20, 30), 255)))


def test_print_colours_and_moving_pictures() -> None:
    ink = Image.new("CMYK", (4, 4), (0, 255, 255, 0))  # magenta and yellow make red
    assert np.allclose(read_image(saved(ink, "JPEG", quality=100))[:, 0, 0], (255, 0, 0), atol=3)
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    moving = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(moving)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("shape", [(8, 6), (6, 9), (20, 5), (7, 7)])
@pytest.mark.parametrize("size", [4, 5, 8])
def test_the_middle_is_cropped_as_torchvision_does(shape: tuple[int, int], size: int) -> None:
    whole = Image.fromarray(DRAW.integers(0, 256, (*shape, 3), dtype=np.uint8))
    tools = torchvision.transforms.functional
    expected = np.asarray(tools.center_crop(tools.resize(whole, size), [size, size]))
    assert np.array_equal(read_image(saved(whole), size), shown(expected))
    assert read_image(saved(whole), (10, 3)).shape == (3, 10, 3)


def test_huge_pictures_are_refused_before_they_are_decoded() -> None:
    def claims(width: int, height: int) -> bytes:
        head = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
        parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
        chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    with pytest.raises(DataError, match=r"it has 8001x8000 pixels, more than 64,000,000 are not read"):
        read_image(claims(8001, 8000))
    with pytest.raises(DataError, match="decompression bomb"):
        read_image(claims(100_000, 100_000))
    thin = saved(Image.new("1", (1, 60_000)))
    with pytest.raises(DataError, match="pixels, more than"):
        read_image(thin, 200)


@pytest.mark.parametrize("content", [b"", b"not a picture", picture()[:60], picture(kind="TIFF")[:-40]])
def test_a_damaged_picture_is_an_error_that_says_why(content: bytes) -> None:
    with pytest.raises(DataError, match=r"."):
        read_image(content)


# --- folders of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_clutter_is_no_picture_and_no_class(tmp_path: Path, packed: bool) -> None:
    folder = write(tmp_path / "mine")
    clean = read_class_folders(folder)
    for place in ("train/.ipynb_checkpoints/0.png", "test/.ipynb_checkpoints/0.png", "train/cat/._00.png",
                  "train/cat/.ipynb_checkpoints/00-checkpoint.png", "__MACOSX/train/cat/00.png"):  # fmt: skip
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(picture())
    for place in ("train/cat/Thumbs.db", ".DS_Store", "train/note.txt", "train/cat/list.txt", "README"):
        (folder / place).write_bytes(b"no picture")
    (folder / "val" / "cat").mkdir(parents=True)
    (folder / "val" / "cat" / "0.png").write_bytes(picture())
    path = tmp_path / "mine"
    if packed:
        path = tmp_path / "mine.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                archive.write(file, file.relative_to(folder).as_posix())
    with pytest.warns(UserWarning) as said:
        found = read_class_folders(path)
    assert found.class_names == ("cat", "dog") and np.array_equal(found.train_images, clean.train_images)
    assert [str(one.message) for one in said] == [
        f"{path.name}: 11 files left out: 5 beginning with a dot, 2 .txt, 1 named Thumbs.db, 1 named __MACOSX, "
        "1 outside train/<class> and test/<class>, 1 without a suffix"
    ]


def test_what_is_left_out_is_said_once_a_cache(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    (folder / "train" / "cat" / "list.txt").write_text("cats")
    with pytest.warns(UserWarning, match=r"^mine: 1 file left out: 1 \.txt$"):
        ImageFolder(path=str(folder)).load(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(path=str(folder)).load(0)


def test_all_suffixes_are_read_in_letters_of_any_size(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", count=1)
    kinds = {
        "a.tif": "TIFF", "b.TIFF": "TIFF", "c.ppm": "PPM", "d.gif": "GIF", "e.jfif": "JPEG", "f.JPG": "JPEG",
        "g.JPEG": "JPEG", "h.Bmp": "BMP", "i.webp": "WEBP", "j.PNG": "PNG", "k.jpe": "JPEG",
    }  # fmt: skip
    for name, kind in kinds.items():
        (folder / "train" / "cat" / name).write_bytes(picture(kind=kind))
    (folder / "train" / "cat" / "l.pgm").write_bytes(pgm(SIXTEEN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_class_folders(folder).train_images) == 2 + len(kinds) + 1


def test_market_reads_them_too(tmp_path: Path) -> None:
    folder = write_synthetic_market(tmp_path / "set", identities=4, cameras=2, images_per_camera=2)
    before = read_market(folder, size=None)
    for position, file in enumerate(sorted((folder / "bounding_box_train").iterdir())):
        file.rename(file.with_suffix((".JPG", ".Jpeg", ".jpg.jpg")[position % 3]))
    (folder / "query" / "list.txt").write_text("names")
    shutil.copy(next((folder / "query").glob("*.jpg")), folder / "query" / "._0003_c1s1_000000_01.jpg")
    with pytest.warns(UserWarning, match=r"^set: 1 file left out: 1 \.txt$"):
        after = read_market(folder, size=None)
    assert np.array_equal(before.train.images, after.train.images)
    assert np.array_equal(before.query.identities, after.query.identities)


def test_links_are_followed(tmp_path: Path) -> None:
    folder, elsewhere = write(tmp_path / "mine", ("cat", "dog", "owl")), tmp_path / "elsewhere"
    whole = read_class_folders(folder)
    for part in ("train", "test"):
        (folder / part / "owl").rename(elsewhere.with_name(part))
        (folder / part / "owl").symlink_to(elsewhere.with_name(part))
    linked = read_class_folders(folder)
    assert linked.class_names == ("cat", "dog", "owl")
    assert np.array_equal(linked.train_images, whole.train_images)
    data = ImageFolder(path=str(folder))
    first = data.digest()
    (elsewhere.with_name("train") / "00.png").write_bytes(picture(77))
    assert data.digest() != first  # the cache sees through links


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("..", "owl is a link to a folder that it lies in: remove it"),
        ("nowhere", "owl is a link that leads nowhere"),
        ("owl", "owl is a link that leads nowhere"),
    ],
)
def test_a_link_in_a_circle_or_to_nowhere_is_named(tmp_path: Path, target: str, message: str) -> None:
    folder = write(tmp_path / "mine")
    (folder / "train" / "owl").symlink_to(target)
    with pytest.raises(DataError, match=message):
        ImageFolder(path=str(folder)).load(0)


# --- zips --------------------------------------------------------------------------------------------------


Change = Callable[[zipfile.ZipInfo], None]


def encrypt(info: zipfile.ZipInfo) -> None:
    info.flag_bits |= 1


def squeeze_strangely(info: zipfile.ZipInfo) -> None:
    info.compress_type = 99


def swell(info: zipfile.ZipInfo) -> None:
    info.file_size = 3 << 30


def lie(info: zipfile.ZipInfo) -> None:
    info.CRC ^= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (encrypt, r"train/cat/x.png cannot be read \(it is encrypted: unpack the zip with its password\)$"),
        (squeeze_strangely, r"train/cat/x.png cannot be read \(.*compression"),
        (swell, r"train/cat/x.png cannot be read \(it has 3,072 MB, no file here may have more than 512\)"),
        (lie, r"train/cat/x.png cannot be read \(Bad CRC-32"),
    ],
)
def test_members_that_cannot_be_unpacked_are_named(tmp_path: Path, change: Change, message: str) -> None:
    path = zipped(write(tmp_path / "mine"), tmp_path / "mine.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/cat/x.png", picture())
        change(archive.infolist()[-1])
    with pytest.raises(DataError, match=message) as refused:
        ImageFolder(path=str(path)).load(0)
    assert "\n" not in str(refused.value)


def test_no_more_is_unpacked_than_a_member_says(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/x.png", bytes(50_000_000))
        archive.infolist()[-1].file_size = 1000
    tracemalloc.start()
    with pytest.raises(DataError, match="cannot be read"):
        files.list_files(path).read("train/cat/x.png")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_large_file_is_refused_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 100)
    with pytest.raises(DataError, match=r"train/cat/00.png cannot be read \(it has 0 MB"):
        read_class_folders(write(tmp_path / "mine"))


def test_odd_names_in_zips(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    plain = read_class_folders(folder)
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (".", "./", "mine\\train\\"):
            archive.writestr(name, b"")
        for file in sorted(folder.rglob("*.png")):
            archive.writestr("mine\\" + "\\".join(file.relative_to(folder).parts), file.read_bytes())
    found = read_class_folders(path)
    assert np.array_equal(found.train_images, plain.train_images) and found.class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["..\\out.png", "C:\\out.png", "\\out.png", "\\\\host\\share\\out.png"])
def test_backslashes_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = zipped(write(tmp_path / "mine"), tmp_path / "mine.zip", {name: picture()})
    with pytest.raises(DataError, match="leads out of its folder"):
        read_class_folders(path)


# --- the cache ---------------------------------------------------------------------------------------------


def load(folder: Path) -> str:
    return ImageFolder(path=str(folder)).digest()


@pytest.mark.parametrize("spoil", ["cut", "empty", "no facts", "cut facts", "other facts", "no labels"])
def test_a_damaged_entry_is_named_and_made_anew(tmp_path: Path, spoil: str) -> None:
    folder = write(tmp_path / "mine")
    first = load(folder)
    (entry,) = (tmp_path / "cache").iterdir()
    images, about = entry / "train_images.npy", entry / "about.json"
    if spoil == "no facts":
        about.unlink()
    elif spoil == "other facts":  # still JSON
        about.write_text(about.read_text().replace("class", "glass", 1))
    elif spoil == "no labels":
        (entry / "train_labels.npy").unlink()
    else:
        target, size = {"cut": (images, 200), "empty": (images, 0), "cut facts": (about, 20)}[spoil]
        target.write_bytes(target.read_bytes()[:size])
    with pytest.warns(UserWarning, match=rf"{entry.name} in the cache is damaged and is made anew"):
        assert load(folder) == first
    assert list((tmp_path / "cache").iterdir()) == [entry]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(folder) == first


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    dead = subprocess.Popen(["true"])
    dead.wait()
    here, cache = socket.gethostname(), tmp_path / "cache"
    left, live, elsewhere, foreign = (
        cache / name
        for name in (
            f".a~{here}~{dead.pid}~0123abcd.tmp",
            f".a~{here}~{os.getpid()}~0123abcd.tmp",
            f".a~not-{here}~{dead.pid}~0123abcd.tmp",
            ".b",
        )
    )
    for place in (left, live, elsewhere, foreign):
        place.mkdir(parents=True)
        (place / "train_images.npy").write_bytes(b"half")
    load(folder)
    assert not left.exists() and live.exists() and elsewhere.exists() and foreign.exists()


@pytest.mark.slow
def test_a_killed_build_is_cleared_by_the_next(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    code = (
        "import os, signal, numpy; from ctsl_lib.data.specs import ImageFolder\n"
        "numpy.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"ImageFolder(path={str(folder)!r}).digest()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "cache").iterdir())) == 1
    load(folder)
    (entry,) = (tmp_path / "cache").iterdir()
    assert not entry.name.startswith(".")


def test_others_may_read_the_cache_as_far_as_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        load(write(tmp_path / "mine"))
    finally:
        os.umask(before)
    (entry,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o750
    assert {stat.S_IMODE(file.stat().st_mode) for file in entry.iterdir()} == {0o640}


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_images_is_named_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("mine.zip", "cifar-10-python.tar.gz", "tiny-imagenet-200.zip"):
        os.mkfifo(tmp_path / "data" / name)
    for read in (lambda: load(Path("mine.zip")), archives.find("cifar10")[1], archives.find("tiny_imagenet")[1]):
        with pytest.raises(DataError, match=r"it is a folder, a pipe or the like, not a file"):
            read()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["about.json", "train_images.npy"])
def test_a_pipe_in_the_cache_is_named_and_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "mine")
    load(folder)
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / name).unlink()
    os.mkfifo(entry / name)
    with pytest.raises(DataError, match=rf"{entry.name} in the cache cannot be read \(it is a folder, a pipe"):
        load(folder)


def test_a_cache_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "mine")
    load(folder)
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / "about.json").unlink()
    (entry / "about.json").mkdir()
    with pytest.raises(DataError, match=rf"{entry.name} in the cache cannot be read .*; CTSL_CACHE may name"):
        load(folder)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CTSL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"the cache .*file cannot be written .*; CTSL_CACHE may name another"):
        load(folder)


# --- advice that can be followed ---------------------------------------------------------------------------


def test_the_advice_on_sizes_can_be_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "data" / "mine")
    odd = saved(Image.new("RGB", (20, 12)))
    (folder / "train" / "cat" / "odd.png").write_bytes(odd)
    with pytest.raises(DataError, match=r"bring them to one size: `-p size=32`"):
        ImageFolder(path="mine").load(0)
    values = load_profile("small", dataset="mine") | {"n_train": 20} | parse_assignments(["size=32"])
    planned = plan_from(values, "mine").data
    assert isinstance(planned, ImageFolder) and planned.size == 32
    assert planned.load(0).train.images.shape == (20, 3, 32, 32)
    shutil.move(folder, tmp_path / "data" / "cifar-10")  # sizes of a published set are no setting
    with pytest.raises(DataError, match=r"odd.png is 20x12 .*; cifar10 has images of 32x32 only"):
        archives.find("cifar10")[1]()


def test_class_folders_under_the_name_of_tiny_imagenet(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mine = write(tmp_path / "mine")
    path = zipped(mine, tmp_path / "data" / "tiny-imagenet-200.zip")
    assert archives.find("tiny_imagenet")[1]().class_names == ("cat", "dog")
    zipped(mine, path, {"val/val_annotations.txt": b""})
    with pytest.raises(DataError, match="does not have the SHA-256"):
        archives.find("tiny_imagenet")[1]()


def test_grey_class_folders_stand_in_for_a_grey_set(tmp_path: Path) -> None:
    folder = write(tmp_path / "data" / "FashionMNIST")
    assert archives.find("fashion_mnist")[1]().train_images.shape == (24, 3, 8, 6)
    for file in folder.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    found = archives.find("fashion_mnist")[1]()
    assert found.train_images.shape == (24, 1, 8, 6) and found.test_images.shape == (24, 1, 8, 6)


# --- one folder, one data set ------------------------------------------------------------------------------


def test_ways_to_write_a_path_are_one_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "data" / "plain"
    ways = ("plain", "plain/", "./plain", "other/../plain", str(inside), f"{inside}/", "~/data/plain")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert {ImageFolder(path=way).path for way in ways} == {"plain"}
    outside = {ImageFolder(path=way).path for way in ("../far", "~/far/", str(tmp_path / "far"))}
    assert outside == {str(tmp_path / "far")}
    assert ImageFolder(path=str(tmp_path / "data")).path == str(tmp_path / "data")
    with pytest.raises(ValidationError, match="path must name a folder or a zip"):
        ImageFolder(path="")
