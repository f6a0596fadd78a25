"""A small synthetic set in Market-1501's layout: drawn figures, for tests and for the quick profile.

Nobody is shown, and nothing can be concluded from it about people or about real data: it lets the whole chain run
without a data set that cannot be downloaded. Wherever it is shown it is called synthetic.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ctsl_lib.data.market1501 import FOLDERS

Colour = tuple[int, int, int]
DRAWING = 1
"""Raised when the same settings would give other pictures, so that none is taken from an old cache."""


def write_synthetic_market(
    folder: Path,
    *,
    identities: int = 60,
    cameras: int = 4,
    images_per_camera: int = 3,
    distractors: int = 20,
    junk: int = 10,
    size: tuple[int, int] = (64, 32),
    seed: int = 0,
) -> Path:
    """Write JPEG files and return `folder`; the same seed gives the same pictures.

    Args:
        folder: is made, with `bounding_box_train`, `query` and `bounding_box_test` in it.
        identities: numbered from 1; the first half trains, the other half is queried. Each has its own clothes.
        cameras: each with its own colour cast, brightness and background.
        images_per_camera: of each identity. Of the queried ones, the first by each camera is a query.
        distractors: gallery images of others, identity 0. junk: gallery images of scraps, identity -1.
        size: (height, width) in pixels.
        seed: fixes everything.
    """
    if identities < 4 or cameras < 2 or images_per_camera < 2 or cameras > 9:
        raise ValueError(
            "identities must be 4 or more, cameras 2 to 9, images_per_camera 2 or more; "
            f"got {identities}, {cameras}, {images_per_camera}"
        )
    for name in FOLDERS.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    wardrobe = np.random.default_rng([seed, 0])
    clothes = [_clothes(wardrobe) for _ in range(identities)]
    views = [_view(np.random.default_rng([seed, 1, camera])) for camera in range(cameras)]
    for identity in range(1, identities + 1):
        for camera in range(cameras):
            for shot in range(images_per_camera):
                draw = np.random.default_rng([seed, 2, identity, camera, shot])
                part = "train" if identity <= identities // 2 else "gallery" if shot else "query"
                picture = _photograph(clothes[identity - 1], views[camera], size, draw)
                _save(picture, folder / FOLDERS[part], f"{identity:04d}", camera, shot)
    for number in range(distractors + junk):
        draw = np.random.default_rng([seed, 3, number])
        camera = int(draw.integers(cameras))
        picture = _photograph(_clothes(draw), views[camera], size, draw, scrap=number >= distractors)
        name = "0000" if number < distractors else "-1"
        _save(picture, folder / FOLDERS["gallery"], name, camera, 100 + number)
    return folder


def _save(picture: Image.Image, folder: Path, identity: str, camera: int, frame: int) -> None:
    picture.save(folder / f"{identity}_c{camera + 1}s1_{frame:06d}_01.jpg", quality=95)


def _clothes(draw: np.random.Generator) -> dict[str, Colour | int]:
    """Colours from a small palette, so that several identities share each and only the whole tells them apart."""
    palette = [(200, 40, 40), (40, 70, 190), (40, 140, 60), (220, 200, 60), (60, 60, 60), (225, 225, 225)]
    torso, legs, bag = (palette[i] for i in draw.choice(len(palette), size=3))
    return {
        "torso": torso, "legs": legs, "bag": bag,
        "stripes": int(draw.integers(3)), "with_bag": int(draw.integers(2)), "hat": int(draw.integers(2)),
    }  # fmt: skip


def _view(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """What a camera does to every picture: gains of the colours, an offset, a background."""
    return {
        "gain": draw.uniform(0.55, 1.25, 3), "offset": draw.uniform(-25, 25, 3),
        "background": draw.integers(60, 200, 3),
    }  # fmt: skip


def _photograph(
    clothes: dict[str, Colour | int],
    view: dict[str, np.ndarray],
    size: tuple[int, int],
    draw: np.random.Generator,
    scrap: bool = False,
) -> Image.Image:
    """One picture; a scrap shows a corner of a figure."""
    height, width = 128, 64
    canvas = Image.new("RGB", (width, height), tuple(int(c) for c in view["background"]))
    _figure(ImageDraw.Draw(canvas), clothes, draw)
    # Another crop each time: boxes of a detector are never quite right.
    scale, reach = (draw.uniform(0.4, 0.5), 0.5) if scrap else (draw.uniform(0.85, 1.0), 1.0)
    box_height, box_width = scale * height, scale * width
    top, left = draw.uniform(0, reach * (height - box_height)), draw.uniform(0, reach * (width - box_width))
    box = (left, top, left + box_width, top + box_height)
    picture = canvas.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
    picture = picture.filter(ImageFilter.GaussianBlur(draw.uniform(0, 0.8)))
    values = np.asarray(picture, dtype=np.float64) * view["gain"] * draw.uniform(0.8, 1.2) + view["offset"]
    values += draw.normal(0, 12, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _figure(pen: ImageDraw.ImageDraw, clothes: dict[str, Colour | int], draw: np.random.Generator) -> None:
    """Head, torso, two legs, perhaps stripes, a bag and a hat, somewhere near the middle."""
    x, y = 32 + int(draw.integers(-6, 7)), int(draw.integers(-4, 5))
    step = int(draw.integers(2, 9))  # of the legs
    torso, legs, bag = clothes["torso"], clothes["legs"], clothes["bag"]
    skin = tuple(int(c * draw.uniform(0.9, 1.1)) for c in (190, 150, 125))
    for foot in (x - step, x + step):
        pen.line([(x, y + 70), (foot, y + 118)], fill=legs, width=9)
    pen.rectangle([x - 13, y + 30, x + 13, y + 72], fill=torso)
    for stripe in range(y + 34, y + 70, 8):
        if clothes["stripes"] == 1:
            pen.rectangle([x - 13, stripe, x + 13, stripe + 3], fill=legs)
    if clothes["stripes"] == 2:
        pen.rectangle([x - 2, y + 30, x + 2, y + 72], fill=legs)
    if clothes["with_bag"]:
        pen.rectangle([x + 12, y + 50, x + 22, y + 68], fill=bag)
    pen.ellipse([x - 8, y + 10, x + 8, y + 29], fill=skin)
    if clothes["hat"]:
        pen.rectangle([x - 10, y + 8, x + 10, y + 14], fill=bag)
