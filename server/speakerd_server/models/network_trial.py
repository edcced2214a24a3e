"""Tries a network from features before it is trusted: what it gives, and whether it keeps promises.

ONNX Runtime runs it on made-up sounds; the checks are those that every bundle must pass.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from speakerd_server.cards import FrontEndDescription
from speakerd_server.errors import GraphRefused
from speakerd_server.models.front_end import SAMPLE_RATE_HZ, SHIFT_SAMPLES, front_end
from speakerd_server.values import Float32, Int64

FRAMES = 198
"""Of the default window, 32000 samples."""

_MORE_FRAMES = 301
_SETTLED = 3
_NEIGHBOURS_DIFFER = 1e-5
_SILENT_LOGS = 4
_NEVER_ZERO = 1e-30


class Network:
    """A network from features, or from PCM and rows, in ONNX Runtime on one core.

    Args:
        path: What errors name.
        content: The serialised model.

    Raises:
        GraphRefused: ONNX Runtime cannot load it.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT_LOGS
        try:
            self._session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:
            problem = f"ONNX Runtime cannot load it ({_first_line(error)})"
            raise GraphRefused(path, problem) from error

    def embed(self, *inputs: Float32 | Int64) -> Float32:
        """Run it on its inputs in their order.

        Returns:
            float32[B, D], perhaps not finite.

        Raises:
            GraphRefused: It cannot run, or gives something else.
        """
        given, batch = self.run(*inputs)[0], inputs[0].shape[0]
        if given.ndim != 2 or given.shape[0] != batch or given.shape[1] < 2:
            name = self._session.get_outputs()[0].name
            shown = f"{list(given.shape)} for a batch of {batch}"
            raise GraphRefused(self._path, f"embeddings [B, D] are wanted, {name} is {shown}")
        return given

    def run(self, *inputs: Float32 | Int64) -> tuple[Float32, ...]:
        """Give all outputs for the inputs in their order; raises GraphRefused where it fails."""
        names = [port.name for port in self._session.get_inputs()]
        options = ort.RunOptions()
        options.log_severity_level = _SILENT_LOGS
        try:
            given = self._session.run(None, dict(zip(names, inputs, strict=True)), options)
        # As above.
        except Exception as error:
            problem = f"it fails on an input of {[*inputs[0].shape]} ({_first_line(error)})"
            raise GraphRefused(self._path, problem) from error
        return tuple(np.asarray(output, np.float32) for output in given)


def sound(frames: int, seed: int) -> Float32:
    """Make float32[n], n samples at 16 kHz for so many frames: a buzz in noise, like no silence."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(SHIFT_SAMPLES * (frames - 1) + 400) / SAMPLE_RATE_HZ
    pitch_hz = 90 + 40 * seed + 15 * np.sin(2 * np.pi * 1.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
    loudness = 0.1 + 0.2 * np.square(np.sin(2 * np.pi * (2 + seed) * time_s))
    noise = 0.3 * generator.standard_normal(time_s.size)
    return np.asarray(loudness * (buzz + noise) / 2, np.float32)


def features(description: FrontEndDescription, pcm: Float32) -> Float32:
    """Give float32[T, M]: what the network is to be given for float32[n] in [-1, 1] at 16 kHz."""
    log_mel = front_end(description).log_mel(pcm)
    if description.mean_removed:
        log_mel = log_mel - log_mel.mean(axis=0, dtype=np.float32)
    return log_mel


def try_out(path: Path, network: Network, description: FrontEndDescription) -> tuple[int, int]:
    """Check what every bundle promises and give the dimension and the fewest frames.

    Raises:
        GraphRefused: Frames or batch are not free, an embedding is not finite, is the same for
            every sound, or depends on what is beside it in the batch.
    """
    both = np.stack([features(description, sound(FRAMES, seed)) for seed in (0, 1)])
    alone = np.concatenate([network.embed(both[:1]), network.embed(both[1:])])
    more = network.embed(features(description, sound(_MORE_FRAMES, 0))[None])
    if not (np.isfinite(alone).all() and np.isfinite(more).all()):
        raise GraphRefused(path, f"its embedding of {FRAMES} frames is not finite (NaN)")
    if more.shape[1] != alone.shape[1]:
        sizes = f"{alone.shape[1]} and {more.shape[1]}"
        raise GraphRefused(path, f"its embeddings of other lengths have other sizes, {sizes}")
    if relative(alone[1], alone[0]) == 0:
        raise GraphRefused(path, "it gives the same embedding for different sounds")
    difference = max(map(relative, network.embed(both), alone))
    if not difference <= _NEIGHBOURS_DIFFER:
        raise GraphRefused(
            path,
            "an embedding depends on what else is in the batch (by"
            f" {difference:.1g} of its length, at most {_NEIGHBOURS_DIFFER:g} is allowed);"
            " dynamic quantisation does that, and an export in training mode",
        )
    return alone.shape[1], _fewest_frames(path, network, description)


def relative(found: Float32, wanted: Float32) -> float:
    """Give the length of the difference over that of `wanted`, both float32[D]."""
    exact = wanted.astype(np.float64)
    return float(np.linalg.norm(found - exact)) / max(float(np.linalg.norm(exact)), _NEVER_ZERO)


def cosine(one: Float32, other: Float32) -> float:
    """Give the cosine of two embeddings float32[D]; 0 where one is all zeros."""
    exact = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(exact[0]) * np.linalg.norm(exact[1]))
    return float(exact[0] @ exact[1]) / max(lengths, _NEVER_ZERO)


def _fewest_frames(path: Path, network: Network, description: FrontEndDescription) -> int:
    """Find the fewest frames from which on the embedding is finite."""
    settled = 0
    for frames in range(1, FRAMES + 1):
        settled = settled + 1 if _is_finite(network, description, frames) else 0
        if settled == _SETTLED:
            return frames - _SETTLED + 1
    raise GraphRefused(path, f"it cannot take fewer than {FRAMES} frames")


def _is_finite(network: Network, description: FrontEndDescription, frames: int) -> bool:
    try:
        embedding = network.embed(features(description, sound(frames, 0))[None])
    except GraphRefused:
        return False
    return bool(np.isfinite(embedding).all())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
