"""Every random choice of a run comes from its one seed, through a named stream of its own."""

import hashlib

import torch


def derive_seed(seed: int, *stream: str | int) -> int:
    """A seed for the stream named by `stream`; different names give unrelated seeds.

    Because each stream (an initial network, the images' order in one epoch) has its own seed, none depends on
    how many numbers another has drawn: changing one thing leaves all else as it was.
    """
    text = "/".join(str(part) for part in (seed, *stream))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *stream: str | int) -> torch.Generator:
    """A CPU random generator for that stream."""
    return torch.Generator().manual_seed(derive_seed(seed, *stream))
