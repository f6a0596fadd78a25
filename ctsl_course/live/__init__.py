"""Pictures that move: one output that is a live widget, a page without a kernel, and a text."""

from ctsl_course.live.answers import temperature, tug_of_war
from ctsl_course.live.output import show
from ctsl_course.live.records import noise, seeds
from ctsl_course.live.shapes import triangle

__all__ = ["noise", "seeds", "show", "temperature", "triangle", "tug_of_war"]
