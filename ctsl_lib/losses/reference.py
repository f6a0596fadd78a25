"""The relation losses as their formulas are written, under the names of the fast ones in `losses`.

Whatever works with a module of losses works with this one: tests and notebook 08 measure the fast losses by it.
"""

from ctsl_lib.losses.functional import angle_formula as angle_loss
from ctsl_lib.losses.functional import cosines, relative_distances
from ctsl_lib.losses.functional import distance_formula as distance_loss

__all__ = ["angle_loss", "cosines", "distance_loss", "relative_distances"]
