"""The gate's network over ONNX Runtime: what a frame is like, and what that means after others.

Both parts have one fixed shape, filled up with zeros, so that what they say of a frame is the same
to the last bit whatever else is in the batch and in whatever row it is.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime as ort

from speakerd_server.errors import ModelDamaged, ModelUnusable
from speakerd_server.gate.frames import CONTEXT_SAMPLES, FRAME_SAMPLES, MEMORY_VALUES, GateState
from speakerd_server.values import Float32

BATCH_FRAMES = 16
"""Frames that are encoded together, of any signals: about half a second of one."""
SHIPPED = Path(__file__).parent / "shipped"
ENCODER, MEMORY, CARD, LICENCE = "encoder.onnx", "memory.onnx", "card.toml", "LICENSE"
_CPU = ["CPUExecutionProvider"]


class GateNetwork:
    """Two sessions, for one thread at a time.

    Raises:
        ModelUnusable: A file is missing or cannot be loaded.
        ModelDamaged: A file is not the one that the card names.
    """

    def __init__(self, folder: Path = SHIPPED) -> None:
        self._encoder = _session(folder, ENCODER)
        self._memory = _session(folder, MEMORY)
        self._frames = np.zeros((BATCH_FRAMES, CONTEXT_SAMPLES + FRAME_SAMPLES), np.float32)
        self._features = np.zeros((BATCH_FRAMES, 1, MEMORY_VALUES), np.float32)

    def encode(self, frames: Float32) -> Float32:
        """Give float32[n, 128] features of float32[n, 576], n at most BATCH_FRAMES."""
        self._frames[: len(frames)] = frames
        self._frames[len(frames) :] = 0.0
        (features,) = self._encoder.run(["features"], {"frames": self._frames})
        found: Float32 = features[: len(frames)]
        return found

    def judge(self, features: Float32, state: GateState) -> tuple[Float32, GateState]:
        """Give float32[n] probabilities of speech of the next frames of one signal, and its state.

        Args:
            features: float32[n, 128], n from 1 to BATCH_FRAMES.
            state: After the frames before.
        """
        count = len(features)
        self._features[:count, 0] = features
        outputs = self._memory.run(
            ["probabilities", "hidden_after", "cell_after"],
            {
                "features": self._features,
                "count": np.array([count], np.int32),
                "hidden": state.memory[:1, None],
                "cell": state.memory[1:, None],
            },
        )
        probabilities: Float32 = outputs[0][:count]
        return probabilities, GateState(np.concatenate([outputs[1][0], outputs[2][0]]))


def _session(folder: Path, name: str) -> ort.InferenceSession:
    path = folder / name
    try:
        content = path.read_bytes()
        wanted = tomllib.loads((folder / CARD).read_text())["sha256"][name]
    except (OSError, KeyError, ValueError) as error:
        raise ModelUnusable(folder, f"{name} or {CARD} cannot be read ({error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != wanted:
        raise ModelDamaged(path, digest, wanted)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, providers=_CPU)
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        raise ModelUnusable(folder, f"ONNX Runtime cannot load {name} ({error})") from error
