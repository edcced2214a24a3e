"""Trials of the shared utterances: their cuts, their embeddings, their cosines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from speakerd_server.cards import Card
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.values import Float32
from speakerd_server.windows.slicer import Slicer
from support.shared import shared_path
from support.speech import RATE_HZ

Float64 = npt.NDArray[np.float64]
Embeddings = Mapping[str, Float64]
LENGTHS_S = (1, 2, 4, None)
"""Of the cuts; None: whole utterances."""


def middle(samples: Float32, seconds: int | None) -> Float32 | None:
    """Cut the middle out; None where the utterance is shorter."""
    if seconds is None:
        return samples
    start = (samples.size - seconds * RATE_HZ) // 2
    return samples[start : start + seconds * RATE_HZ] if start >= 0 else None


def embed(backend: OnnxRuntimeCpu, samples: Float32, card: Card) -> Float64:
    """Give the utterance embedding float64[dim], normalised to length 1."""
    slicer = Slicer(card.samples_per_chunk, card.min_frames)
    windows = [*slicer.push(samples), *slicer.end()]
    embeddings = [backend.embed(window.pcm[None], window.rows[None])[0] for window in windows]
    mean: Float64 = np.mean(embeddings, axis=0, dtype=np.float64)
    normalised: Float64 = mean / np.linalg.norm(mean)
    return normalised


def scores(enrolled: Embeddings, tested: Embeddings) -> tuple[Float64, Float64]:
    """Give the cosines of the pairs of one speaker and of two, as listed."""
    by_label: dict[str, list[float]] = {"target": [], "nontarget": []}
    for line in shared_path("data/trials/all_pairs.txt").read_text().splitlines():
        one, other, label = line.split()
        if one in enrolled and other in tested:
            by_label[label].append(float(enrolled[one] @ tested[other]))
    return np.array(by_label["target"]), np.array(by_label["nontarget"])


def percent(rate: float) -> float:
    """Give a rate in [0, 1] in percent, to two digits."""
    return round(100 * rate, 2)
