"""Verdicts on the paper's claims, from records made by hand around one real record."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ctsl_lib.claims import (
    CONTRADICTED,
    NOT_TESTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    Comparison,
    claims_table,
    epochs_to_reach,
    judge,
    verdicts,
)
from ctsl_lib.conclusions import in_words, seeds_to_decide
from ctsl_lib.data import Digits
from ctsl_lib.experiments import Record, Spec, Store, run
from ctsl_lib.figures import forest
from ctsl_lib.objectives import METHODS
from ctsl_lib.recipes import Recipe
from ctsl_lib.tables import mean_interval


def record_of(template: Record, seed: int, curve: list[float]) -> Record:
    spec = template.spec.model_copy(update={"seed": seed})
    history = template.history.model_copy(
        update={"accuracy": [curve, curve], "evaluated": list(range(1, len(curve) + 1))}
    )
    return template.model_copy(update={"spec": spec, "history": history, "metrics": {"top1": [curve[-1]] * 2}})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Record:
    spec = Spec(data=Digits(n_train=60), objective=METHODS["dml"], recipe=Recipe(epochs=1, batch_size=30))
    return run(spec, Store(tmp_path_factory.mktemp("template")))


ROWS = ("independent", "dml", "rkd", "tfkd", "MLI+MLR", "MLI+SLI", "MLR+SLI", "ctsl_mkt")


def evidence(template: Record, gains: dict[str, float], noise: float = 0.1, seeds: int = 4) -> dict:
    """Records of one mixed pair: accuracy 50 + 10 by seed + the method's gain + normal noise."""
    pair, draw = ("mobilenetv2", "shufflenetv2"), np.random.default_rng(0)
    return {
        (pair, name): [
            record_of(template, s, [10.0, 50 + 10 * s + gains.get(name, 0) + noise * draw.normal()])
            for s in range(seeds)
        ]
        for name in ROWS
    }


def judged(records: dict) -> dict[str, Claim]:
    return {claim.name: claim for claim in judge({"cifar100": records})}


def test_verdicts_on_a_clear_gain(template: Record) -> None:
    found = judged(evidence(template, {"ctsl_mkt": 5, "MLI+SLI": 3, "MLR+SLI": 3}))
    here = {
        name: [c.verdict for c in claim.comparisons if "cifar100" in c.where] for name, claim in found.items()
    }
    assert set(here["C1"]) == {SUPPORTED} and len(here["C1"]) == 4 and len(here["C2"]) == 7
    assert set(here["C2"]) == set(here["C3"]) == set(here["C5"]) == {SUPPORTED}
    assert found["C1"].verdict == UNDECIDED  # three of the four data sets have no records
    assert found["C5"].verdict == SUPPORTED and found["C6"].verdict == NOT_TESTED


def test_one_contradiction_is_enough_against_a_claim(template: Record) -> None:
    found = judged(evidence(template, {"ctsl_mkt": 5, "tfkd": 6}))
    assert found["C1"].verdict == found["C2"].verdict == CONTRADICTED
    table = claims_table(list(found.values()))
    row = table[table["comparison"].str.contains("cifar100.*Tf-KD") & (table["claim"] == "C1")].iloc[0]
    assert row["verdict"] == CONTRADICTED and row["effect"].startswith(("-0.9", "-1.0"))
    assert verdicts(list(found.values())).loc["C1", CONTRADICTED] == 1


def test_noise_and_single_seeds_decide_nothing(template: Record) -> None:
    noisy = judge({"cifar100": evidence(template, {"ctsl_mkt": 0.1}, noise=3)})
    assert {c.verdict for claim in noisy for c in claim.comparisons} <= {UNDECIDED, NOT_TESTED}
    single = judge({"cifar100": evidence(template, {"ctsl_mkt": 5}, seeds=1)})
    assert {c.verdict for claim in single for c in claim.comparisons} == {NOT_TESTED}
    assert {claim.verdict for claim in judge({})} == {NOT_TESTED}


