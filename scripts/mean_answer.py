"""What peers know together: accuracy and calibration of their mean answer (`python -m scripts.mean_answer --help`).

A record holds what each peer scores, not what both would say together, so this takes the kept networks of a table's
runs. Peers who teach one another become alike; whether they lose as a pair what each of them gains is the question.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from ctsl_lib.cli.failures import failures_in_one_line
from ctsl_lib.cli.tables import Parameter, Profile, plan_of
from ctsl_lib.data.types import RetrievalSplit
from ctsl_lib.environment import check_place, expanded, write_atomically
from ctsl_lib.errors import DataError
from ctsl_lib.evidence.labels import pair_name
from ctsl_lib.evidence.tables import table_name
from ctsl_lib.experiments.plan import Plan
from ctsl_lib.experiments.spec import Record
from ctsl_lib.experiments.store import Store
from ctsl_lib.metrics.classification import agreement, expected_calibration_error, top_k_accuracy
from ctsl_lib.metrics.evaluation import predict
from ctsl_lib.models.peer import Peer


def mean_answer(record: Record, peers: Sequence[Peer]) -> dict[str, float]:
    """Test images answered by the peers of a run, each alone and by the mean of their probabilities.

    Args:
        record: of the run.
        peers: those that were kept, with the record as `Store.load_kept` gives them.

    Returns: in percent, `peer`, the mean accuracy of the peers; `together`, that of their mean answer; the calibration
        error of both, `peer_ece` and `together_ece`; and `agreement`.

    Raises: ValueError if the peers are not those of the record, or search.
    """
    spec = record.spec
    data = spec.data.load(spec.seed)
    if isinstance(data.test, RetrievalSplit):
        raise ValueError(f"networks that search have no mean answer; got a run on {spec.data.name}")
    images, labels = data.test.images, data.test.labels
    logits = [predict(peer, images, data, spec.recipe.precision).logits.float() for peer in peers]
    alone = [top_k_accuracy(z, labels) for z in logits]
    if any(abs(now - then) > 0.1 for now, then in zip(alone, record.metrics["top1"], strict=True)):
        raise ValueError(f"the peers of {spec.key} reach {alone} %, their record says {record.metrics['top1']}")
    together = torch.stack([z.softmax(dim=1) for z in logits]).mean(dim=0)
    return {
        "peer": sum(alone) / len(alone),
        "together": top_k_accuracy(together, labels),
        "peer_ece": sum(expected_calibration_error(z, labels) for z in logits) / len(logits),
        "together_ece": expected_calibration_error(together.log(), labels),
        "agreement": agreement(logits),
    }


def mean_answers(plan: Plan, store: Store) -> pd.DataFrame:
    """A row for each run of a plan whose peers were kept and can be used: pair, method, seed, and what they score.

    Args:
        plan: of a table.
        store: where its runs are; it warns of peers that cannot be used.
    """
    rows = []
    for (pair, method), specs in plan.specs().items():
        for spec in specs:
            try:
                kept = store.load_kept(spec)
            except (FileNotFoundError, DataError):
                continue
            rows.append({"pair": pair_name(pair), "method": method, "seed": spec.seed} | mean_answer(*kept))
    return pd.DataFrame(rows)


def main(
    dataset: Annotated[str, typer.Argument(help="A data set of the kit.")],
    profile: Profile = "overnight",
    parameter: Parameter = None,
    out: Annotated[Path, typer.Option(help="Folder for the result.")] = Path("data/reference/mean_answer"),
) -> None:
    """Write what the kept peers of a table's runs score together into OUT/DATASET.csv, and print its means."""
    folder, store = expanded("--out", out), Store()
    check_place("--out", folder)
    plan = plan_of(dataset, profile, parameter)
    found = mean_answers(plan, store)
    if found.empty:
        raise ValueError(f"no run of this table has its peers in {store.root}; train with `--keep-weights`")
    path = folder / f"{table_name(plan.dataset)}.csv"
    write_atomically(path, lambda to: found.to_csv(to, index=False, float_format="%.3f"))
    typer.echo(found.groupby(["pair", "method"], sort=False).mean().drop(columns="seed").round(2).to_string())


if __name__ == "__main__":
    with failures_in_one_line():
        typer.run(main)
