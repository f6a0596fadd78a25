"""The exercises of the course: one source for the notebooks' cells, the checks and the solutions.

Each module `eNN` holds exercises of notebook NN. In a notebook, `check("02.3", my_function)` says what is wrong with an
answer, and never shows the right one.
"""

from ctsl_course.exercises.engine import check, hint, solution

__all__ = ["check", "hint", "solution"]