def test_claim_c5_needs_both_small_networks_and_a_mixed_pair(template: Record) -> None:
    rows = {method: runs for (_, method), runs in evidence(template, {"ctsl_mkt": 5}).items()}
    shuffle = judged({(("shufflenetv2", "shufflenetv2"), method): runs for method, runs in rows.items()})["C5"]
    assert [c.verdict for c in shuffle.comparisons] == [SUPPORTED, NOT_TESTED, NOT_TESTED]
    assert {c.where.split(", ")[1] for c in shuffle.having(NOT_TESTED)} == {
        "mobilenetv2 + mobilenetv2",
        "mobilenetv2 + shufflenetv2",
    }
    plain = judged({(("resnet8", "resnet20"), method): runs for method, runs in rows.items()})["C5"]
    assert [c.verdict for c in plain.comparisons] == [NOT_TESTED, NOT_TESTED, SUPPORTED]


def test_seeds_to_decide_reach_the_power_asked_for() -> None:
    seen = mean_interval([0.0, 1.0, 2.0, 0.5, -0.5])
    needed = seeds_to_decide(seen)
    assert needed is not None and needed > 5
    draws = np.random.default_rng(0).normal(0.6, np.std([0.0, 1.0, 2.0, 0.5, -0.5], ddof=1), (4000, needed))
    shares = [np.mean([mean_interval(row[:n]).excludes_zero for row in draws]) for n in (needed - 2, needed)]
    assert shares[0] < 0.8 and shares[1] == pytest.approx(0.8, abs=0.03)
    assert seeds_to_decide(mean_interval([-x for x in (0.0, 1.0, 2.0, 0.5, -0.5)])) == needed
    assert seeds_to_decide(mean_interval([0, 0, 0])) is seeds_to_decide(mean_interval([1, 1])) is None
    assert seeds_to_decide(mean_interval([-1, 1.001])) is None


def test_a_claim_in_words() -> None:
    comparisons = [
        Comparison("here", "A − B", mean_interval([1.9, 2, 2.1]), ()),
        Comparison("here", "A − C", mean_interval([8, 9, 10]), ()),
        Comparison("here", "A − D", mean_interval([1, 2, 3]), ()),
        Comparison("there", "A − B", None, ()),
        Comparison("there", "A − C", None, ()),
    ]
    said = in_words(Claim("C9", "A is best", comparisons))
    assert said == (
        "**C9** A is best: **undecided**. Supported in 2 comparisons, the closest being here, A − B +2.00 "
        "(+1.75 to +2.25, 3 seeds). Undecided: here, A − D +2.00 (-0.48 to +4.48, 3 seeds); some 5 seeds would "
        "decide it four times in five, if effect and spread are as seen. Not tested in 2 comparisons: there."
    )
    against = Comparison("here", "A − E", mean_interval([-1.9, -2, -2.1]), ())
    said = in_words(Claim("C9", "A is best", [*comparisons, against]))
    assert "**contradicted**" in said and "Contradicted by here, A − E -2.00 (-2.25 to -1.75, 3 seeds)." in said


def test_epochs_to_reach(template: Record) -> None:
    record = record_of(template, 0, [10, 40, 60, 55])
    assert epochs_to_reach(record, 40) == 2 and epochs_to_reach(record, 41) == 3
    assert epochs_to_reach(record, 61) == template.spec.recipe.epochs + 1


def test_a_forest_colours_by_the_side_of_zero() -> None:
    samples = {"above": [1.9, 2, 2.1], "holds": [1, 2, 3], "below": [-1.9, -2, -2.1]}
    figure = forest([(name, mean_interval(values)) for name, values in samples.items()], "effect")
    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == list(samples)
    drawn = {box.get_label(): box[0] for box in axes.containers}
    assert {side: line.get_xdata()[0] for side, line in drawn.items()} == pytest.approx(
        {"above zero": 2, "holds zero": 2, "below zero": -2}
    )
    assert len({(line.get_color(), line.get_marker()) for line in drawn.values()}) == 3
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first effect on top
    plt.close(figure)
