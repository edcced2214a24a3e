"""Calls joined from the shared utterances, by the embeddings of their windows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.score.handover import HandoverWatch
from speakerd_server.values import Float32, Handover
from speakerd_server.windows.slicer import Slicer

MIN_FRAMES = 3
Speakers = Mapping[str, list[Float32]]
"""Embeddings float32[n, dim] of the full windows of each utterance, by speaker."""


def windows_of(backend: OnnxRuntimeCpu, samples: Float32) -> Float32:
    """Embed the full windows of 2 s of a signal."""
    windows = Slicer(32_000, MIN_FRAMES).push(samples)
    embedded = [backend.embed(one.pcm[None], one.rows[None])[0] for one in windows]
    return np.stack(embedded) if embedded else np.empty((0, 192), np.float32)


def one_voice(speakers: Speakers, random: np.random.Generator) -> Float32:
    """Join utterances of one speaker to a call of 20 to 60 s."""
    speaker = random.choice(sorted(speakers))
    return _joined(speakers[speaker], random)[: random.integers(10, 31)]


def two_voices(speakers: Speakers, random: np.random.Generator) -> tuple[Float32, int]:
    """Join two speakers; give where the second one begins, after 3 to 15 windows."""
    first, second = random.choice(sorted(speakers), 2, replace=False)
    before = _joined(speakers[first], random)[: random.integers(3, 16)]
    after = _joined(speakers[second], random)[:12]
    return np.concatenate([before, after]), len(before)


def noticed(call: Float32, below: float) -> Handover | None:
    """Watch a call window by window."""
    watch = HandoverWatch(call.shape[1], below)
    for index, embedding in enumerate(call):
        watch.add(embedding, index, 31_680 * (index + 1))
    return watch.found


def _joined(utterances: list[Float32], random: np.random.Generator) -> Float32:
    return np.concatenate([utterances[at] for at in random.permutation(len(utterances))])
