"""Pictures of evidence, with intervals, in one look. Pictures that explain are in `ctsl_course.pictures`."""

from ctsl_lib.evidence.labels import label
from ctsl_lib.plots.results import comparison, effects, forest, learning_curves, main_effects
from ctsl_lib.plots.style import COLOURS, LINES, MARKERS, look, save, show, style

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "comparison",
    "effects",
    "forest",
    "label",
    "learning_curves",
    "look",
    "main_effects",
    "save",
    "show",
    "style",
]
