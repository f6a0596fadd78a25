"""The runnable paper: collaborative teacher-student learning via multiple knowledge transfer (CTSL-MKT)."""

from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent
"""The kit's folder: notebooks, records and figures are found from here, wherever a kernel was started."""
