"""Metrics, each on numbers that can be checked by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ctsl_lib.data.specs import Digits
from ctsl_lib.errors import NonFiniteInputError
from ctsl_lib.metrics.classification import agreement, expected_calibration_error, top_k_accuracy
from ctsl_lib.metrics.evaluation import METRICS, accuracies, evaluate, predict
from ctsl_lib.models.peer import PeerOutput
from ctsl_lib.models.registry import build_peer

LOGITS = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [3.0, 1.0, 2.0]])


def test_top_k() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    assert top_k_accuracy(LOGITS, labels) == 50
    assert top_k_accuracy(LOGITS, labels, k=2) == 75
    assert top_k_accuracy(LOGITS, labels, k=3) == 100
    with pytest.raises(ValueError, match="k must be between 1 and the 3 classes, got 4"):
        top_k_accuracy(LOGITS, labels, k=4)
    falling = torch.arange(10.0, 0, -1)[None]
    output = PeerOutput(falling, falling)
    assert METRICS["top5"](output, torch.tensor([4])) == 100 and METRICS["top5"](output, torch.tensor([5])) == 0


@pytest.mark.parametrize(
    "labels", [torch.tensor([0]), torch.tensor([[0]] * 4), torch.tensor([], dtype=torch.long)]
)
@pytest.mark.parametrize("judge", [top_k_accuracy, expected_calibration_error])
def test_labels_must_be_one_for_each_answer(judge: Callable[..., float], labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"logits must be \(N, C\) and labels \(N,\), N >= 1, got \(4, 3\) and"):
        judge(LOGITS, labels)
    with pytest.raises(ValueError, match="N >= 1"):
        judge(LOGITS[:0], torch.tensor([], dtype=torch.long))


def test_calibration_by_hand() -> None:
    # Four answers of confidence 0.9, of which 3 are right (gap 0.15), one of confidence 0.6 that is wrong (0.6):
    # ECE = 4/5 * 0.15 + 1/5 * 0.6 = 0.24.
    shares = torch.tensor([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert expected_calibration_error(shares.log(), labels) == pytest.approx(24)
    # Fifteen bins part 0.61 from 0.69, which ten do not: ECE = (0.39 + 0.69) / 2.
    apart = torch.tensor([[0.61, 0.39], [0.69, 0.31]]).log()
    assert expected_calibration_error(apart, torch.tensor([0, 1])) == pytest.approx(54)
    sure = torch.tensor([[100.0, 0.0]] * 4)
    assert expected_calibration_error(sure, torch.zeros(4, dtype=torch.long)) == pytest.approx(0)
    assert expected_calibration_error(sure, torch.ones(4, dtype=torch.long)) == pytest.approx(100)


def test_agreement() -> None:
    other = LOGITS.clone()
    other[0] = other[0].flip(0)
    assert agreement([LOGITS, LOGITS]) == 100
    assert agreement([LOGITS, other]) == 75
    assert agreement([LOGITS, LOGITS, other]) == pytest.approx((100 + 75 + 75) / 3)
    with pytest.raises(ValueError, match="2 or more peers, got 1"):
        agreement([LOGITS])
    with pytest.raises(ValueError, match="logits of all peers must be of one shape"):
        agreement([LOGITS, LOGITS[:1]])


def test_predict_leaves_the_mode_as_it_was() -> None:
    data = Digits().load(0)
    peer = build_peer("tiny_cnn", 1, 10, seed=0).train()
    before = {name: value.clone() for name, value in peer.state_dict().items()}
    first = predict(peer, data.test.images, data)
    assert peer.training and all(module.training for module in peer.modules())
    assert all(torch.equal(value, before[name]) for name, value in peer.state_dict().items())
    # Evaluation mode: an image's answer does not depend on which others are asked with it.
    alone = predict(peer, data.test.images[:1], data)
    assert torch.allclose(alone.logits, first.logits[:1], atol=1e-5)
    assert not predict(peer.eval(), data.test.images[:2], data).logits.requires_grad and not peer.training
    held = next(layer for layer in peer.train().modules() if isinstance(layer, nn.BatchNorm2d)).eval()
    predict(peer, data.test.images[:2], data)
    assert peer.training and not held.training  # a layer that was frozen by hand stays so


def test_evaluate_names_its_metrics() -> None:
    data = Digits().load(0)
    peers = [build_peer("tiny_cnn", 1, 10, seed=k) for k in range(2)]
    metrics = evaluate(peers, data.test, data)
    assert {name: len(values) for name, values in metrics.items()} == {
        "top1": 2,
        "top5": 2,
        "ece": 2,
        "agreement": 1,
    }
    assert "agreement" not in evaluate(peers[:1], data.test, data)
    assert evaluate(peers, data.test, data, "bf16")["ece"] != metrics["ece"]


def test_answers_that_are_no_numbers_are_not_judged() -> None:
    data = Digits().load(0)
    peers = [build_peer("tiny_cnn", 1, 10, seed=k) for k in range(2)]
    with torch.no_grad():
        peers[1].classifier.weight.fill_(3e38)  # finite, but their answers are not
    for judge in (evaluate, accuracies):
        with pytest.raises(NonFiniteInputError, match="answers of peer 1 hold values that are not finite"):
            judge(peers, data.test, data)
