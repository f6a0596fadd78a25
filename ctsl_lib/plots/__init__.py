"""Pictures in one look.

`results` draws evidence with its intervals, `explain` what images, answers and embeddings look like.
"""

from ctsl_lib.evidence.labels import label
from ctsl_lib.plots.explain import (
    embedding_maps,
    images,
    method_diagram,
    persons,
    ranked_galleries,
    relation_matrices,
    reliability,
    soft_targets,
)
from ctsl_lib.plots.results import comparison, effects, forest, learning_curves, main_effects, scaling_curves
from ctsl_lib.plots.style import COLOURS, LINES, MARKERS, look, save, show, style

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "comparison",
    "effects",
    "embedding_maps",
    "forest",
    "images",
    "label",
    "learning_curves",
    "look",
    "main_effects",
    "method_diagram",
    "persons",
    "ranked_galleries",
    "relation_matrices",
    "reliability",
    "save",
    "scaling_curves",
    "show",
    "soft_targets",
    "style",
]
