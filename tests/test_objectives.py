"""One objective for all methods: what is computed, for whom, and where gradients go."""

from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError

from ctsl_lib.data.specs import Digits
from ctsl_lib.experiments.plan import plan_from
from ctsl_lib.experiments.run import run
from ctsl_lib.experiments.spec import Spec
from ctsl_lib.experiments.store import Store
from ctsl_lib.losses.functional import angle_loss, distance_loss, response_loss, triplet_loss
from ctsl_lib.losses.methods import ABLATIONS, FULL, METHODS, baselines, factorial, objective_table
from ctsl_lib.losses.objective import REGISTERED, TERMS, Objective, Term, term
from ctsl_lib.losses.terms import Step
from ctsl_lib.models.peer import PeerOutput
from ctsl_lib.training.recipe import Recipe

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def outputs(k: int, learn: bool = True) -> list[PeerOutput]:
    made = []
    for seed in range(k):
        source = torch.Generator().manual_seed(seed)
        logits, embedding = torch.randn(6, 4, generator=source), torch.randn(6, 5 + seed, generator=source)
        made.append(PeerOutput(logits.requires_grad_(learn), embedding.requires_grad_(learn)))
    return made


def frozen(k: int) -> list[PeerOutput]:
    logits = [torch.randn(6, 4, generator=torch.Generator().manual_seed(100 + seed)) for seed in range(k)]
    return [PeerOutput(one, torch.empty(6, 0)) for one in logits]


EVERY = Objective.model_validate(
    {"ce": 1.0, "response": 2.0, "distance": 3.0, "angle": 4.0, "self": 5.0, "temperature": 3.0}
    | {"triplet": 6.0, "margin": 2.0}
)


def test_paper_coefficients() -> None:
    made = Objective.from_paper(alpha=0.5, beta=2, gamma=3, beta1=4, beta2=5, t=6)
    assert made.weights == {"ce": 0.5, "response": 10, "distance": 2, "angle": 8, "self": 3}
    assert made.temperature == 6


def test_terms_are_the_weighted_losses() -> None:
    peers, copies = outputs(2), frozen(2)
    for k, terms in enumerate(EVERY(peers, LABELS, copies)):
        own, other = peers[k], peers[1 - k]
        expected = {
            "ce": torch.nn.functional.cross_entropy(own.logits, LABELS),
            "response": 2 * response_loss(own.logits, other.logits),
            "distance": 3 * distance_loss(own.embedding, other.embedding),
            "angle": 4 * angle_loss(own.embedding, other.embedding),
            "self": 5 * response_loss(own.logits, copies[k].logits, 3.0),
            "triplet": 6 * triplet_loss(own.embedding, LABELS, 2.0),
        }
        assert list(terms) == [*TERMS, "triplet"]
        for name, value in expected.items():
            assert terms[name].item() == pytest.approx(value.item(), rel=1e-6), name
    scaled = EVERY.model_copy(update={"scale_self_by_t2": True})(peers, LABELS, copies)
    assert scaled[0]["self"].item() == pytest.approx(9 * EVERY(peers, LABELS, copies)[0]["self"].item())


