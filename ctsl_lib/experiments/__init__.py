"""From a spec to a record, for one run or for many.

A spec names a run; running it leaves a record in a store. Grids and plans are many specs.
"""
