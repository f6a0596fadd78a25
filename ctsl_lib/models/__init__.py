"""Peers and the networks that they are made of.

A peer is a backbone and a linear classifier; `registry` builds one by name.
"""

from ctsl_lib.models import paper, reid, tiny  # noqa: F401  (which fills the registry)
