"""The checks of notebook 07: each stops one mistake that is easy to make. The notebook shows them in full."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from ctsl_lib.data.specs import Digits
from ctsl_lib.losses.methods import METHODS
from ctsl_lib.losses.reference import relative_distances
from ctsl_lib.losses.relation_kernel import COINCIDENT
from ctsl_lib.models.peer import Peer
from ctsl_lib.models.registry import build_peer


def sum_over_classes(kl: Callable[..., Tensor]) -> None:
    """One image and four classes, worked out with a pencil."""
    p, q = torch.tensor([[1.0, 1, 1, 1]]) / 4, torch.tensor([[4.0, 2, 1, 1]]) / 8
    found, by_hand = kl(p.log(), q.log()).item(), math.log(2) / 4
    assert math.isclose(found, by_hand, rel_tol=1e-5), f"{found:.4f} nats instead of {by_hand:.4f}"


def teacher_stays_untouched(losses: Callable[..., Any]) -> None:
    """The loss of peer 1 reaches no tensor of peer 2."""
    pair = [build_peer("tiny_cnn", 1, 10, seed) for seed in (0, 1)]
    pictures = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss_of_one, _ = losses([peer(pictures) for peer in pair])
    found = torch.autograd.grad(loss_of_one, list(pair[1].parameters()), allow_unused=True)
    reached = sum(gradient is not None for gradient in found)
    assert reached == 0, f"the loss of peer 1 moves {reached} of the {len(found)} tensors of peer 2"


def still_learns_statistics(evaluate: Callable[..., Tensor]) -> None:
    """After an evaluation, batch normalisation goes on learning its averages."""
    data: Any = Digits(n_train=100, label_noise=0).load(0)
    peer = build_peer("tiny_cnn", 1, 10, 0).train()
    evaluate(peer, data.test.images, data)
    norm = next(layer for layer in peer.modules() if isinstance(layer, nn.BatchNorm2d))
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    peer(data.normalise(data.train.images))
    moved = (norm.running_mean - before).abs().max().item()
    assert moved > 0, f"training = {peer.training}, and the running mean moves by {moved:g}"


def relative_error(distances: Callable[[Tensor], Tensor], offset: float) -> float:
    """Mean relative error of float32 distances between 32 points, all shifted by the offset."""
    f = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) + offset
    exact = torch.pdist(f.double())
    i, j = torch.triu_indices(32, 32, offset=1)
    return float(((distances(f)[i, j] - exact).abs() / exact).mean())


def survives_a_shift(distances: Callable[[Tensor], Tensor]) -> None:
    """A shift of the whole batch changes no distance."""
    error = relative_error(distances, offset=1000)
    assert error < 1e-4, "the distances are wrong by more than 1 %" if error > 0.01 else "inexact"


def gradient_is_finite(root: Callable[[Tensor], Tensor]) -> None:
    """The distances of two equal images have a gradient that is no NaN."""
    f = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]], requires_grad=True)  # two equal images
    root((f[:, None] - f[None]).square().sum(dim=2)).sum().backward()
    assert f.grad is not None
    bad = int((~f.grad.isfinite()).sum())
    assert bad == 0, f"{bad} of {f.grad.numel()} gradients are not finite"


def gradient_at(loss: Callable[[Tensor, Tensor], Tensor], gap: float) -> float:
    """Length of the gradient for four images, the first two a gap apart (in mean distances of the batch)."""
    source = torch.Generator().manual_seed(0)
    f, target = torch.randn(2, 4, 8, generator=source, dtype=torch.float64)
    f[1] = f[0]
    f[1, 0] += gap * torch.pdist(f).mean()  # a tiny gap does not change the mean
    return float(torch.autograd.grad(loss(f.requires_grad_(), target), f)[0].norm())


def gradient_is_bounded(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Two images that come ever closer do not make the gradient grow without end."""
    worst = max(gradient_at(loss, gap=10.0**-k) for k in range(1, 10))
    assert worst < 1 / COINCIDENT, f"two images that come close make a gradient above 1e{int(math.log10(worst))}"


def worst_error(psi: Callable[[Tensor], Tensor], kind: torch.dtype) -> float:
    """Worst relative error of psi_D over five scales of embeddings in this precision."""
    f = torch.randn(32, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact, others = relative_distances(f), ~torch.eye(32, dtype=torch.bool)
    found = [psi((scale * f).to(kind)).double() for scale in (1e-4, 1e-2, 1, 10, 100)]
    return max(float(((side - exact).abs() / exact)[others].max()) for side in found)


def within_a_percent(psi: Callable[[Tensor], Tensor], kind: torch.dtype) -> None:
    """Relative distances do not depend on the scale of the embedding."""
    error = worst_error(psi, kind)
    assert error < 0.01, "psi_D is off by more than 1 %" if error < 1 else "psi_D is NaN or off the scale"


def is_heard(weight: float, ratio: float) -> None:
    """The weighted term pulls with between a tenth and three times the pull of cross entropy."""
    r = weight * ratio
    assert 0.1 <= r <= 3, f"r = {r:.1g} of the gradient of cross entropy"


def expected_max(n: int) -> float:
    """Mean of the largest of n standard normal numbers."""
    x = np.linspace(-8, 8, 4001)
    return float(n * np.trapezoid(x * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), x))


def is_unbiased(report: Callable[[np.ndarray], np.ndarray]) -> None:
    """20,000 trainings that learn nothing after the first epoch: 85 % plus noise of one point."""
    curves = np.random.default_rng(0).normal(85, 1, size=(20_000, 20))
    found = np.asarray(report(curves))
    assert found.shape == (20_000,), f"one number for each of 20,000 rows, not the shape {found.shape}"
    bias = found.mean() - 85
    assert abs(bias) < 0.05, f"{bias:.1f} points too high ({expected_max(20):.1f} for the best of 20, by formula)"


def finds_nothing_in_noise(rule: Callable[[np.ndarray], np.ndarray], n: int) -> None:
    """20,000 comparisons of a method with itself, n seeds each."""
    noise = np.random.default_rng(0).normal(0, 1.5, size=(20_000, n))
    found = np.asarray(rule(noise))
    assert found.shape == (20_000,), f"one answer for each of 20,000 rows, not the shape {found.shape}"
    share = 100 * found.mean()
    assert share <= 3, f"a gain in {share:.0f} % of comparisons of a method with itself"


def differ_after_training(make: Callable[[], list[Peer]]) -> None:
    """Five steps of DML leave the two peers something to teach."""
    two = make()
    source = torch.Generator().manual_seed(0)
    pictures, answers = torch.randn(32, 1, 8, 8, generator=source), torch.arange(32) % 10
    optimizer = torch.optim.SGD([p for peer in two for p in peer.parameters()], lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        losses = METHODS["dml"]([peer(pictures) for peer in two], answers)
        torch.stack([value for terms in losses for value in terms.values()]).sum().backward()
        optimizer.step()
    mutual = losses[0]["response"].item()
    assert mutual > 1e-6, f"the response term is still {abs(mutual):.1f} after 5 steps"
