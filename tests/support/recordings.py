"""Recordings with made-up numbers, and a search for their bytes in a store's folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from speakerd_server.enrolled import NewRecording
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.values import ModelIdentity

Opener = Callable[[], EnrolmentStore]
"""Opens the store of a test, as often as it is called."""

MODEL = ModelIdentity("campplus", "1", "front-end-1")
OTHER_MODEL = ModelIdentity("campplus", "2", "front-end-1")
DOMAIN = "default"
SLICE_BYTES = 16
MARK = np.float64(-1.2345678987654321)
"""Every second value of a marked recording; the value after it tells the seed."""
FIRST_TOLD = 1 << 20
"""Added to a seed that is told, so that no page number of a small file looks like one."""
STEPS = 1024


def vector(seed: int, dim: int = 192) -> NDArray[np.float64]:
    """Give float64[dim] that only this seed gives."""
    values: NDArray[np.float64] = np.random.default_rng(seed).standard_normal(dim)
    return values


def recording(
    seed: int, dim: int = 192, model: ModelIdentity = MODEL, speech_samples: int = 48_000
) -> NewRecording:
    """Give a recording whose sum only this seed gives."""
    return NewRecording(
        model=model,
        sum=vector(seed, dim),
        window_count=3,
        speech_samples=speech_samples,
        sample_rate_hz=16_000,
        window_consistency=0.8,
    )


def marked_recording(seed: int, dim: int = 192) -> NewRecording:
    """Give a recording of whose sum every aligned 16 bytes say that they are this seed's."""
    values = np.full(dim, MARK)
    values[1::2] = FIRST_TOLD + seed + np.arange(dim // 2) / STEPS
    return dataclasses.replace(recording(seed), sum=values)


def marked_seeds(folder: Path) -> set[int]:
    """Give every seed of which any aligned 16 bytes of a sum are in any file of a folder."""
    pattern = re.compile(re.escape(MARK.tobytes()) + b"(.{8})", re.DOTALL)
    contents = [file.read_bytes() for file in folder.iterdir()]
    values = np.frombuffer(b"".join(b"".join(pattern.findall(content)) for content in contents))
    # Where a sum goes over the end of a page, other bytes than a told seed stand after the mark.
    told = values[(values >= FIRST_TOLD) & (values < 2 * FIRST_TOLD)]
    return {int(seed) for seed in np.unique(np.floor(told) - FIRST_TOLD)}


def slices_found(folder: Path, seeds: list[int], dim: int = 192) -> list[str]:
    """Name each file of a folder that holds any aligned 16 bytes of these recordings' sums."""
    wanted = [
        content[start : start + SLICE_BYTES]
        for content in (vector(seed, dim).tobytes() for seed in seeds)
        for start in range(0, len(content), SLICE_BYTES)
    ]
    found = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        found += [file.name for slice_ in wanted if slice_ in content]
    return sorted(set(found))
