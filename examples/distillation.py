"""Other people's distillation as a plug-in: DKD, RKD from a teacher, attention transfer.

Name this file in `CTSL_PLUGINS`, or copy from it; docs/methods.md shows its use. Each loss is a pure function of
tensors; what is decorated makes it known to the kit under a name.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctsl_lib import register, term
from ctsl_lib.losses.functional import angle_loss, distance_loss
from ctsl_lib.losses.terms import Step
from ctsl_lib.models.peer import Peer, PeerOutput
from ctsl_lib.models.tiny import pocket_cnn, wide_cnn


def decoupled_loss(
    logits: Tensor, target_logits: Tensor, labels: Tensor, alpha: float = 1.0, beta: float = 8.0, t: float = 4.0
) -> Tensor:
    """Decoupled knowledge distillation (DKD): t^2 (alpha TCKD + beta NCKD).

    TCKD is KL(b' || b) of the two probabilities b = (p_y, 1 - p_y) of the label against all other classes, NCKD is
    KL(q' || q) of the answers q among the other classes alone. All are softened by t; the dash marks the teacher. With
    beta = 1 - p'_y for each image, and alpha = 1, the sum would be Hinton's KL(p' || p).

    Args:
        logits: (B, C) of the student.
        target_logits: (B, C) of the teacher; detach them where they must not learn.
        labels: (B,) class indices.
        alpha, beta: the weights of both parts; the authors tune beta for each pair of networks, from 0.5 to 8.
        t: the temperature, above 0.

    Returns: a scalar in nats, a mean over the batch.
    Source: Zhao et al. 2022, arXiv 2203.08679. The authors raise the weight over the first 20
        epochs, which is left out here.

    >>> z = torch.tensor([[2.0, 0.0, 1.0]])
    >>> round(decoupled_loss(z, z, torch.tensor([0])).item(), 6)
    0.0
    """
    label = F.one_hot(labels, logits.shape[1]).bool()
    log_p, log_q = (logits / t).log_softmax(dim=1), (target_logits / t).log_softmax(dim=1)
    others_p, others_q = (x.masked_fill(label, -torch.inf).logsumexp(dim=1) for x in (log_p, log_q))
    own_p, own_q = (x.gather(1, labels[:, None])[:, 0] for x in (log_p, log_q))
    two_p, two_q = torch.stack([own_p, others_p], dim=1), torch.stack([own_q, others_q], dim=1)
    tckd = F.kl_div(two_p, two_q, reduction="batchmean", log_target=True)
    q = (log_q - others_q[:, None]).exp().masked_fill(label, 0)
    nckd = (q * (log_q - others_q[:, None] - log_p + others_p[:, None])).sum(dim=1).mean()
    return t**2 * (alpha * tckd + beta * nckd)


def attention_loss(maps: Sequence[Tensor], target_maps: Sequence[Tensor]) -> Tensor:
    """Attention transfer (AT): mean squared difference of normalised attention, summed over layers.

    The attention of a (channels, H, W) map is its mean square over channels, as a vector of length 1 over all places.

    Args:
        maps: of the student, each (B, channels, H, W).
        target_maps: of the teacher, with the same H and W; the number of channels may differ.

    Returns: a scalar without a unit.
    Source: Zagoruyko and Komodakis 2017, arXiv 1612.03928, with p = 2, in the form of their code: a mean
        over images and places.
    Raises: ValueError if layers are missing or sizes differ.

    >>> m = torch.rand(2, 3, 4, 4)
    >>> attention_loss([m], [7 * m]).item() < 1e-12
    True
    """
    if not maps or len(maps) != len(target_maps):
        raise ValueError(
            f"maps must be as many as the teacher's and at least 1, got {len(maps)}, {len(target_maps)}"
        )
    for own, target in zip(maps, target_maps, strict=True):
        if own.shape[2:] != target.shape[2:]:
            got = tuple(own.shape[2:]), tuple(target.shape[2:])
            raise ValueError(f"maps must have the teacher's height and width, got {got[0]} and {got[1]}")
    pairs = zip(maps, target_maps, strict=True)
    return torch.stack([(_attention(own) - _attention(target)).square().mean() for own, target in pairs]).sum()


def _attention(maps: Tensor) -> Tensor:
    return F.normalize(maps.square().mean(dim=1).flatten(1), dim=1)


@term("dkd", needs="frozen")
def dkd(step: Step, k: int) -> Tensor:
    """DKD from the teacher, or from the frozen copy."""
    return decoupled_loss(step.outputs[k].logits, step.frozen[k].logits, step.labels)


@term("rkd_teacher", needs="frozen")
def rkd_teacher(step: Step, k: int) -> Tensor:
    """RKD as it was published, from a teacher: distances and twice the angles (Park et al. 2019, arXiv 1904.05068)."""
    own, target = step.outputs[k].embedding, step.frozen[k].embedding
    return distance_loss(own, target) + 2 * angle_loss(own, target)


@term("attention", needs="frozen")
def attention(step: Step, k: int) -> Tensor:
    """Attention transfer from the teacher; both networks must hand over maps."""
    return attention_loss(step.outputs[k].maps, step.frozen[k].maps)


class WithMaps(Peer):
    """A peer that hands over what some of its layers give, beside logits and embedding."""

    def __init__(self, peer: Peer, layers: Sequence[str]) -> None:
        """Watch layers of a peer; its weights keep their names.

        Args:
            peer: any peer.
            layers: names of submodules of its backbone, such as "0" or "layer1.1". Of a layer before an in-place ReLU
                the map is what the ReLU has made of it.
        """
        nn.Module.__init__(self)
        self.backbone, self.classifier = peer.backbone, peer.classifier
        self.kept: list[Tensor] = []
        for name in layers:
            self.backbone.get_submodule(name).register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        self.kept.append(output.float())

    def forward(self, images: Tensor) -> PeerOutput:
        """Logits, embedding and maps of (B, channels, H, W) normalised images."""
        output = super().forward(images)
        maps, self.kept = tuple(self.kept), []
        return output._replace(maps=maps)


@register("pocket_with_maps")
def pocket_with_maps(channels: int, num_classes: int) -> Peer:
    """A small student whose first two convolutions are watched."""
    return WithMaps(pocket_cnn(channels, num_classes), ("0", "1"))


@register("wide_with_maps")
def wide_with_maps(channels: int, num_classes: int) -> Peer:
    """Its teacher."""
    return WithMaps(wide_cnn(channels, num_classes), ("0", "1"))
