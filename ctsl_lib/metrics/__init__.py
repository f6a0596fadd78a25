"""What trained peers are judged by.

Accuracy, calibration and agreement of answers; CMC and mAP of rankings.
"""
