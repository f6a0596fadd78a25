"""The loop: what it changes, what it leaves alone, and that it is the same every time."""

import shutil
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import nn

from ctsl_lib.data.specs import Digits
from ctsl_lib.data.types import Dataset
from ctsl_lib.errors import NonFiniteLossError
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.objective import REGISTERED, Objective, Term, term
from ctsl_lib.losses.terms import Step
from ctsl_lib.models.peer import Peer, frozen_copy
from ctsl_lib.models.precision import autocast
from ctsl_lib.models.registry import build_peer
from ctsl_lib.training.batches import FrozenAnswers
from ctsl_lib.training.history import History
from ctsl_lib.training.loop import _Terms, compile_networks, train
from ctsl_lib.training.optimizer import make_optimizer
from ctsl_lib.training.recipe import Recipe, learning_rate_factor

SHORT = Recipe(epochs=2, batch_size=40, padding=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Digits(n_train=120).load(0)


def peers(count: int = 2) -> list[Peer]:
    return [build_peer("tiny_cnn" if k % 2 == 0 else "tiny_resnet", 1, 10, seed=k) for k in range(count)]


def states(group: list[Peer]) -> list[torch.Tensor]:
    return [value.clone() for peer in group for value in peer.state_dict().values()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def go(data: Dataset, objective: Objective, *, seed: int = 0, recipe: Recipe = SHORT, count: int = 2) -> tuple[
    list[Peer], History
]:  # fmt: skip
    group = peers(count)
    copies = [frozen_copy(peer) for peer in peers(count)] if objective.self > 0 else None
    return group, train(group, objective, data, recipe, seed, frozen=copies)


@pytest.mark.parametrize("method", list(METHODS))
def test_same_seed_same_result_and_global_state_untouched(data: Dataset, method: str) -> None:
    torch.manual_seed(1)
    first, history = go(data, METHODS[method])
    after = torch.rand(1)
    torch.manual_seed(2)
    second, again = go(data, METHODS[method])
    assert equal(states(first), states(second)) and history == again
    torch.manual_seed(1)
    assert torch.rand(1) == after
    assert not equal(states(first), states(go(data, METHODS[method], seed=1)[0]))


def test_bf16_is_the_same_every_time_and_another_recipe(data: Dataset) -> None:
    half = SHORT.model_copy(update={"precision": "bf16"})
    first, history = go(data, METHODS["ctsl_mkt"], recipe=half)
    second, again = go(data, METHODS["ctsl_mkt"], recipe=half)
    assert equal(states(first), states(second)) and history == again
    full, in_full = go(data, METHODS["ctsl_mkt"])
    assert not equal(states(first), states(full))
    assert all(value.dtype != torch.bfloat16 for value in states(first))
    for mixed, exact in zip(history.terms, in_full.terms, strict=True):
        for name in exact:  # the same training, up to rounding
            assert mixed[name][0] == pytest.approx(exact[name][0], rel=0.1, abs=1e-3), name


@pytest.mark.parametrize("network", ["mobilenetv2", "shufflenetv2"])
def test_bf16_keeps_strided_depthwise_layers_embedding_and_logits_in_float32(network: str) -> None:
    peer = build_peer(network, 3, 10, seed=0)
    seen = {}
    for name, layer in peer.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, out, name=name: seen.update({name: (layer, out.dtype)}))
    with autocast(torch.device("cpu"), "bf16"):
        output = peer(torch.randn(2, 3, 32, 32))
    assert output.logits.dtype == output.embedding.dtype == torch.float32
    kept = {name for name, (layer, dtype) in seen.items() if dtype == torch.float32}
    strided = {n for n, (layer, _) in seen.items() if layer.groups > 1 and layer.stride != (1, 1)}
    assert kept == strided and strided


@pytest.mark.parametrize("network", ["mobilenetv2", "resnet8", "shufflenetv2", "tiny_reid"])
def test_a_network_computes_in_float64_where_it_is_asked_to(network: str) -> None:
    peer, images = build_peer(network, 3, 10, seed=0).eval(), torch.randn(2, 3, 32, 32)
    single, double = peer(images), peer.double()(images.double())
    assert double.logits.dtype == double.embedding.dtype == torch.float64
    torch.testing.assert_close(double.logits.float(), single.logits)


def test_weights_lie_channels_last_and_keep_their_values() -> None:
    peer = build_peer("resnet8", 3, 10, seed=0)
    weight = peer.backbone[3].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    again = build_peer("resnet8", 3, 10, seed=0)
    again.load_state_dict({name: value.contiguous() for name, value in peer.state_dict().items()})
    assert again.backbone[3].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert equal(states([peer]), states([again]))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiled_relation_losses_train_to_the_same_within_rounding(data: Dataset) -> None:
    one = Recipe(epochs=1, batch_size=40)
    _, history = go(data, METHODS["rkd"], recipe=one)
    _, compiled = go(data, METHODS["rkd"], recipe=one.model_copy(update={"compile": True}))
    assert compiled.terms[0]["angle"] == pytest.approx(history.terms[0]["angle"], rel=1e-3)


def test_every_network_of_a_process_is_compiled(data: Dataset) -> None:
    names = ("tiny_cnn", "tiny_resnet", "pocket_cnn", "wide_cnn")
    images = data.normalise(data.train.images[:8])
    for _ in range(2):  # two runs of one process
        graphs: list[object] = []
        networks = [build_peer(name, 1, 10, seed=0) for name in names]
        compile_networks(networks, backend=lambda graph, _, made=graphs: made.append(graph) or graph.forward)
        for peer in networks:
            before = len(graphs)
            peer.train()(images).logits.sum().backward()
            with torch.no_grad():
                peer.eval()(images)
            assert len(graphs) >= before + 2


def test_history_has_every_term_and_epoch(data: Dataset) -> None:
    _, history = go(data, METHODS["ctsl_mkt"], count=3)
    assert [set(terms) for terms in history.terms] == [{"ce", "response", "distance", "angle", "self"}] * 3
    assert all(len(values) == 2 for terms in history.terms for values in terms.values())
    assert history.evaluated == [1, 2] and [len(curve) for curve in history.accuracy] == [2, 2, 2]


def test_training_learns(data: Dataset) -> None:
    clean = Digits(n_train=400, label_noise=0).load(0)
    _, history = go(clean, METHODS["dml"], recipe=Recipe(epochs=6, batch_size=32, padding=1))
    assert min(curve[-1] for curve in history.accuracy) > 80


def test_modes_after_training_and_evaluation(data: Dataset) -> None:
    seen = []
    group = peers()
    group[0].register_forward_hook(lambda module, *_: seen.append((module.training, torch.is_grad_enabled())))
    train(group, METHODS["independent"], data, SHORT, 0)
    # 3 training steps, then evaluation, then the second epoch in train mode again.
    training_steps = [mode for mode, grad in seen if grad]
    assert training_steps == [True] * 6
    assert {mode for mode, grad in seen if not grad} == {False}
    assert all(peer.training for peer in group)


def test_independent_peers_do_not_touch_one_another(data: Dataset) -> None:
    together, _ = go(data, METHODS["independent"])
    alone = peers()[:1]
    train(alone, METHODS["independent"], data, SHORT, 0)
    assert equal(states(alone), states(together[:1]))


@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_update_order(data: Dataset, update: str) -> None:
    # Sequential: the second peer learns from the answers of a first peer that has moved already.
    objective = METHODS["dml"].model_copy(update={"update": update})
    one_step = Recipe(epochs=1, batch_size=120, padding=0, learning_rate=0.5)
    group, _ = go(data, objective, recipe=one_step)
    reference, _ = go(data, METHODS["dml"], recipe=one_step)
    # Batch statistics are updated at each forward pass, so compare the classifiers alone.
    first, second = (torch.equal(group[k].classifier.weight, reference[k].classifier.weight) for k in range(2))
    assert first and second == (update == "simultaneous")


def test_a_peer_whose_turn_it_is_not_takes_no_step(data: Dataset) -> None:
    # Relations that move send a gradient to both peers, in each turn.
    objective = Objective(ce=1, distance=1, detach_relations=False, update="sequential")
    group, seen = peers(), []
    group[0].register_forward_pre_hook(
        lambda peer, _: seen.append(peer.training and [next(p.parameters()).clone() for p in group])
    )
    train(group, objective, data, Recipe(epochs=1, batch_size=120, padding=0), 0)
    first, second = (before for before in seen if before)  # the answers of the first turn and of the second
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [False, True]
    assert not torch.equal(next(group[1].parameters()), second[1])


def test_frozen_copies_stay_as_they_are(data: Dataset) -> None:
    copies = [frozen_copy(peer) for peer in peers()]
    before = states(copies)
    train(peers(), METHODS["tfkd"], data, SHORT, 0, frozen=copies)
    assert equal(states(copies), before) and not any(copy.training for copy in copies)


def test_frozen_answers_are_cached_only_without_augmentation(data: Dataset) -> None:
    copies = [frozen_copy(peer) for peer in peers()]
    batch = torch.tensor([5, 3, 8])
    images = data.normalise(data.train.images[batch])
    still, moving = Recipe(padding=0), Recipe(padding=1)
    answers = partial(FrozenAnswers, copies, data, objective=METHODS["tfkd"])
    cached, fresh = (answers(recipe)(batch, images) for recipe in (still, moving))
    for a, b in zip(cached, fresh, strict=True):
        assert torch.allclose(a.logits, b.logits, atol=1e-5)
    blank = answers(moving)(batch, torch.zeros_like(images))
    assert not torch.allclose(blank[0].logits, fresh[0].logits)


def test_non_finite_loss_names_its_terms(data: Dataset) -> None:
    with pytest.raises(NonFiniteLossError, match=r"epoch \d+, step \d+: peer 0 ce = "):
        go(data, METHODS["independent"], recipe=Recipe(epochs=3, batch_size=40, learning_rate=1e30))


def test_terms_looked_at_late_name_the_first_bad_step() -> None:
    terms = _Terms(epoch=4)
    for value in (1.0, float("inf"), float("nan")):  # as on a GPU: taken note of, not looked at
        terms.steps.append(len(terms.steps))
        terms.names.append([(0, "ce"), (1, "ce")])
        terms.values.append(torch.tensor([2.0, value]))
    with pytest.raises(NonFiniteLossError, match="epoch 5, step 2: peer 0 ce = 2, peer 1 ce = inf"):
        terms.means(peers=2, steps=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": Recipe(batch_size=200)}, "batch_size must be at most the 120 training images, got 200"),
        ({"peers": []}, "peers must be 1 or more"),
        ({"objective": METHODS["tfkd"]}, "2 frozen copies"),
    ],
)
def test_settings_that_do_not_fit(data: Dataset, change: dict, message: str) -> None:
    given = {"peers": peers(), "objective": METHODS["dml"], "recipe": SHORT} | change
    with pytest.raises(ValueError, match=message):
        train(given["peers"], given["objective"], data, given["recipe"], 0)


