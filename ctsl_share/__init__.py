"""What others take away: trained networks as safetensors with a model card, and the curves of runs as CSV.

>>> from ctsl_lib import ROOT
>>> from ctsl_share import load_weights
>>> pair = load_weights(ROOT / "data" / "weights" / "ctsl_mkt")
>>> [type(peer).__name__ for peer in pair.peers], pair.config.spec.peers
(['Peer', 'Peer'], ('tiny_cnn', 'tiny_cnn'))
"""

from typing import TYPE_CHECKING

from ctsl_lib.environment import load_lazily

if TYPE_CHECKING:
    from ctsl_share.reading import load_weights
    from ctsl_share.writing import export_weights

__all__ = ["export_weights", "load_weights"]
__getattr__ = load_lazily(__name__, {"reading": ("load_weights",), "writing": ("export_weights",)})
