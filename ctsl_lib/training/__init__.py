"""One loop for every method and for both stages.

`recipe` says how to train, `batches` feeds the loop, `checkpoint` keeps the state of a run that is
stopped, `resume` checks it and goes on from there.
"""
