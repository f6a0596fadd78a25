"""The fast relation losses against direct differences in float64, in cases where others fail."""

import gc
from itertools import permutations

import pytest
import torch
from torch import Tensor

from ctsl_lib import losses
from ctsl_lib.losses import reference
from ctsl_lib.losses.relation_kernel import COINCIDENT, relation_losses

BATCH, WIDTH = 48, 40


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near_duplicates(distance: float) -> Tensor:
    points = normal(BATCH, WIDTH)
    for first, second in ((0, 1), (7, 30)):
        step = normal(WIDTH, seed=first + 1)
        points[second] = points[first] + distance * step / step.norm()
    return points


CASES = {
    "random": normal(BATCH, WIDTH),
    "shifted by 1000": normal(BATCH, WIDTH) + 1000,
    "collapsed": 1 + 1e-4 * normal(BATCH, WIDTH),
    "near-duplicates at 1e-2": near_duplicates(1e-2),
    "near-duplicates at 1e-3": near_duplicates(1e-3),
    "duplicates": near_duplicates(0.0),
    "one far away": torch.cat([normal(BATCH - 1, WIDTH), torch.full((1, WIDTH), 1e4)]),
}


def gradient(loss, embedding: Tensor, other: Tensor) -> tuple[float, Tensor]:
    leaf = embedding.clone().requires_grad_()
    value = loss(leaf, other)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad.double()


@pytest.mark.parametrize("name", ["distance_loss", "angle_loss"])
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("side", ["own", "target"])
def test_values_and_gradients_against_float64(name: str, case: str, side: str) -> None:
    pair = (CASES[case], normal(BATCH, 17, seed=5))
    own, other = pair if side == "own" else pair[::-1]
    value, found = gradient(getattr(losses, name), own, other)
    expected, exact = gradient(getattr(reference, name), own.double(), other.double())
    assert value == pytest.approx(expected, rel=1e-6)
    # Sums of float32 slopes are multiplied by the far embedding there.
    tolerance = 1e-4 if case == "one far away" else 1e-5
    assert (found - exact).norm() <= tolerance * exact.norm()


@pytest.mark.parametrize("peers", [2, 3, 4])
def test_all_peers_at_once_are_the_pairs(peers: int) -> None:
    sides = [normal(9, 5 + k, seed=k).double().requires_grad_() for k in range(peers)]
    found = relation_losses(sides)
    weights = torch.arange(1.0, peers + 1, dtype=torch.float64)
    (weights @ found.distance + 3 * weights @ found.angle).backward()
    for k, side in enumerate(sides):
        own = side.detach().clone().requires_grad_()
        others = [other.detach() for j, other in enumerate(sides) if j != k]
        distance = sum(reference.distance_loss(own, other) for other in others) / len(others)
        angle = sum(reference.angle_loss(own, other) for other in others) / len(others)
        (weights[k] * (distance + 3 * angle)).backward()
        torch.testing.assert_close(found.distance[k], distance)
        torch.testing.assert_close(found.angle[k], angle)
        torch.testing.assert_close(side.grad, own.grad)


def test_gradcheck_of_all_peers() -> None:
    def own_terms_only(*sides: Tensor) -> Tensor:
        found = relation_losses(sides)
        return found.distance[0] + found.angle[0]

    first, second = normal(5, 4).double().requires_grad_(), normal(5, 3, seed=1).double()
    assert torch.autograd.gradcheck(own_terms_only, (first, second))


def test_entry_k_reaches_peer_k_alone() -> None:
    sides = [normal(6, 4, seed=k).requires_grad_() for k in range(3)]
    found = relation_losses(sides)
    (found.distance[1] + found.angle[1]).backward()
    for k, side in enumerate(sides):
        assert side.grad is not None and (side.grad.norm() > 0) == (k == 1)


def test_a_term_not_asked_for_is_zero_and_costs_nothing() -> None:
    sides = [normal(2, 4, seed=k).requires_grad_() for k in range(2)]  # two images have no angle
    found = relation_losses(sides, angle=False)
    assert found.angle.tolist() == [0, 0] and found.distance.shape == (2,)
    with pytest.raises(ValueError, match="3 or more images"):
        relation_losses(sides)
    with pytest.raises(ValueError, match="2 or more peers, got 1"):
        relation_losses(sides[:1])


