"""Verdicts on the paper's claims, from records made by hand around one real record."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ctsl_lib import ROOT
from ctsl_lib.data.catalogue import PAPER_SETS
from ctsl_lib.data.specs import Digits
from ctsl_lib.evidence.claims import (
    CONTRADICTED,
    NOT_TESTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    Comparison,
    accuracy_after,
    claims_table,
    convergence,
    epochs_to_reach,
    judge,
    verdicts,
)
from ctsl_lib.evidence.conclusions import effects_in_words, in_words, methods_in_words, seeds_to_decide
from ctsl_lib.evidence.statistics import mean_interval
from ctsl_lib.evidence.tables import summary
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Record, Spec
from ctsl_lib.experiments.store import Store, read_record
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.plots.results import forest
from ctsl_lib.training.history import History
from ctsl_lib.training.recipe import Recipe


def record_of(
    template: Record, seed: int, curve: list[float], pair: tuple[str, ...] = ("tiny_cnn",) * 2
) -> Record:
    """As if trained for as many epochs as the curve has points."""
    recipe = template.spec.recipe.model_copy(update={"epochs": len(curve)})
    spec = template.spec.model_copy(update={"seed": seed, "recipe": recipe, "peers": pair})
    history = template.history.model_copy(
        update={"accuracy": [curve, curve], "evaluated": list(range(1, len(curve) + 1))}
    )
    return template.model_copy(update={"spec": spec, "history": history, "metrics": {"top1": [curve[-1]] * 2}})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Record:
    spec = Spec(data=Digits(n_train=60), objective=METHODS["dml"], recipe=Recipe(epochs=1, batch_size=30))
    return run(spec, Store(tmp_path_factory.mktemp("template")))


ROWS = (
    "independent",
    "dml",
    "rkd",
    "tfkd",
    "MLI+MLR",
    "MLI+SLI",
    "MLR+SLI",
    "ctsl_mkt",
    "independent_2x",
    "ctsl_mkt_warm",
)


def evidence(
    template: Record,
    gains: dict[str, float],
    noise: float = 0.1,
    seeds: int = 4,
    pair: tuple[str, str] = ("mobilenetv2", "shufflenetv2"),
) -> dict:
    """Records of one pair: accuracy 50 + 10 by seed + the method's gain + normal noise."""
    draw = np.random.default_rng(0)
    return {
        (pair, name): [
            record_of(template, s, [5.0, 10.0, 50 + 10 * s + gains.get(name, 0) + noise * draw.normal()], pair)
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
    assert here["E1"] == [SUPPORTED] and here["E2"] == [UNDECIDED]
    assert found["C5"].verdict == SUPPORTED and found["C6"].verdict == NOT_TESTED


def test_one_contradiction_is_enough_against_a_claim(template: Record) -> None:
    found = judged(evidence(template, {"ctsl_mkt": 5, "tfkd": 6}))
    assert found["C1"].verdict == found["C2"].verdict == CONTRADICTED
    table = claims_table(list(found.values()))
    row = table[table["comparison"].str.contains("cifar100.*Tf-KD") & (table["claim"] == "C1")].iloc[0]
    assert row["verdict"] == CONTRADICTED and row["effect"].startswith(("-0.9", "-1.0"))
    assert verdicts(list(found.values())).loc["C1", CONTRADICTED] == 1


def test_a_contradiction_among_many_needs_bonferronis_confidence() -> None:
    against = Comparison("here", "A over B", (-1.0, -2.0, -3.0, -2.2))
    open_ = Comparison("here", "A over C", (-1.0, 1.0, 2.0))
    assert against.verdict == CONTRADICTED and Claim("C", "", [against]).verdict == CONTRADICTED
    assert Claim("C", "", [against] + 9 * [open_]).verdict == UNDECIDED
    untested = Comparison("there", "A over B", ())
    assert Claim("C", "", [against] + 9 * [untested]).verdict == CONTRADICTED  # only what is tested counts


def test_two_seeds_and_no_spread() -> None:
    assert Comparison("", "", (2.0, 2.1)).verdict == SUPPORTED
    assert Comparison("", "", (2.0, 2.0)).verdict == UNDECIDED  # ties on a grid, no certainty
    assert Comparison("", "", (0.1 + 0.2, 0.3)).verdict == UNDECIDED  # the same but for rounding
    assert Comparison("", "", (2.0,)).verdict == NOT_TESTED


def test_noise_and_single_seeds_decide_nothing(template: Record) -> None:
    noisy = judge({"cifar100": evidence(template, {"ctsl_mkt": 0.1}, noise=3)})
    here = [c.verdict for claim in noisy for c in claim.comparisons if c.where.startswith("cifar100")]
    assert set(here) == {UNDECIDED} and len(here) == 4 + 7 + 2 + 2 + 1 + 1 + 1
    single = judge({"cifar100": evidence(template, {"ctsl_mkt": 5}, seeds=1)})
    assert {c.verdict for claim in single for c in claim.comparisons} == {NOT_TESTED}


@pytest.mark.parametrize("nothing", [{}, {"cifar10": {}}, {name: {} for name in PAPER_SETS}])
def test_without_records_nothing_is_tested(nothing: dict) -> None:
    claims = judge(nothing)
    assert {claim.verdict for claim in claims} == {NOT_TESTED}
    assert [len(claim.comparisons) for claim in claims] == [16, 28, 8, 8, 3, 3, 4, 4]
    assert set(claims_table(claims)["verdict"]) == {NOT_TESTED}


def test_other_data_than_the_papers_is_judged_by_the_same_rules(template: Record) -> None:
    pair = ("tiny_cnn", "tiny_resnet")
    records = evidence(template, {"ctsl_mkt": 5, "MLI+SLI": 3, "MLR+SLI": 3}, pair=pair)
    found = {claim.name: claim for claim in judge({"digits": records})}
    as_paper = judged(records)
    for name in ("C1", "C2", "C3", "C4", "E1", "E2"):
        here = [c.verdict for c in as_paper[name].comparisons if c.where.startswith("cifar100")]
        assert [c.verdict for c in found[name].comparisons] == here and here, name
    assert found["C1"].verdict == SUPPORTED and found["C1"].text.endswith("independent training on digits")
    assert [c.what for c in found["C5"].comparisons] == [
        "CTSL-MKT over independent, peer tiny_cnn",
        "CTSL-MKT over independent",
    ]
    assert found["C6"].comparisons == []  # no persons are searched for
    both = judge({"digits": records, "cifar100": records, "synthetic_market": {}})
    assert len(both[0].comparisons) == 3 * 4 and len(both[5].comparisons) == 3


def test_claim_c5_needs_both_small_networks_and_a_mixed_pair(template: Record) -> None:
    shuffle = judged(evidence(template, {"ctsl_mkt": 5}, pair=("shufflenetv2", "shufflenetv2")))["C5"]
    assert [c.verdict for c in shuffle.comparisons] == [SUPPORTED, NOT_TESTED, NOT_TESTED]
    assert {c.where.split(", ")[1] for c in shuffle.having(NOT_TESTED)} == {
        "mobilenetv2 + mobilenetv2",
        "mobilenetv2 + shufflenetv2",
    }
    plain = judged(evidence(template, {"ctsl_mkt": 5}, pair=("resnet8", "resnet20")))["C5"]
    assert [c.verdict for c in plain.comparisons] == [NOT_TESTED, NOT_TESTED, SUPPORTED]


def test_claim_c5_looks_at_the_small_network_of_a_mixed_pair(template: Record) -> None:
    records = evidence(template, {}, noise=0.2, pair=("resnet8", "shufflenetv2"))
    for record in records[("resnet8", "shufflenetv2"), "ctsl_mkt"]:
        large, small = record.metrics["top1"]
        record.metrics["top1"][:] = [large + 9, small - 3]  # the large network's gain hides the small one's loss
    found = {c.what: c for c in judged(records)["C5"].comparisons}
    assert found["CTSL-MKT over independent, peer shufflenetv2"].verdict == CONTRADICTED
    assert found["CTSL-MKT over independent"].verdict == SUPPORTED


def test_claim_c4_counts_epochs_to_what_independent_training_has_at_half_time(template: Record) -> None:
    curves = {
        "independent": [10, 20, 30, 40],
        "ctsl_mkt": [20, 30, 40, 41],
        "dml": [5, 10, 20, 50],
        "rkd": [0, 1, 2, 3],
    }
    pair = ("tiny_cnn", "tiny_cnn")
    records = {(pair, name): [record_of(template, s, curve) for s in (0, 1)] for name, curve in curves.items()}
    dml, rkd = (c for c in judged(records)["C4"].comparisons if c.differences)
    assert dml.what == "extra epochs that DML needs" and dml.effect.mean == pytest.approx(3 - 1)
    assert rkd.effect.mean == pytest.approx(5 - 1)  # never: one more than all epochs
    assert accuracy_after(records[pair, "independent"][0], 0.5) == 20
    dml, _ = (c for c in convergence({"cifar100": records}, share=0.75) if c.differences)  # the goal: 30
    assert dml.effect.mean == pytest.approx(3 + 1 / 3 - 2)
    for record in records[pair, "independent"]:  # as if looked at only from half time on
        record.history.evaluated[:] = [2, 3, 4]
        record.history.accuracy[:] = [[20, 30, 40]] * 2
    assert judged(records)["C4"].verdict == NOT_TESTED
    assert any(c.differences for c in convergence({"cifar100": records}, share=0.6))


def test_seeds_to_decide_reach_the_power_asked_for() -> None:
    seen = np.array([0.0, 1.0, 2.0, 0.5, -0.5])
    needed = seeds_to_decide(seen)
    assert needed is not None and needed > 5
    draws = np.random.default_rng(0).normal(0.6, np.std(seen, ddof=1), (4000, needed))
    shares = [np.mean([mean_interval(row[:n]).excludes_zero for row in draws]) for n in (needed - 2, needed)]
    assert shares[0] < 0.8 and shares[1] == pytest.approx(0.8, abs=0.03)
    assert seeds_to_decide(-seen) == needed
    assert seeds_to_decide([0, 0, 0]) is seeds_to_decide([1, 1]) is None
    assert seeds_to_decide([-1, 1.001]) is None


def test_a_claim_in_words() -> None:
    comparisons = [
        Comparison("here", "A over B", (1.9, 2, 2.1)),
        Comparison("here", "A over C", (8, 9, 10)),
        Comparison("here", "A over D", (1, 2, 3)),
        Comparison("there", "A over B", ()),
        Comparison("there", "A over C", ()),
    ]
    said = in_words(Claim("C9", "A is best", comparisons))
    assert said == (
        "**C9** A is best: **undecided**.\n\n"
        "- Supported in 2 comparisons. The interval closest to zero: here, A over B: +2.00 "
        "(95 % interval +1.75 to +2.25, 3 seeds).\n"
        "- Undecided: here, A over D: +2.00 (95 % interval -0.48 to +4.48, 3 seeds). If the true effect and "
        "spread are those seen, about 5 new seeds would decide it with a probability of 80 %.\n"
        "- Not tested: there (all)."
    )
    against = Comparison("here", "A over E", (-1.9, -2, -2.1))
    said = in_words(Claim("C9", "A is best", [*comparisons, against]))
    assert (
        "**contradicted**" in said
        and "Contradicted: here, A over E: -2.00 (95 % interval -2.25 to -1.75, 3 seeds)." in said
    )
    m = [Comparison("there", "A over B", (1.0, -1.0, 0.3))] * 5
    said = in_words(Claim("C9", "", [Comparison("here", "A over B", (-1.0, -1.4, -0.9)), *m]))
    assert "Below zero, but not if corrected for 6 comparisons: here, A over B: -1.10" in said
    mild, clear = ((-1.0, -1.4, -0.9), (-9.0, -9.1, -8.9))
    said = in_words(Claim("C9", "", [Comparison("here", "A", mild), Comparison("here", "B", clear), *m[1:]]))
    assert "**contradicted**" in said and "Contradicted: here, B: -9.00" in said
    assert "Below zero, but not if corrected for 6 comparisons: here, A: -1.10" in said
    said = in_words(
        Claim("C9", "", [Comparison("here", "A over B", (-1, -2, -3)), Comparison("here", "A over C", ())])
    )
    assert "new seeds would decide it against the claim" in said and "Not tested: here (1 of 2)." in said
    places = [Comparison(f"{where}, pair", what, ()) for where in ("one", "two") for what in "AB"]
    said = in_words(Claim("C9", "", [*places, Comparison("two, other", "A", (1, 2))]))
    assert said.endswith("Not tested: one (all); two, pair (all).")
    flat = in_words(Claim("C9", "", [Comparison("here", "A over B", (0, 0))]))
    assert "All seeds gave the same difference" in flat


def test_tables_in_words() -> None:
    values = {"independent": [50, 60, 70], "dml": [52, 62.1, 72], "rkd": [49, 59.1, 69], "tfkd": [51, 59, 71]}
    rows = [
        {"method": method, "seed": seed, "peer": 1, "top1": value}
        for method, row in (values | {"ctsl_mkt": [90]}).items()
        for seed, value in enumerate(row)
    ]
    effects = {"effect": [1.0, -1.0], "low": [0.5, -2], "high": [1.5, 0.1], "n": 3}
    table = pd.DataFrame(effects, index=["MLI", "MLI × SLI"])
    assert methods_in_words(summary(pd.DataFrame(rows))) + effects_in_words(table) == [
        "DML is better than independent training (+2.03 points, 95 % interval +1.89 to +2.18, 3 seeds).",
        "RKD is worse than independent training (-0.97 points, 95 % interval -1.11 to -0.82, 3 seeds).",
        "Tf-KD cannot be told apart from independent training "
        "(+0.33 points, 95 % interval -2.54 to +3.20, 3 seeds).",
        "MLI: main effect of +1.00 points; the 95 % interval +0.50 to +1.50 excludes zero.",
        "MLI × SLI: interaction of -1.00 points; the 95 % interval -2.00 to +0.10 contains zero.",
    ]  # one seed of CTSL-MKT says nothing


def test_epochs_to_reach(template: Record) -> None:
    record = record_of(template, 0, [10, 40, 60, 55])
    assert epochs_to_reach(record, 40) == 2 and epochs_to_reach(record, 50) == 2.5
    assert epochs_to_reach(record, 5) == 0.5 and epochs_to_reach(record, 61) == 5


def test_a_forest_colours_by_the_side_of_zero() -> None:
    samples = {"above": [1.9, 2, 2.1], "contains": [1, 2, 3], "below": [-1.9, -2, -2.1], "alone": [3]}
    figure = forest([(name, mean_interval(values)) for name, values in samples.items()], "effect")
    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == list(samples)
    drawn = {box.get_label(): box[0] for box in axes.containers}
    assert {side: line.get_xdata()[0] for side, line in drawn.items()} == pytest.approx(
        {"above zero": 2, "contains zero": 2, "below zero": -2, "single seed, no interval": 3}
    )
    assert len({(line.get_color(), line.get_marker()) for line in drawn.values()}) == 4
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first effect on top
    plt.close(figure)


def test_a_goal_of_zero_is_reached_at_once() -> None:
    history = History(terms=[{"ce": [1.0] * 4}], accuracy=[[0.0, 0.0, 5.0, 10.0]], evaluated=[1, 2, 3, 4])
    record = read_record(Store(ROOT / "data" / "records").path(Spec()))
    slow = record.model_copy(update={"history": history})
    assert epochs_to_reach(slow, 0.0) == 0.0
    assert epochs_to_reach(slow, 5.0) == 3.0 and epochs_to_reach(slow, 7.5) == 3.5
