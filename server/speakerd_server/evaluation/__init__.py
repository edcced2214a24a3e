"""Trials in; error rates, calibration, thresholds and reports out.

In: trial lists (enroll id, test id, target or nontarget) and embeddings float32[n, dim].
Out: scores float64[n] that say their scale, error rates in [0, 1], costs, Cllr in bits,
calibrations to natural-log likelihood ratios, and pictures of them.
Never: computes an embedding itself (offline does), or changes a bundle unasked.
"""