def test_schedules() -> None:
    steps = Recipe(schedule="steps", drop_at=(0.3, 0.6, 0.8), drop=0.2)
    shares = [learning_rate_factor(steps, epoch / 200) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    assert shares == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04, 0.008, 0.008])
    one_cycle = [learning_rate_factor(Recipe(schedule="one_cycle"), share) for share in (0, 0.3, 0.65, 1)]
    assert one_cycle == pytest.approx([0.04, 1, 0.5, 0], abs=1e-9)
    cosine = [learning_rate_factor(Recipe(schedule="cosine"), share) for share in (0, 0.5, 1)]
    assert cosine == pytest.approx([1, 0.5, 0], abs=1e-9)


def test_optimizers_do_what_their_names_say() -> None:
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.zeros(1)
    make_optimizer([weight], Recipe(learning_rate=0.1, momentum=0, weight_decay=0.5)).step()
    assert weight.item() == pytest.approx(0.95)  # 1 - 0.1 * 0.5
    assert make_optimizer([weight], Recipe(optimizer="amsgrad")).param_groups[0]["amsgrad"]


def test_dropout_draws_anew_in_every_step() -> None:
    drop, masks = nn.Dropout(0.5), []
    drop.register_forward_pre_hook(lambda _, inputs: (torch.ones_like(inputs[0]),))
    drop.register_forward_hook(
        lambda layer, _, out: masks.append(out.detach().clone()) if layer.training else None
    )
    peer = Peer(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), drop), 32, 10)
    train([peer], Objective(), Digits(n_train=60).load(0), Recipe(epochs=2, batch_size=20), 0, progress=False)
    assert len({mask.numpy().tobytes() for mask in masks}) == len(masks) == 6


