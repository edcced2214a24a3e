"""The frames of a speech gate, and what its network remembers between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speakerd_server.values import Float32

RATE_HZ = 16_000
FRAME_SAMPLES = 512
"""New samples of a frame, at 16 kHz: 32 ms."""
CONTEXT_SAMPLES = 64
"""Samples before those of a frame that the network sees again; zeros before the signal."""
MEMORY_VALUES = 128
"""Of the hidden state, and of the cell's."""


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """What the network remembers of one signal."""

    memory: Float32
    """float32[2, 128]: hidden and cell state, zeros at the start."""


def first_state() -> GateState:
    """Give the state before the first frame."""
    return GateState(np.zeros((2, MEMORY_VALUES), np.float32))
