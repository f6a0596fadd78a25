"""One loop for every method and for both stages.

`recipe` says how to train, `batches` feeds the loop, `checkpoint` lets a run that was stopped go on.
"""
