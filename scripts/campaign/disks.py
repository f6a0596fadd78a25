"""Full disks: a run, the building of a cache and the writing of a table on a small file system in memory."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from scripts.campaign.harness import (
    Kind,
    Skip,
    call_command,
    check_leftovers,
    in_child,
    outcomes,
    require,
    settings,
)

SIZE = 8 * 2**20
"""Bytes of the file system."""
WHOLE = ["-p", "n_train=null", "-p", "size=32", "-p", "methods=[independent]"]
PLAN = settings(epochs=3, evaluate_every=1, methods="[independent, tfkd]")


class FullDisk(Kind):
    """The disk is full, or has room for a little: a line says so, and with room the same command finishes."""

    name, tries = "full-disk", 24

    def prepare(self) -> None:
        """Mount the file system, which only root may; do undisturbed what the cases do."""
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.mounted = False
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.disk)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Skip("there is no command mount") from None
        except subprocess.CalledProcessError as error:
            raise Skip(f"no file system in memory can be mounted ({error.stderr.strip()})") from None
        self.mounted = True
        draw = np.random.default_rng(0)
        for part, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
            (place := self.folder / "images" / part / label).mkdir(parents=True)
            for number in range(60):
                Image.fromarray(draw.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(
                    place / f"{number}.png"
                )
        for what in COMMANDS:
            (folder := self.folder / what).mkdir()
            status, said = self._call(what, folder)
            require(status == 0, f"{what} fails on an empty disk: {said}")
        self.expected = {what: outcomes(self.folder / what / "records") for what in COMMANDS}

    def close(self) -> None:
        """Take the file system away."""
        if self.mounted:
            subprocess.run(["umount", str(self.disk)], check=True)

    def _call(self, what: str, folder: Path) -> tuple[int, str]:
        """Call a command that keeps records, cache and results in a folder."""
        environment = {
            "CTSL_RECORDS": str(folder / "records"), "CTSL_CACHE": str(folder / "cache"), "CTSL_CHECKPOINT": "0",
            "CTSL_DATA": str(self.folder),
        }  # fmt: skip
        status, said = in_child(call_command, COMMANDS[what], folder, environment).value
        return int(status), str(said)

    def case(self, draw: Random, folder: Path) -> None:
        """Fill the disk but for some bytes, call a command, make room, call it again."""
        what, place = draw.choice(list(COMMANDS)), self.disk / "case"
        place.mkdir()
        try:
            if what == "table":  # its records are there, and the table is what does not fit
                self._call(what, place)
                for table in place.glob("results/tables/*"):
                    table.unlink()
            before = {path: path.read_bytes() for path in place.rglob("*.json")}
            left = draw.choice([0, 4096, draw.randrange(ROOM[what]), draw.randrange(ROOM[what])])
            with self._filled(left):
                status, said = self._call(what, place)
                if status:
                    check_message(said, place)
                    for path in place.rglob("results/tables/*"):
                        whole = (self.folder / what / path.relative_to(place)).read_bytes()
                        require(path.read_bytes() == whole, f"half of {path.name} may pass for the whole")
                require(not list(place.rglob("*.tmp")), "a temporary file is left")
                require(not list(place.glob("cache/.*")), "a half-built entry is left")
            require(
                all(path.read_bytes() == text for path, text in before.items()), "a finished record has changed"
            )
            status, said = self._call(what, place)
            require(status == 0, f"with room again {what} ends with {status}: {said}")
            require(
                outcomes(place / "records") == self.expected[what], "the records differ from the undisturbed ones"
            )
            check_leftovers(place / "records")
        finally:
            subprocess.run(["rm", "-rf", str(place)], check=True)

    @contextmanager
    def _filled(self, left: int) -> Iterator[None]:
        """The disk with no more than so many bytes left."""
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                file.truncate(max(0, file.tell() - left))
        try:
            yield
        finally:
            filler.unlink()


COMMANDS = {
    "run": ["train", "digits", *PLAN, "--processes", "1"],
    "cache": ["train", "images", *PLAN, *WHOLE, "--processes", "1"],
    "table": ["train", "digits", *PLAN, "--processes", "1"],
}  # fmt: skip
"""What writes records and states, a cache of images, a table."""
ROOM = {"run": 600_000, "cache": 800_000, "table": 8192}
"""Bytes that are about enough for each."""


def check_message(said: str, place: Path) -> None:
    """Raise a Fault unless the last line is an error that names a file and the reason.

    Args:
        said: on standard error.
        place: the folder that the file must be in.
    """
    require("Traceback" not in said, f"a traceback: {said[-800:]}")
    last = said.strip().splitlines()[-1] if said.strip() else ""
    named = str(place) in last or "results/" in last
    require(last.startswith("error: ") and named, f"it does not name the file: {last!r}")
    require("No space left on device" in last, f"it does not name the reason: {last!r}")
