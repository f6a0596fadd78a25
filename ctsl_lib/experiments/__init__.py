"""From a spec to a record, for one run or for many.

A frozen spec names a run; running it leaves a record in a store; grids and plans are many specs.
"""