def test_mutual_terms_are_means_over_the_others() -> None:
    peers = outputs(3)
    terms = Objective(response=1.0, angle=1.0)(peers, LABELS)[1]
    expected = (
        response_loss(peers[1].logits, peers[0].logits) + response_loss(peers[1].logits, peers[2].logits)
    ) / 2
    assert terms["response"].item() == pytest.approx(expected.item(), rel=1e-6)
    expected = (
        angle_loss(peers[1].embedding, peers[0].embedding) + angle_loss(peers[1].embedding, peers[2].embedding)
    ) / 2
    assert terms["angle"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_one_peer_has_no_mutual_terms() -> None:
    assert set(EVERY(outputs(1), LABELS, frozen(1))[0]) == {"ce", "self", "triplet"}


def test_a_term_of_weight_zero_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctsl_lib.losses.terms as module

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed a term of weight 0")

    for name in ("response_loss", "relation_losses", "triplet_loss"):
        monkeypatch.setattr(module, name, never)
    assert [set(terms) for terms in METHODS["independent"](outputs(2), LABELS)] == [{"ce"}, {"ce"}]


def test_a_peer_is_not_taught_back() -> None:
    peers = outputs(2)
    first = EVERY(peers, LABELS, frozen(2), only=[0])[0]
    sum(first.values()).backward()
    assert peers[0].logits.grad is not None and peers[0].embedding.grad is not None
    assert peers[1].logits.grad is None and peers[1].embedding.grad is None


def test_a_frozen_copy_is_not_taught() -> None:
    peers, copies = outputs(2), outputs(2)  # as in a loop of one's own that forgot no_grad
    sum(value for terms in EVERY(peers, LABELS, copies) for value in terms.values()).backward()
    assert peers[0].logits.grad is not None
    assert all(copy.logits.grad is None and copy.embedding.grad is None for copy in copies)


def test_label_smoothing_by_its_formula() -> None:
    [peer] = outputs(1)
    got = Objective(label_smoothing=0.1)([peer], LABELS)[0]["ce"]
    log_p = peer.logits.log_softmax(dim=1)
    expected = -0.9 * log_p[torch.arange(6), LABELS].mean() - 0.1 * log_p.mean()
    torch.testing.assert_close(got, expected)


def test_float64_stays_float64() -> None:
    double = [PeerOutput(*(x.double() for x in (out.logits, out.embedding))) for out in outputs(2)]
    assert {value.dtype for value in EVERY(double, LABELS, double)[0].values()} == {torch.float64}


def test_switch_lets_both_sides_of_one_peers_terms_move() -> None:
    peers = outputs(2)
    both = EVERY.model_copy(update={"detach_relations": False})
    sum(both(peers, LABELS, frozen(2), only=[0])[0].values()).backward()
    assert peers[1].embedding.grad is not None and peers[1].embedding.grad.norm() > 0
    assert peers[1].logits.grad is None


@pytest.mark.parametrize("k", [2, 3])
def test_terms_of_all_peers_that_move_both_sides(k: int) -> None:
    both = Objective(ce=0, distance=3, angle=4, detach_relations=False)
    peers, copies = outputs(k), outputs(k)
    sum(value for terms in both(peers, LABELS) for value in terms.values()).backward()
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    sum(
        (3 * distance_loss(a.embedding, b.embedding) + 4 * angle_loss(a.embedding, b.embedding)) / (k - 1)
        for a, b in ((copies[i], copies[j]) for i, j in pairs)
    ).backward()
    for peer, copy in zip(peers, copies, strict=True):
        torch.testing.assert_close(peer.embedding.grad, copy.embedding.grad)


def test_a_teacher_stays_as_long_as_a_term_learns_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTERED, "test_taught", Term(lambda step, k: step.frozen[k].logits.mean(), "frozen"))
    both = Objective.model_validate(
        {"ce": 1, "self": 1, "test_taught": 1, "teacher": "wide_cnn", "temperature": 4}
    )
    left = both.without("self")
    assert left.teacher == "wide_cnn" and left.temperature == 1 and left.without("test_taught").teacher is None
    assert both.without("test_taught", "self").teacher is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "1 ce"),
        ({"response": 4}, "1 ce + 4 response"),
        ({"ce": 5, "label_smoothing": 0.8}, "5 ce, label smoothing 0.8"),
        ({"self": 4}, "1 ce + 4 self"),
        ({"self": 4, "temperature": 4}, "1 ce + 4 self, t = 4"),
        ({"triplet": 1, "margin": 0.5}, "1 ce + 1 triplet, margin 0.5"),
        ({"response": 1, "update": "sequential"}, "1 ce + 1 response, sequential updates"),
        ({"angle": 2, "detach_relations": False}, "1 ce + 2 angle, relations not detached"),
        ({"self": 4, "temperature": 3, "start": "pretrained"}, "1 ce + 4 self, t = 3, warm start"),
    ],
)
def test_words_name_the_switches(row: dict[str, object], words: str) -> None:
    assert Objective.model_validate(row).in_words == words


def test_words_of_usual_distillation() -> None:
    rows = baselines("wide_cnn")
    assert rows["kd"].in_words == "0.1 ce + 0.9 self, teacher wide_cnn, t = 4, self times t²"
    assert rows["label_smoothing"].in_words == "1 ce, label smoothing 0.1"


def test_words_leave_out_switches_that_change_nothing() -> None:
    idle = {"temperature": 4, "margin": 0.5, "detach_relations": False}
    idle |= {"scale_self_by_t2": True, "update": "sequential"}
    assert Objective.model_validate(idle).in_words == "1 ce"
    assert Objective.model_validate({"ce": 0, "triplet": 1, "label_smoothing": 0.1}).in_words == "1 triplet"
    assert Objective.model_validate({"self": 1, "scale_self_by_t2": True}).in_words == "1 ce + 1 self"


def test_a_teacher_from_which_nothing_learns_is_named() -> None:
    for terms in ({"ce": 1, "response": 1}, {"ce": 1, "self": 0}):
        with pytest.raises(ValidationError, match="teacher 'wide_cnn' needs a term that learns from it"):
            Objective.model_validate(terms | {"teacher": "wide_cnn"})
    known_elsewhere = Objective.model_validate({"extra": {"test_taught": 1}, "teacher": "wide_cnn"})
    assert known_elsewhere.teacher == "wide_cnn"  # as in the record of a plug-in that is not loaded


@pytest.mark.parametrize("copies", [None, frozen(1)])
def test_missing_frozen_copies(copies) -> None:
    with pytest.raises(ValueError, match="frozen answers for 2 peers"):
        EVERY(outputs(2), LABELS, copies)


