"""Make the committed pairs of the five methods on the digits (`python -m scripts.reference_weights`): seed 0.

Each pair is trained again in a store of its own, and its metrics must be those of the committed record: elsewhere than
on the machine that made the records this ends with an error.
"""

from pathlib import Path
from typing import Annotated

import typer

from ctsl_lib import METHODS, ROOT, Spec, Store
from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_share.writing import export_weights

FOLDER = ROOT / "data" / "weights"


def main(to: Annotated[Path, typer.Option(help="Folder for the five pairs.")] = FOLDER) -> None:
    """Train the pairs and write each as a folder named after its method."""
    store = Store(ROOT / "data" / "records")
    for method, objective in METHODS.items():
        record = store.load(Spec(objective=objective))
        if record is None:
            raise ValueError(f"there is no committed record of {method} with seed 0 in {store.root}")
        made = export_weights(record, store, to / method, train=True)
        if made.metrics != record.metrics:
            raise ValueError(f"{method} has other metrics here than its committed record: {made.metrics}")
        typer.echo(f"{to / method}")


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
