"""The mathematics of each loss, by property; every tolerance is a relative error against float64."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ctsl_lib.losses.functional import angle_loss, distance_loss, response_loss, triplet_loss

RELATIONS = [distance_loss, angle_loss]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def huber(difference: float) -> float:
    size = abs(difference)
    return 0.5 * size**2 if size <= 1 else size - 0.5


def numpy_response(own: np.ndarray, target: np.ndarray, t: float) -> float:
    p, q = (np.exp(z / t) / np.exp(z / t).sum(1, keepdims=True) for z in (own, target))
    return float((q * np.log(q / p)).sum() / len(own))


def numpy_distance(own: np.ndarray, target: np.ndarray) -> float:
    pairs = list(itertools.permutations(range(len(own)), 2))
    sides = []
    for side in (own, target):
        distances = np.array([np.linalg.norm(side[u] - side[v]) for u, v in pairs])
        sides.append(distances / distances.mean())
    return float(np.mean([huber(d) for d in sides[0] - sides[1]]))


def numpy_angle(own: np.ndarray, target: np.ndarray) -> float:
    total = []
    for u, v, w in itertools.permutations(range(len(own)), 3):
        cosines = []
        for side in (own, target):
            a, b = side[u] - side[v], side[w] - side[v]
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        total.append(huber(cosines[0] - cosines[1]))
    return float(np.mean(total))


REFERENCES = [(distance_loss, numpy_distance), (angle_loss, numpy_angle)]


# --- by hand -------------------------------------------------------------------------------------------


def test_response_by_hand() -> None:
    # p = (1/2, 1/2), q = (3/4, 1/4): KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.30410 - 0.17329 = 0.13081
    own = torch.tensor([[0.0, 0.0]])
    target = torch.tensor([[3.0, 1.0]]).log()
    assert response_loss(own, target).item() == pytest.approx(0.130812, abs=1e-6)
    # Twice the same image is the same mean; two classes more with no weight do not change the sum.
    assert response_loss(own.repeat(2, 1), target.repeat(2, 1)).item() == pytest.approx(0.130812, abs=1e-6)
    padding = torch.full((1, 2), -1e4)
    wide = response_loss(torch.cat([own, padding], 1), torch.cat([target, padding], 1))
    assert wide.item() == pytest.approx(0.130812, abs=1e-6)


def test_relations_by_hand() -> None:
    # A 3-4-5 triangle has mean side 4 and relative sides 3/4, 1, 5/4; an equilateral one 1, 1, 1.
    # Huber is half the square: mean of (1/16, 0, 1/16) / 2 = 1/48.
    triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    equilateral = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    assert distance_loss(triangle, equilateral).item() == pytest.approx(1 / 48, rel=1e-6)
    # Cosines 0, 3/5, 4/5 against 1/2 thrice: mean of (1/4, 1/100, 9/100) / 2 = 7/120.
    assert angle_loss(triangle, equilateral).item() == pytest.approx(7 / 120, rel=1e-6)


# --- against an independent float64 implementation ------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 9), classes=st.integers(1, 12), seed=st.integers(0, 10**6), t=st.floats(0.3, 20),
    scale=st.floats(0.01, 30),
)  # fmt: skip
def test_response_reference(batch: int, classes: int, seed: int, t: float, scale: float) -> None:
    own, target = (scale * normal(batch, classes, seed=seed + i, dtype=torch.float64) for i in range(2))
    expected = numpy_response(own.numpy(), target.numpy(), t)
    assert response_loss(own, target, t).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("loss", "reference"), REFERENCES)
@settings(max_examples=30, deadline=None)
@given(batch=st.integers(3, 8), width=st.integers(1, 20), other=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_relation_reference(loss, reference, batch: int, width: int, other: int, seed: int) -> None:
    own = normal(batch, width, seed=seed, dtype=torch.float64)
    target = normal(batch, other, seed=seed + 1, dtype=torch.float64)
    expected = reference(own.numpy(), target.numpy())
    assert loss(own, target).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert loss(own.float(), target.float()).item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("loss", "reference"), REFERENCES)
def test_relation_with_offset(loss, reference) -> None:
    own, target = normal(16, 8, seed=1) + 1000, normal(16, 8, seed=2) - 1000
    expected = reference(own.double().numpy(), target.double().numpy())
    assert loss(own, target).item() == pytest.approx(expected, rel=1e-3)


# --- zero, invariance, direction ------------------------------------------------------------------------


def test_response_zero_only_at_equality() -> None:
    z = normal(6, 10)
    assert response_loss(z, z).item() == 0
    assert response_loss(z + 5, z).item() == pytest.approx(0, abs=1e-6)  # softmax ignores a shift
    assert response_loss(z, normal(6, 10, seed=1)).item() > 0.01


def test_temperature_softens() -> None:
    own, target = normal(6, 10), normal(6, 10, seed=1)
    losses = [response_loss(own, target, t).item() for t in (1, 2, 4, 8)]
    assert losses == sorted(losses, reverse=True)
    assert response_loss(own, target, 4.0) == response_loss(own / 4, target / 4)


@pytest.mark.parametrize("loss", RELATIONS)
def test_relation_zero_and_invariance(loss) -> None:
    f, g = normal(7, 5, dtype=torch.float64), normal(7, 9, seed=1, dtype=torch.float64)
    rotation = torch.linalg.qr(normal(5, 5, seed=2, dtype=torch.float64))[0]
    assert loss(f, f).item() == 0
    value = loss(f, g).item()
    assert value > 1e-3
    for same in (f + 3, 7 * f, f @ rotation, torch.cat([f, torch.zeros(7, 2)], 1)):
        assert loss(same, g).item() == pytest.approx(value, rel=1e-9)
        assert loss(same, f).item() == pytest.approx(0, abs=1e-12)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    assert loss(f[order], g[order]).item() == pytest.approx(value, rel=1e-9)
    assert loss(f[order], g).item() != pytest.approx(value, rel=1e-3)  # which image is which does matter
    assert loss(g, f).item() == pytest.approx(value, rel=1e-9)  # Huber is even


@pytest.mark.parametrize("loss", [response_loss, *RELATIONS])
def test_gradient_descends_and_stays_on_its_side(loss) -> None:
    own, target = normal(8, 6).requires_grad_(), normal(8, 6, seed=1).requires_grad_()
    before = loss(own, target.detach())
    before.backward()
    assert target.grad is None and own.grad is not None and own.grad.norm() > 0
    assert loss(own - 0.1 * own.grad / own.grad.norm(), target) < before
    loss(own.detach(), target).backward()  # nothing is detached inside: the other side may move too
    assert target.grad is not None and target.grad.norm() > 0


@pytest.mark.parametrize("loss", [response_loss, *RELATIONS])
def test_gradcheck(loss) -> None:
    own, target = (normal(5, 4, seed=s, dtype=torch.float64).requires_grad_() for s in range(2))
    assert torch.autograd.gradcheck(loss, (own, target))


# --- edges ----------------------------------------------------------------------------------------------


def degenerate() -> dict[str, Tensor]:
    f = normal(8, 6)
    twins, some_zero = f.clone(), f.clone()
    twins[1] = twins[0]
    twins[5] = twins[4]
    some_zero[2:5] = 0
    return {"twins": twins, "some zero": some_zero, "all zero": 0 * f, "all equal": f[:1].repeat(8, 1)}


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("case", list(degenerate()))
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_coinciding_images_are_harmless(loss, case: str, offset: float) -> None:
    own = (degenerate()[case] + offset).requires_grad_()
    for target in (normal(8, 6, seed=1), degenerate()[case]):
        own.grad = None
        value = loss(own, target)
        value.backward()
        assert torch.isfinite(value)
        assert own.grad is not None and torch.isfinite(own.grad).all() and own.grad.norm() <= 100


def test_triples_of_coinciding_images_still_count() -> None:
    # Two of three images coincide: the four triples with a vertex among the twins lose one direction (cosine
    # 0), the two at the third image see the twins at angle 0 (cosine 1). Equilateral: 1/2 everywhere.
    twins = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    equilateral = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    assert angle_loss(twins, equilateral).item() == pytest.approx(0.5 * 0.25, rel=1e-6)


@pytest.mark.parametrize("loss", [response_loss, *RELATIONS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(loss, dtype: torch.dtype) -> None:
    own, target = normal(8, 6).to(dtype), normal(8, 6, seed=1).to(dtype)
    expected = loss(own.double(), target.double()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        leaf = own.clone().requires_grad_()
        value = loss(leaf, target)
        value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: response_loss(normal(4, 3), normal(4, 2)), r"logits.*\(4, 3\) and \(4, 2\)"),
        (lambda: response_loss(normal(0, 3), normal(0, 3)), r"non-empty"),
        (
            lambda: response_loss(normal(4, 3), normal(4, 3), 0.0),
            "temperature must be a finite number above 0, got 0",
        ),
        (lambda: response_loss(normal(4, 3), normal(4, 3), float("nan")), "temperature"),
        (lambda: response_loss(normal(4, 3) / 0, normal(4, 3)), r"^logits of shape \(4, 3\)"),
        (lambda: distance_loss(normal(1, 3), normal(1, 3)), r"2 or more images.*embedding \(1, 3\)"),
        (lambda: angle_loss(normal(2, 3), normal(2, 3)), r"3 or more images.*embedding \(2, 3\)"),
        (lambda: distance_loss(normal(4, 3), normal(5, 3)), r"same images.*\(4, 3\).*\(5, 3\)"),
        (lambda: angle_loss(normal(4, 3), normal(4)), r"shape \(B, D\).*target_embedding \(4,\)"),
        (lambda: angle_loss(normal(4, 3), normal(4, 3) * torch.nan), r"target_embedding.*12 values"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- the triplet loss ------------------------------------------------------------------------------------


def plain_triplet(points: np.ndarray, labels: np.ndarray, margin: float) -> float:
    """One anchor at a time; 0 where nobody has both kinds of images around it."""
    found = []
    for a in range(len(points)):
        distances = np.linalg.norm(points - points[a], axis=1)
        own = [distances[i] for i in range(len(points)) if i != a and labels[i] == labels[a]]
        others = [distances[i] for i in range(len(points)) if labels[i] != labels[a]]
        if own and others:
            found.append(max(0.0, margin + max(own) - min(others)))
    return float(np.mean(found)) if found else 0.0


def test_triplet_by_hand() -> None:
    # On a line: class 0 at 0 and 1, class 1 at 3 and 7. Farthest own, nearest other, for margin 2: 2 + 1 - 3 = 0,
    # 2 + 1 - 2 = 1, 2 + 4 - 2 = 4, 2 + 4 - 6 = 0; the mean is 5/4.
    line, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    assert triplet_loss(line, labels, margin=2).item() == pytest.approx(1.25)
    assert triplet_loss(line, labels, margin=0).item() == pytest.approx((0 + 0 + 2 + 0) / 4)
    assert triplet_loss(torch.tensor([[0.0], [0.5], [9.0], [9.5]]), labels).item() == 0
    # An image that is alone in its class is nobody's anchor, but others keep away from it.
    assert triplet_loss(line[:3], labels[:3], margin=2).item() == pytest.approx((0 + 1) / 2)
    for alone in (torch.arange(4), torch.zeros(4, dtype=torch.long)):
        assert triplet_loss(line, alone).item() == 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 12),
    width=st.integers(1, 5),
    margin=st.sampled_from([0, 0.3, 2]),
)
def test_triplet_against_a_plain_implementation(seed: int, batch: int, width: int, margin: float) -> None:
    points = normal(batch, width, seed=seed, dtype=torch.float64)
    labels = torch.randint(3, (batch,), generator=torch.Generator().manual_seed(seed))
    expected = plain_triplet(points.numpy(), labels.numpy(), margin)
    assert triplet_loss(points, labels, margin).item() == pytest.approx(expected, abs=1e-12)
    assert triplet_loss(points.float() + 100, labels, margin).item() == pytest.approx(expected, abs=1e-3)


def test_triplet_gradient() -> None:
    points = normal(8, 3, dtype=torch.float64).requires_grad_()
    labels = torch.arange(8) % 3
    assert torch.autograd.gradcheck(lambda p: triplet_loss(p, labels, 1.0), points)
    value = triplet_loss(points, labels, 1.0)
    (slope,) = torch.autograd.grad(value, points)
    assert triplet_loss(points - 1e-3 * slope, labels, 1.0) < value
    turned = points @ torch.linalg.qr(normal(3, 3, seed=1, dtype=torch.float64)).Q + 5
    assert triplet_loss(turned, labels, 1.0).item() == pytest.approx(value.item())


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(torch.float32, e) for e in (-30, -25, 19, 25, 30)] + [(torch.float64, e) for e in (-200, 200)],
)
def test_triplet_at_every_finite_scale(dtype: torch.dtype, exponent: int) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    points = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = (points * 10.0**exponent).to(dtype).requires_grad_()
    value = triplet_loss(scaled, labels, margin=0.5 * 10.0**exponent)
    (slope,) = torch.autograd.grad(value, scaled)
    rescaled = (scaled.detach().double() / 10.0**exponent).requires_grad_()
    expected = triplet_loss(rescaled, labels, margin=0.5)
    (exact,) = torch.autograd.grad(expected, rescaled)
    assert value.item() / 10.0**exponent == pytest.approx(expected.item(), rel=1e-5)
    assert (slope.double() - exact).norm() <= 1e-5 * exact.norm()  # a length's gradient has no unit


def test_response_at_every_finite_scale() -> None:
    for exponent in range(-30, 31, 5):
        own, target = (normal(6, 4, seed=seed) * 10.0**exponent for seed in (0, 1))
        value = response_loss(own.requires_grad_(), target)
        (slope,) = torch.autograd.grad(value, own)
        exact = response_loss(own.detach().double(), target.double())
        assert value.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-6) and slope.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_triplet_is_finite_where_images_coincide(dtype: torch.dtype) -> None:
    for points in (torch.zeros(6, 4), torch.ones(6, 4), normal(3, 4).repeat(2, 1)):
        leaf = points.to(dtype).requires_grad_()
        value = triplet_loss(leaf, torch.arange(6) % 2, 0.3)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(leaf.grad).all()
    assert triplet_loss(torch.zeros(6, 4), torch.arange(6) % 2, 0.3).item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("points", "labels", "margin", "message"),
    [
        (torch.zeros(4), torch.zeros(4), 0.3, r"embedding must be non-empty of shape \(B, D\).*got \(4,\)"),
        (torch.zeros(4, 2), torch.zeros(3), 0.3, r"labels \(B,\), got \(4, 2\) and \(3,\)"),
        (torch.full((4, 2), torch.nan), torch.zeros(4), 0.3, "embedding.*8 values that are not finite"),
        (torch.zeros(4, 2), torch.zeros(4), -1, "margin must be 0 or more, got -1"),
    ],
)
def test_triplet_names_bad_input(points: Tensor, labels: Tensor, margin: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        triplet_loss(points, labels, margin)
