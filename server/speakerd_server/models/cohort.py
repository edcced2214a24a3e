"""The file of a bundle's cohort: embeddings of people to normalise scores by.

An npz of `wide` and `narrow`, each float16[n, dim] of length 1 but for rounding: so small that it
goes with the bundle, and a cosine to one of them is off by 0.0005 at most.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import Card, Cohort, CohortDescription
from speakerd_server.errors import ModelDamaged, ModelUnusable
from speakerd_server.values import Float32

COHORT_NAME = "cohort.npz"
_BANDS = ("wide", "narrow")


def cohort_bytes(wide: NDArray[np.floating], narrow: NDArray[np.floating]) -> bytes:
    """Give the file of two float[n, dim], neither with an embedding of length 0."""
    file = io.BytesIO()
    sides = {name: _of_length_one(one) for name, one in zip(_BANDS, (wide, narrow), strict=True)}
    np.savez(file, **{name: one.astype(np.float16) for name, one in sides.items()})  # type: ignore[arg-type]
    return file.getvalue()


def described(content: bytes, speakers: int, top_n: int, origin: str) -> CohortDescription:
    """Describe the file `content` for the card."""
    digest = hashlib.sha256(content).hexdigest()
    return CohortDescription(COHORT_NAME, digest, speakers, top_n, origin)


def read_cohort(folder: Path, card: Card) -> Cohort | None:
    """Read what a bundle's scores are normalised by; None: its card names nothing.

    Raises:
        ModelUnusable: The file is missing, or is not as it must be.
        ModelDamaged: It is not the one that the card describes.
    """
    stated = card.cohort
    if stated is None:
        return None
    path = folder / stated.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelUnusable(folder, f"{path.name} cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != stated.sha256:
        raise ModelDamaged(path, digest, stated.sha256)
    wide, narrow = _arrays(folder, path.name, content, (stated.speakers, card.dim))
    return Cohort(wide, narrow, stated.top_n)


def _arrays(folder: Path, name: str, content: bytes, shape: tuple[int, int]) -> list[Float32]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise ModelUnusable(folder, f"{name} is no npz of numbers") from error
    sides = []
    for band in _BANDS:
        one = found.get(band)
        if one is None or one.dtype != np.float16 or one.shape != shape:
            problem = f"{name} needs {band}, float16[{shape[0]}, {shape[1]}]"
            raise ModelUnusable(folder, problem)
        exact = one.astype(np.float32)
        if not np.isfinite(exact).all() or not exact.any(axis=1).all():
            raise ModelUnusable(folder, f"{name}: an embedding in {band} has no direction")
        sides.append(_of_length_one(exact).astype(np.float32))
    return sides


def _of_length_one(values: NDArray[np.floating]) -> NDArray[np.float64]:
    exact = values.astype(np.float64)
    unit: NDArray[np.float64] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit
