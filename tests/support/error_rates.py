"""Equal error rate, as the field counts it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def equal_error_rate(
    targets: npt.NDArray[np.float64], nontargets: npt.NDArray[np.float64]
) -> float:
    """Give the rate in [0, 1] at which false accepts and false rejects are equally frequent.

    Scores higher mean more alike. Interpolated linearly between the two thresholds around the
    crossing of the two step functions.
    """
    _, rejects, accepts = _steps(targets, nontargets)
    gap = accepts - rejects
    right = int(np.argmax(gap <= 0))
    left = max(right - 1, 0)
    span = gap[left] - gap[right]
    share = gap[left] / span if span > 0 else 0.0
    return float(rejects[left] + share * (rejects[right] - rejects[left]))


def threshold_at_equal_error(
    targets: npt.NDArray[np.float64], nontargets: npt.NDArray[np.float64]
) -> float:
    """Give the lowest threshold with no more false accepts than false rejects."""
    thresholds, rejects, accepts = _steps(targets, nontargets)
    return float(thresholds[int(np.argmax(accepts <= rejects))])


def _steps(
    targets: npt.NDArray[np.float64], nontargets: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give thresholds, and the shares of false rejects and false accepts at each."""
    thresholds = np.unique(np.concatenate([targets, nontargets]))
    thresholds = np.append(thresholds, thresholds[-1] + 1.0)
    rejects = np.searchsorted(np.sort(targets), thresholds) / len(targets)
    accepts = 1.0 - np.searchsorted(np.sort(nontargets), thresholds) / len(nontargets)
    return thresholds, rejects, accepts
