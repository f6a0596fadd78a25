"""The folder of records: each run's outcome as a small file."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING

from ctsl_lib.data.specs import DataSpec
from ctsl_lib.environment import expanded, read_whole, records_root, write_atomically
from ctsl_lib.errors import DataError, StateError, explained, shown
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.checkpoint import Checkpoint, check_key, check_weights, read_state, write_state

if TYPE_CHECKING:
    from ctsl_lib.models.peer import Peer

LARGEST = 64 * 2**20
"""Bytes that a record may have; one of a thousand epochs has less than a hundredth of it."""
SEEDS = 1000
"""Who wants all seeds of a setting looks for 0 to 999: trying names is quicker than reading a large store."""


class Store:
    """A folder of records: a JSON file for each spec, in a folder named after the data set, named after its key.

    `root` is the folder; by default data/records in the kit, or what the environment variable CTSL_RECORDS says.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = expanded("root", root) if root is not None else records_root()
        self._digests: dict[DataSpec, str | None] = {}

    def path(self, spec: Spec) -> Path:
        """The file for the record of `spec`, whether it exists or not."""
        return self.root / spec.data.name / f"{spec.key}.json"

    def weights_path(self, spec: Spec) -> Path:
        """The file for the trained peers of `spec`, whether it exists or not."""
        return self.path(spec).with_suffix(".pt")

    def checkpoint(self, spec: Spec) -> Checkpoint:
        """The checkpoint that a run of `spec` saves its state to until it has a record."""
        every = os.environ.get("CTSL_CHECKPOINT", "30")
        try:
            seconds = float(every)
        except ValueError:
            raise ValueError(f"CTSL_CHECKPOINT must be a number of seconds, got {every!r}") from None
        return Checkpoint(self.path(spec).with_suffix(".ckpt"), seconds, spec.key)

    def check_places(self, spec: Spec) -> None:
        """Raise a StateError that names a folder in the place of a file that a run of `spec` will write."""
        for suffix in (".json", ".pt", ".ckpt", ".running", ".failed"):
            place = self.path(spec).with_suffix(suffix)
            if place.is_dir():
                raise StateError(f"{place} is a folder in the place of a file: move it away")

    def data_digest(self, data: DataSpec, *, again: bool = False) -> str | None:
        """The digest of a data set's images as they are now.

        Args:
            data: the data set.
            again: compute the digest even if it was computed before; for a folder of many files this takes a moment.

        Returns: the digest; None if the images are missing.
        """
        if again or data not in self._digests:
            try:
                self._digests[data] = data.digest()
            except DataError:
                self._digests[data] = None
        return self._digests[data]

    def load(self, spec: Spec, *, weights: bool = False) -> Record | None:
        """The record of `spec`, if there is one that can be used.

        Args:
            spec: the run.
            weights: whether the trained peers must have been kept, too.

        Returns: the record, with `weights` that of the peers that were kept, see `save`; None if it, or the peers, do
            not exist. If they were made from other images than those at hand now, a warning says so, and the result is
            None as well.
        """
        if weights and not os.path.lexists(self.weights_path(spec)):
            return None
        path = self.path(spec)
        record = self._read(path)
        if record is None or not self._same_data(path, spec, record.data_digest):
            return None
        if not weights:
            return record
        kept = self._kept(spec)
        return None if kept is None else kept[0]

    def _same_data(self, path: Path, spec: Spec, made_from: str) -> bool:
        now = self.data_digest(spec.data)
        if now is None or now == made_from:
            return True
        warnings.warn(
            f"{path} was made from other images of {spec.data.name} (digest {made_from or 'not known'}) than "
            f"those at hand (digest {now}); it is not used, and the run is trained again when it is needed",
            stacklevel=3,
        )
        return False

    def save(self, record: Record, peers: "Sequence[Peer] | None" = None, channels: int = 1) -> Record:
        """Write a record and, if peers are given, first their weights; no file is ever left half written.

        A record that is there and says the same stays as it is, with its provenance. With peers, any record of the same
        images stays: another processor may round in another way, and tables must not change because a run was trained
        once more for its networks. So the file of the weights has a record of its own.

        Args:
            record: what to write.
            peers: the trained peers, if they are to be kept.
            channels: of the images that the peers take.

        Returns: with peers `record`, which is theirs, else the record that lies there now.
        """
        path = self.path(record.spec)
        try:
            old = self._parse(path)
        except Exception:  # nothing there, or no record, which has been named when it was to be loaded
            old = None
        stays = old is not None and old.model_copy(update={"provenance": record.provenance}) == record
        if peers is not None:
            kept = {
                "key": record.spec.key,
                "data_digest": record.data_digest,
                "channels": channels,
                "num_classes": peers[0].classifier.out_features,
                "peers": [peer.state_dict() for peer in peers],
                "record": record.model_dump_json(),
            }
            write_state(self.weights_path(record.spec), kept)
            stays = old is not None and old.data_digest == record.data_digest
        if not stays:
            text = record.model_dump_json(indent=1) + "\n"
            write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return old if old is not None and stays and peers is None else record

    def load_peers(self, spec: Spec) -> "list[Peer]":
        """The trained peers of `spec`, in evaluation mode, on the CPU.

        Raises: FileNotFoundError if they were not kept, DataError if they cannot be used.
        """
        return self.load_kept(spec)[1]

    def load_kept(self, spec: Spec) -> "tuple[Record, list[Peer]]":
        """The record and the trained peers of `spec`, read at once, so that they belong together; see `load_peers`."""
        kept = self._kept(spec)
        if kept is None:
            path = self.weights_path(spec)
            if not path.exists():
                raise FileNotFoundError(f"{path} does not exist: run the spec with keep_weights=True")
            raise DataError(f"{path} cannot be used (see the warning); run the spec with keep_weights=True")
        return kept[0], [peer.eval() for peer in kept[1]]

    def _kept(self, spec: Spec) -> "tuple[Record, list[Peer]] | None":
        """The kept peers with their record; None if there is no file, or, with a warning, if it cannot be used."""
        path = self.weights_path(spec)
        try:
            kept = read_state(path, "channels", "num_classes", "peers", "record")
            check_key(kept, spec.key)
            if not self._same_data(path, spec, kept["data_digest"]):
                return None
            for name in ("channels", "num_classes"):
                if type(kept[name]) is not int or not 1 <= kept[name] <= 100_000:
                    raise StateError(f"{name} must be a whole number from 1 to 100000, got {shown(kept[name])}")
            peers = [build_peer(name, kept["channels"], kept["num_classes"], seed=0) for name in spec.peers]
            check_weights(peers, kept["peers"])
            for peer, state in zip(peers, kept["peers"], strict=True):
                peer.load_state_dict(state)
            record = Record.model_validate_json(kept["record"])
            if record.spec.key != spec.key:
                raise StateError(f"its record is that of run {record.spec.key}")
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a file may hold that this library has not written
            warnings.warn(f"{path} is not used: {explained(error)}", stacklevel=3)
            return None
        return record, peers

    def __iter__(self) -> Iterator[Record]:
        """All records; whatever else has the name of one causes a warning and is left out.

        A record counts at its own place only: in the folder of its data set, under the key of its spec. What begins
        with a dot is passed over.
        """
        for folder in _members(self.root):
            if folder.suffix == ".json":
                warnings.warn(f"{folder} is left out: records lie in folders named after data sets", stacklevel=2)
            elif folder.is_dir():
                records = (self._read(path) for path in _members(folder) if path.suffix == ".json")
                yield from (record for record in records if record is not None)

    def newest(self, count: int) -> list[Record]:
        """The records that were written last, of all data sets; among very many, reading all would take minutes.

        Args:
            count: how many files to read.
        """
        dated: list[tuple[int, str]] = []
        for folder in _members(self.root):
            with suppress(OSError), os.scandir(folder) as members:
                dated += [(m.stat().st_mtime_ns, m.path) for m in members if m.name.endswith(".json")]
        newest = (Path(path) for _, path in nlargest(count, dated))
        return [record for record in map(self._read, newest) if record is not None]

    def _parse(self, path: Path) -> Record:
        """The record in a file; raises an error of any kind if there is none, or one of another place."""
        record = read_record(path)
        place = self.path(record.spec)
        if place != path:
            moved = getattr(record.spec.data, "path", None) is not None
            hint = " under this CTSL_DATA, by which paths of images are written" if moved else ""
            raise ValueError(f"it does not hold the spec that it is named for; its place is {place}{hint}")
        return record

    def _read(self, path: Path) -> Record | None:
        try:
            return self._parse(path)
        except Exception as error:  # a plugin's checks may raise anything
            if isinstance(error, FileNotFoundError) and not path.is_symlink():
                return None
            warnings.warn(f"{path} is not a record and is left out: {explained(error)}", stacklevel=3)
            return None


def read_record(path: Path) -> Record:
    """The record in a file, wherever it lies; raises an error of any kind if there is none."""
    content = read_whole(path, LARGEST)
    if not content:
        raise ValueError("it is empty")
    return Record.model_validate_json(content)


def _members(folder: Path) -> list[Path]:
    """What lies in a folder, in order, but for names that begin with a dot; a folder that cannot be read is named."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        warnings.warn(f"{folder} is left out: it cannot be read ({error.strerror or error})", stacklevel=3)
        return []
