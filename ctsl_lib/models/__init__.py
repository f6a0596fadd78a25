"""Peers and the networks that they are made of.

A peer is a backbone and a linear classifier; `registry` builds one by name.
"""
