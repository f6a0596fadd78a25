"""What README and docs/speed.md say about whole trainings, made from the numbers that were measured.

`make bench` prints it; `tests/test_bench.py` looks whether it stands there.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REFERENCE = Path("data/reference/bench_whole/bench.json")
"""Where `make bench` leaves its numbers."""
TRAININGS = {
    "quick run": "quick run: pair of `tiny_cnn`, 400 digits, 12 epochs, B 32",
    "pair of resnet8, B 128": "pair of ResNet-8, 256 images of 32×32, 1 epoch, B 128",
}
"""A training's name in the results -> in words."""
Result = Mapping[str, Any]


def results(path: Path = REFERENCE) -> dict[str, Result]:
    """The results of whole trainings by name."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {result["what"]: result for result in content["results"] if result["section"] == "whole"}


def times(result: Result) -> str:
    """A ratio in words, with its lowest and highest round."""
    return f"{result['value']:.2f}× ({result['low']:.2f}–{result['high']:.2f})"


def sentence(found: Mapping[str, Result]) -> str:
    """The headline, for README and docs/speed.md."""
    kernel = {size: found[f"kernel alone, B {size}"]["value"] for size in ("128, D 512", "32, D 64")}
    alone, own = found["quick run: the kernel alone"], found["quick run: mdistiller"]
    loader = found["quick run: mdistiller, DataLoader"]
    return (
        f"The relation kernel is {kernel['128, D 512']:.0f}× as fast as the usual form at B 128, D 512, "
        f"{kernel['32, D 64']:.1f}× at the B 32, D 64 of a quick run, and makes a whole quick run only "
        f"{alone['value']:.2f}× as fast. With all else, a plain loop with mdistiller's losses takes "
        f"{own['value']:.2f}× as long as the kit on the same batches, and {loader['value']:.2f}× with a PIL DataLoader."
    )


def rows(found: Mapping[str, Result]) -> list[str]:
    """The table of docs/speed.md, line by line."""
    forms = (
        "mdistiller",
        "torchdistill",
        "mdistiller, DataLoader",
        "torchdistill, DataLoader",
        "the kernel alone",
    )
    lines = []
    for name, words in TRAININGS.items():
        cells = [f"{found[f'{name}: the kit']['value']:.2f} s"]
        cells += [times(found[what]) if (what := f"{name}: {form}") in found else "–" for form in forms]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return lines


def text(path: Path = REFERENCE) -> str:
    """Sentence and table."""
    found = results(path)
    return "\n".join([sentence(found), "", *rows(found)])
