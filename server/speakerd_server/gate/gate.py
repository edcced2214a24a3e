"""What a speech gate is, for those who ask it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from speakerd_server.gate.frames import GateState
from speakerd_server.values import Float32


class Gate(Protocol):
    """Judges frames. What it says of a frame depends on its signal alone, to the last bit."""

    def submit(
        self, frames: Float32, state: GateState
    ) -> asyncio.Future[tuple[Float32, GateState]]:
        """Judge the next frames, float32[n, 576], n >= 1, of one signal, whose state is given.

        Gives float32[n], probabilities of speech in [0, 1], and the state after them. Raises
        GateBusy at once where too many wait, and GateStopped.
        """
