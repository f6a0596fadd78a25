"""Every kind of knowledge as a pure function of tensors, and the one objective that weighs them.

`functional` holds the losses with their formulas; `relation_kernel` computes the relation losses fast and for all
peers at once. `objective` makes a method of them, a row of weights; `terms` decides who learns from whom; `methods`
lists the methods that are compared.
"""

from typing import TYPE_CHECKING

from ctsl_lib.environment import load_lazily

if TYPE_CHECKING:
    from ctsl_lib.losses.functional import angle_loss, distance_loss, response_loss, triplet_loss
    from ctsl_lib.losses.relation_kernel import relation_losses

__all__ = ["angle_loss", "distance_loss", "relation_losses", "response_loss", "triplet_loss"]
__getattr__ = load_lazily(
    __name__,
    {
        "functional": ("angle_loss", "distance_loss", "response_loss", "triplet_loss"),
        "relation_kernel": ("relation_losses",),
    },
)
