"""The runnable paper: collaborative teacher-student learning via multiple knowledge transfer (CTSL-MKT)."""

__version__ = "0.1.0"