def test_a_term_of_ones_own_may_draw_random_numbers(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def product(step: Step, k: int) -> torch.Tensor:
        return (step.outputs[k].logits * torch.rand_like(step.outputs[k].logits)).mean()

    monkeypatch.setitem(REGISTERED, "test_noisy", Term(product, "labels"))
    noisy = Objective.model_validate({"ce": 1, "test_noisy": 1})
    torch.manual_seed(1)
    _, first = go(data, noisy)
    torch.manual_seed(2)
    _, again = go(data, noisy)
    assert first == again


@pytest.fixture
def steep_term() -> Iterator[None]:
    @term("steep")
    def steep(step: Step, k: int) -> torch.Tensor:
        """Finite, with a gradient that no step can follow."""
        return 1e20 * step.outputs[k].logits.mean()

    yield
    del REGISTERED["steep"]


def test_weights_that_are_not_finite_after_the_last_step_are_told(data: Dataset, steep_term: None) -> None:
    one_step = Recipe(epochs=1, batch_size=120, learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match=r"weights are not finite after epoch 1: \S+ of peer 0"):
        go(data, Objective(steep=1), recipe=one_step)


def test_a_step_with_two_updates_counts_once() -> None:
    terms = _Terms(epoch=0)
    for k in range(2):
        terms.add(0, {k: {"ce": torch.tensor(1.0)}})
    terms.add(1, {0: {"ce": torch.tensor(1.0)}})
    with pytest.raises(NonFiniteLossError, match="epoch 1, step 2: peer 1 ce = nan"):
        terms.add(1, {1: {"ce": torch.tensor(float("nan"))}})


@pytest.mark.parametrize("method", ["dml", "rkd", "tfkd"])
def test_answers_that_are_not_finite_are_told_as_a_loss_that_is_not(data: Dataset, method: str) -> None:
    steep = Recipe(epochs=2, batch_size=30, learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match=r"loss is not finite in epoch \d, step \d"):
        go(data, METHODS[method], recipe=steep)
