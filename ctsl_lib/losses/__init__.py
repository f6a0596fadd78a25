"""Every kind of knowledge as a pure function of tensors, and the one objective that weighs them.

`functional` holds the losses with their formulas, `relation_kernel` computes the relation losses of all peers
at once, `objective` makes a method of them: a row of weights.
"""

from ctsl_lib.losses.functional import angle_loss, distance_loss, response_loss, triplet_loss

__all__ = ["angle_loss", "distance_loss", "response_loss", "triplet_loss"]
