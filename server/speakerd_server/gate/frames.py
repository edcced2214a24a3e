"""The frames of a speech gate, and what its network remembers between them."""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_server.values import Float32

FRAME_SAMPLES = 512
"""New samples of a frame, at 16 kHz: 32 ms."""
CONTEXT_SAMPLES = 64
"""Samples before those of a frame that the network sees again; zeros before the signal."""


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """What the network remembers of one signal."""

    memory: Float32
    """float32[2, 128]: hidden and cell state, zeros at the start."""
