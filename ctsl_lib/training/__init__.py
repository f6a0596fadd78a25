"""One loop for every method and for both stages.

`recipe` says how to train, `batches` what the loop is fed with, `checkpoint` how a killed run goes on.
"""