def test_two_peers_are_symmetric_and_identical_from_run_to_run() -> None:
    results = []
    for _ in range(2):
        sides = [normal(150, 32, seed=k).requires_grad_() for k in range(2)]  # more than one chunk
        found = relation_losses(sides)
        (found.distance.sum() + found.angle.sum()).backward()
        assert found.distance[0] == found.distance[1] and found.angle[0] == found.angle[1]
        results.append([found.distance, found.angle, *(side.grad for side in sides)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_nothing_large_is_kept() -> None:
    batch, width = 96, 200
    sides = [normal(batch, width, seed=k).requires_grad_() for k in range(2)]
    found = relation_losses(sides)
    gc.collect()
    kept = found.angle.grad_fn.saved_tensors
    assert max(tensor.numel() for tensor in kept) <= batch * max(batch, width)
    assert len(kept) == 2 + 4  # points of each peer; a (B, B) matrix for each peer and term


def test_order_and_pairs_do_not_matter() -> None:
    sides = [normal(8, 4, seed=k) for k in range(3)]
    found = relation_losses(sides)
    for order in permutations(range(3)):
        again = relation_losses([sides[k] for k in order])
        torch.testing.assert_close(again.angle, found.angle[list(order)])


@pytest.mark.parametrize("batch", [16, 128, 400])
def test_duplicates_far_from_all_others_are_one_point(batch: int) -> None:
    # Their share of the mean distance shrinks with the batch, while rounding grows with how far away they are.
    points = torch.cat([normal(batch - 2, WIDTH), 1e4 * normal(1, WIDTH, seed=8).expand(2, -1)])
    other = normal(batch, 9, seed=3)
    value, found = gradient(losses.angle_loss, points, other)
    assert found[-2:].abs().max() < 1  # a direction between the twins would be 1 / rounding
    if batch <= 128:
        expected, _ = gradient(reference.angle_loss, points.double(), other.double())
        assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_both_forms_agree_on_what_counts_as_one_point(factor: float) -> None:
    points = near_duplicates(0.0).double()
    mean = torch.pdist(points).mean()
    points[1] = points[0] + factor * COINCIDENT * mean * torch.eye(1, WIDTH, dtype=torch.float64)[0]
    other = normal(BATCH, 9, seed=3).double()
    value, found = gradient(losses.angle_loss, points, other)
    expected, exact = gradient(reference.angle_loss, points, other)
    assert value == pytest.approx(expected, rel=1e-9)
    # At this distance float64 leaves three digits of the direction between the two.
    assert (found - exact).norm() <= (1e-2 if factor > 1 else 1e-9) * exact.norm()


@pytest.mark.slow
def test_under_autocast_and_torch_compile() -> None:
    def total(a: Tensor, b: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = relation_losses([a, b])
        return found.distance.sum() + found.angle.sum()

    expected, exact = gradient(total, normal(20, 8), normal(20, 8, seed=1))
    value, found = gradient(torch.compile(total, backend="aot_eager"), normal(20, 8), normal(20, 8, seed=1))
    assert value == pytest.approx(expected, rel=1e-6)
    assert (found - exact).norm() <= 1e-6 * exact.norm()


def test_it_can_be_differentiated_once() -> None:
    sides = [normal(6, 4, seed=k).requires_grad_() for k in range(2)]
    [grad] = torch.autograd.grad(relation_losses(sides).angle[0].square(), sides[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


SCALES = [(torch.float32, e) for e in (-30, -20, -19, -10, 0, 10, 18, 19, 30)]
SCALES += [(torch.float64, e) for e in (-300, -200, 200, 300)]


@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
@pytest.mark.parametrize("module", [losses, reference])
@pytest.mark.parametrize("name", ["distance_loss", "angle_loss"])
@pytest.mark.parametrize("case", ["random", "duplicates", "near-duplicates at 1e-2"])
def test_every_finite_scale_gives_the_same(
    module, name: str, dtype: torch.dtype, exponent: int, case: str
) -> None:
    scaled = (CASES[case].double() * 10.0**exponent).to(dtype)
    other = normal(BATCH, 17, seed=5).to(dtype)
    value, found = gradient(getattr(module, name), scaled, other)
    expected, exact = gradient(getattr(reference, name), scaled.double() / 10.0**exponent, other.double())
    assert value == pytest.approx(expected, rel=1e-5)
    rough = module is reference and dtype == torch.float32 and case != "random"  # differences of float32 images
    assert (found * 10.0**exponent - exact).norm() <= (1e-3 if rough else 1e-5) * exact.norm()


@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_the_other_side_may_have_any_scale(dtype: torch.dtype, exponent: int) -> None:
    own, other = normal(BATCH, WIDTH), normal(BATCH, 17, seed=5).to(dtype)
    expected, exact = gradient(lambda a, b: losses.distance_loss(a, b) + losses.angle_loss(a, b), own, other)
    value, found = gradient(
        lambda a, b: losses.distance_loss(a, b) + losses.angle_loss(a, b), own, other * 10.0**exponent
    )
    assert value == pytest.approx(expected, rel=1e-5)
    assert (found - exact).norm() <= 1e-5 * exact.norm()
