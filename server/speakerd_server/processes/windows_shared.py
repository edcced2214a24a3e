"""How a window lies in shared memory, and what is said of it over the socket beside.

A slot has a page with one flag and what is known of its batch, the rows, and the PCM, over which
its embedding is written. The front end writes a slot and sends a record; the engine sets the flag
when its batch is about to be computed, and answers with a record when nothing of the slot is read
any more.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.processes.arena import PAGE_BYTES, rounded
from speakerd_server.values import Float32, Int64, Window

SUBMIT, CANCEL = 1, 2
"""What a front end sends."""
EMBEDDED, REFUSED, RELEASED = 3, 4, 5
"""What an engine answers: the embedding is in the slot; an error follows; nobody waited."""

HELLO = b"speakerd engine 1"
"""Sent by both ends first, each with a file descriptor: memory for windows, the status page."""
RECORD = struct.Struct("<BBHIQQII")
"""kind, live, 0, model, job, offset, samples (or bytes that follow), frames."""

_LEAST_SAMPLES = 400
MOST_VALUES = 4096
"""Of an embedding."""
_LEAST_PCM_BYTES = 4 * MOST_VALUES
"""Room for an embedding where the PCM of a short window has less."""


@dataclass(frozen=True, slots=True)
class Record:
    """One message about one window."""

    kind: int
    """SUBMIT, CANCEL, EMBEDDED, REFUSED or RELEASED."""
    job: int
    """Number that the front end gave it."""
    model: int = 0
    """Number that the supervisor gave the model."""
    live: bool = False
    """Whether somebody is on the line."""
    offset: int = 0
    """Of the slot, in bytes."""
    samples: int = 0
    """Of the PCM; of an answer: values of the embedding, or bytes of the error that follows."""
    frames: int = 0
    """Of the rows."""

    def packed(self) -> bytes:
        """Give the bytes that are sent."""
        numbers = (self.model, self.job, self.offset, self.samples, self.frames)
        return RECORD.pack(self.kind, self.live, 0, *numbers)


def read_record(content: bytes | bytearray | memoryview, at: int) -> Record:
    """Read the record at an offset."""
    kind, live, _, model, job, offset, samples, frames = RECORD.unpack_from(content, at)
    return Record(kind, job, model, bool(live), offset, samples, frames)


def slot_bytes(samples: int, frames: int) -> int:
    """Give the size of the slot of a window."""
    return PAGE_BYTES + rounded(8 * frames) + max(4 * samples, _LEAST_PCM_BYTES)


class Slot:
    """One window's place in shared memory.

    Args:
        memory: uint8[n], the whole of it.
        offset: Of the slot, in bytes.
        samples: Of the window's PCM.
        frames: Of its rows.

    Raises:
        ValueError: It is beyond the memory, or has no frame.
    """

    def __init__(self, memory: NDArray[np.uint8], offset: int, samples: int, frames: int) -> None:
        if samples < _LEAST_SAMPLES or frames < 1:
            raise ValueError(f"{samples} samples and {frames} frames are no window")
        if not 0 <= offset <= memory.size - slot_bytes(samples, frames):
            raise ValueError(f"a slot at {offset} is outside of the shared memory")
        rows_at = offset + PAGE_BYTES
        pcm_at = rows_at + rounded(8 * frames)
        self._flag = memory[offset : offset + 1]
        self._batch = memory[offset + 8 : offset + 24].view(np.float64)
        self._rows: Int64 = memory[rows_at : rows_at + 8 * frames].view(np.int64)
        self._pcm: Float32 = memory[pcm_at : pcm_at + 4 * samples].view(np.float32)
        self._room: Float32 = memory[pcm_at : pcm_at + _LEAST_PCM_BYTES].view(np.float32)

    @property
    def taken(self) -> bool:
        """Whether a batch with it was, or is being, computed."""
        return bool(self._flag[0])

    @property
    def taken_in(self) -> tuple[float, int]:
        """When its batch was begun, by time.monotonic(), and the windows in that."""
        return float(self._batch[0]), int(self._batch[1])

    def take(self, at_s: float, windows: int) -> None:
        """Say that its batch, of so many windows, is about to be computed."""
        self._batch[:] = at_s, windows
        self._flag[0] = 1

    def write(self, window: Window) -> None:
        """Lay a window out."""
        self._flag[0] = 0
        self._rows[:] = window.rows
        self._pcm[:] = window.pcm

    def window(self) -> Window:
        """Give the window that lies there, over the shared memory itself."""
        return Window(0, self._pcm, self._rows, 0)

    def write_embedding(self, embedding: Float32) -> None:
        """Lay an embedding, of at most 4096 values, over the PCM."""
        self._room[: embedding.size] = embedding

    def embedding(self, dim: int) -> Float32:
        """Copy the embedding out."""
        return self._room[:dim].copy()
