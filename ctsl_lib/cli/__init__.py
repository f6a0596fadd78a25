"""The command `ctsl`.

`main` holds its commands; `notebooks` runs notebooks strictly, `reproduce` is the main job.
"""
