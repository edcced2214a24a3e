"""Frames of the speech gate, and what its network says of them in pieces of any length."""

from __future__ import annotations

import numpy as np
from speakerd_server.gate.frames import first_state
from speakerd_server.gate.network import GateNetwork
from speakerd_server.values import Float32


def frames_of(samples: Float32) -> Float32:
    """Cut whole frames, float32[n, 576], out of a signal at 16 kHz from its start."""
    padded = np.concatenate([np.zeros(64, np.float32), samples])
    view = np.lib.stride_tricks.sliding_window_view(padded, 576)[::512]
    return np.ascontiguousarray(view)


def judged(network: GateNetwork, frames: Float32, at: list[int]) -> Float32:
    """Judge frames of one signal, divided at these places."""
    state, found = first_state(), []
    for start, end in zip([0, *at], [*at, len(frames)], strict=True):
        if end > start:
            probabilities, state = network.judge(network.encode(frames[start:end]), state)
            found.append(probabilities)
    return np.concatenate(found)
