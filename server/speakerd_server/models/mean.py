"""Reads a mean vector, WeSpeaker's `mean_vec.npy`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import VectorsUnusable

Floats = NDArray[np.float32] | NDArray[np.float64]


def read_mean(path: Path) -> Floats:
    """Read floats [dim], or [1, dim], from a npy file, in the file's precision.

    Raises:
        VectorsUnusable: It is missing, damaged, of another kind or shape, or not finite.
    """
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise VectorsUnusable(path, error.strerror or str(error)) from error
    except (ValueError, MemoryError, EOFError, SyntaxError) as error:
        # numpy's own words would advise to load it as a pickle.
        raise VectorsUnusable(path, "it is no npy file of floats, or is damaged") from error
    if array.dtype.kind != "f":
        raise VectorsUnusable(path, "a mean must be one array of floats in a npy file")
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1 or not array.size:
        raise VectorsUnusable(path, f"a mean must have the shape [dim], it has {array.shape}")
    if not np.isfinite(array).all():
        raise VectorsUnusable(path, "it has a value that is NaN or infinite")
    mean: Floats = array
    return mean
