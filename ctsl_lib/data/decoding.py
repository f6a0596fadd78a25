"""Pictures as they lie in files, decoded in one way for all data sets: (3, H, W) uint8, red, green, blue.

A picture is turned as its EXIF note says, as every viewer does. Grey of 16 (or, in TIFF, 12) bits is scaled to 8.
What is transparent shows white, as on a page. Of a moving picture the first frame is taken.
"""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ctsl_lib.data.files import Files
from ctsl_lib.errors import DataError, plain

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What is read, by Pillow's names; a file says itself which it is."""
SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""How the names of pictures end, in letters of any size."""
MOST_PIXELS = 64_000_000
"""Of one picture; what claims more is refused before it is decoded."""
Size = int | tuple[int, int] | None
"""Shorten the smaller side to this and crop the middle; or (height, width) exactly; or leave as it is."""
_BITS, _PHOTOMETRIC = 258, 262
"""Tags of TIFF: bits of a value, and 0 where the value 0 is white."""


def suffix(name: str) -> str:
    """How a file's name ends, as words for a message: ".txt", or "without a suffix"."""
    return plain(PurePosixPath(name).suffix.lower(), 20) or "without a suffix"


def read_image(content: bytes, size: Size = None) -> np.ndarray:
    """Decode one picture.

    Args:
        content: the whole file.
        size: see `Size`; in pixels.

    Returns: (3, H, W) uint8.
    Raises: DataError that says why it cannot be decoded.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            _check_pixels(*opened.size)
            ImageOps.exif_transpose(opened, in_place=True)
            return np.asarray(_bring_to(_in_colour(opened), size)).transpose(2, 0, 1)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise DataError(str(error) or type(error).__name__) from error


def read_images(files: Files, names: Sequence[str], size: Size = None, advice: str = "") -> np.ndarray:
    """Decode pictures into one array that is made once, so that they are never held twice.

    Args:
        files: where they are. names: which, in the order of the rows.
        size: see `Size`; None where all have one size already.
        advice: what to do where they have not, the end of a message.

    Returns: (N, 3, H, W) uint8.
    Raises: DataError that names the file and the reason; also where there are no names.
    """
    if not names:
        raise DataError(f"{files.path} holds no images")
    images = np.empty((0, 3, 0, 0), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `MOST_PIXELS` refuses more, and sooner
        for row, name in enumerate(names):
            content = files.read(name)
            try:
                pixels = read_image(content, size)
            except DataError as error:
                raise DataError(
                    f"{files.path}: {plain(name)} cannot be read as an image ({plain(str(error))})"
                ) from error
            if row == 0:
                images = np.empty((len(names), *pixels.shape), dtype=np.uint8)
            (_, height, width), (_, first_height, first_width) = pixels.shape, images.shape[1:]
            if (height, width) != (first_height, first_width):
                raise DataError(
                    f"{files.path}: {plain(name)} is {width}x{height} (width x height), the images before it "
                    f"{first_width}x{first_height}; {advice or 'all must have one size'}"
                )
            images[row] = pixels
    return images


def _in_colour(picture: Image.Image) -> Image.Image:
    """The picture with three channels of 8 bits."""
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if sixteen:
        tags = getattr(picture, "tag_v2", {})
        white = 4095 if tags.get(_BITS) == (12,) else 65535
        grey = (np.asarray(picture).astype(np.uint32) * 255 + white // 2) // white
        grey = 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise DataError("its numbers have 32 bits, so that nobody knows which is white; save it with 8 or 16")
    if picture.has_transparency_data:
        front = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")
    return picture.convert("RGB")


def _bring_to(picture: Image.Image, size: Size) -> Image.Image:
    if size is None:
        return picture
    if not isinstance(size, int):
        return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    width, height = (size * side // min(picture.size) for side in picture.size)
    _check_pixels(width, height)
    left, top = round((width - size) / 2), round((height - size) / 2)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return picture.crop((left, top, left + size, top + size))


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise DataError(f"it has {width}x{height} pixels, more than {MOST_PIXELS:,} are not read")
