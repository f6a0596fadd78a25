"""Data sets as tensors in memory: the built-in digits, real images, persons to search for.

`catalogue` knows them by name. Add one: see CONTRIBUTING.md.
"""