def test_factorial_is_full_and_methods_are_rows_of_it() -> None:
    assert list(ABLATIONS) == ["none", "MLI", "MLR", "SLI", "MLI+MLR", "MLI+SLI", "MLR+SLI", "MLI+MLR+SLI"]
    patterns = {(o.response > 0, o.distance > 0, o.angle > 0, o.self > 0) for o in ABLATIONS.values()}
    assert len(patterns) == 8
    assert all(o.ce == FULL.ce for o in ABLATIONS.values())
    assert METHODS["ctsl_mkt"] == FULL == ABLATIONS["MLI+MLR+SLI"]
    assert METHODS["independent"] == Objective(ce=FULL.ce) == ABLATIONS["none"]
    assert METHODS["tfkd"].temperature == FULL.temperature
    # The triplet term learns from labels: it is in every row, like cross entropy.
    assert factorial(EVERY)["MLI"] == Objective(response=2.0, triplet=6.0, margin=2.0)


def test_table_shows_weights_and_leaves_absent_terms_empty() -> None:
    table = objective_table(METHODS)
    assert list(table.index) == list(METHODS)
    assert table.loc["dml", "response"] == FULL.response
    assert table.loc["dml", ["distance", "angle", "self"]].isna().all()


@pytest.mark.parametrize("wrong", [{"ce": -1}, {"temperature": 0}, {"respnse": 1}, {"self": float("nan")}])
def test_wrong_weights(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Objective.model_validate(wrong)


def test_unknown_term() -> None:
    with pytest.raises(ValueError, match="ce, response, distance, angle, self, triplet; got relation"):
        FULL.without("relation")


def test_an_objective_has_a_term_for_every_peer() -> None:
    with pytest.raises(ValidationError, match=r"at least one of ce, .* must be above 0"):
        Objective(ce=0)
    with pytest.raises(ValidationError, match="at least one of ce"):
        Objective(ce=0, distance=2).without("distance")
    Objective(ce=0, triplet=1).check_peers(1)
    Objective(ce=0, response=1).check_peers(2)
    with pytest.raises(ValueError, match="above 0 for a single peer"):
        Objective(ce=0, response=1, angle=1).check_peers(1)
    with pytest.raises(ValueError, match="above 0 for a single peer"):
        Objective(ce=0, response=1)(outputs(1), LABELS)
    with pytest.raises(ValueError, match="one peer or more, got none"):
        Objective()([], LABELS)


@pytest.fixture
def own_term() -> Iterator[None]:
    @term("spread", needs="peers")
    def spread(step: Step, k: int) -> torch.Tensor:
        """How far the own embedding's spread is from the others'."""
        own = step.outputs[k].embedding.std(dim=0).mean()
        return torch.stack(
            [(own - other.embedding.std(dim=0).mean()).square() for other in step.others(k)]
        ).mean()

    yield
    del REGISTERED["spread"]


def test_a_term_of_a_users_own(own_term: None, store: Store) -> None:
    objective = Objective(ce=1, spread=2.0)
    assert objective == Objective(extra={"spread": 2.0}) and objective.active == {"ce": 1, "spread": 2}
    assert (
        hash(objective) != hash(Objective())
        and Objective.model_validate_json(objective.model_dump_json()) == objective
    )
    [first, _] = objective(outputs(2), LABELS)
    assert set(first) == {"ce", "spread"} and first["spread"] > 0
    assert set(objective(outputs(1), LABELS)[0]) == {"ce"} and objective.without("spread") == Objective()
    assert Objective.model_validate({"spread": "0"}) == Objective()
    with pytest.raises(ValueError, match="must be new"):
        term("ce")(lambda step, k: step.labels.sum())
    for name in ("ce", "temperature"):
        with pytest.raises(ValidationError, match=f"must name terms of your own; {name} is a setting of the obj"):
            Objective(extra={name: 5.0})
    base = Spec(data=Digits(n_train=60), recipe=Recipe(epochs=2, batch_size=30))
    record = run(base.model_copy(update={"objective": objective}), store)
    assert [len(curves["spread"]) for curves in record.history.terms] == [2, 2]
    assert store.load(record.spec) == record and record.spec.key != base.key
    plan = plan_from({"rows": {"mine": {"spread": 2}}, "methods": ["independent", "mine"], "pairs": [["tiny_cnn"] * 2],
                      "weights": {"response": 1}, "n_train": 60}, "digits")  # fmt: skip
    assert plan.objectives["mine"] == objective
    with pytest.raises(ValidationError, match="weights must not have spread, which learns from peers"):
        plan_from({"weights": {"response": 1, "spread": 2}, "pairs": [["tiny_cnn"] * 2]}, "digits")


def test_a_term_that_is_not_registered_is_named() -> None:
    with pytest.raises(ValidationError, match="spred"):
        Objective(spred=1)
    with pytest.raises(ValueError, match=r"term must be one of ce, .*; got spred"):
        Objective(extra={"spred": 1.0})(outputs(2), LABELS)
