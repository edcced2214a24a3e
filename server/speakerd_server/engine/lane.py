"""One lane of a GPU engine: batches laid out in fixed memory and computed by a program in steps.

A lane is a `Backend`. Two of them over one GPU are two batches in flight: while one computes, the
other's audio is copied and its embeddings are handed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from speakerd_server.engine.long_windows import averaged, buffer_samples, laid_out, runs
from speakerd_server.engine.place import Mirrored, Place
from speakerd_server.values import Float32, Int64


@dataclass(frozen=True, slots=True)
class LaneSizes:
    """What a lane is made for."""

    dim: int
    """Length of an embedding."""
    window_frames: int
    """T of the windows that most batches are of."""
    batch_windows: int
    """Most of them in one step."""
    longest_frames: int
    """Largest T of one step, at least window_frames; a longer window is computed in runs."""

    @property
    def other_windows(self) -> int:
        """Most windows of any other length in one step: their memory is that of a full batch."""
        samples = self.batch_windows * buffer_samples(self.window_frames)
        return max(1, min(self.batch_windows, samples // buffer_samples(self.longest_frames)))

    def most(self, frames: int) -> int:
        """Give how many windows of T = `frames` one step takes, at least 1."""
        return self.batch_windows if frames == self.window_frames else self.other_windows


@dataclass(frozen=True, slots=True)
class LaneMemory:
    """Where the batches of a lane lie, as one-dimensional arrays that are used from their start."""

    pcm: Mirrored
    """float32, B windows of N samples."""
    rows: Mirrored
    """int64, B windows of T rows."""
    embeddings: Mirrored
    """float32, B embeddings."""


class Program(Protocol):
    """Computes what lies in a lane's memory."""

    def padded(self, windows: int, frames: int) -> int:
        """Give with how many windows, not fewer, a step of so many is computed."""
        ...

    def run(self, windows: int, frames: int) -> None:
        """Begin to embed float32[windows, N] and int64[windows, T], N = buffer_samples(T).

        Args:
            windows: As `padded` gave it; the embeddings of those that were added are not read.
            frames: T.

        Raises:
            DeviceOutOfMemory: The device has no memory for it.
            DeviceLost: Nor for anything else.
        """
        ...

    def close(self) -> None:
        """Let go of what it computes with."""
        ...


class Lane:
    """A backend over a program and the memory that it is bound to.

    Args:
        place: Where the memory is; closed with the lane.
        memory: Made by `lane_memory` for the same sizes.
        program: Bound to it.
        sizes: What both are made for.
    """

    def __init__(
        self, place: Place, memory: LaneMemory, program: Program, sizes: LaneSizes
    ) -> None:
        self._place, self._memory, self._program, self._sizes = place, memory, program, sizes
        self._given: Float32 | None = None

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give the lane's own memory, or plain memory for what takes several steps."""
        needed = buffer_samples(frames)
        self._given = None
        if (
            frames <= self._sizes.longest_frames
            and windows <= self._sizes.most(frames)
            and samples <= needed
        ):
            pcm, rows = self._views(windows, frames)
            self._given = pcm
            return pcm, rows
        length = max(samples, needed)
        return np.zeros((windows, length), np.float32), np.zeros((windows, frames), np.int64)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch; see `Backend.embed`.

        A window of more than the longest frames is embedded in runs; see `long_windows`.

        Raises:
            DeviceOutOfMemory: The device has no memory for a step of the batch.
            DeviceLost: Nor for anything else.
        """
        windows, frames = rows.shape
        if pcm is self._given:
            return self._step(windows, frames)
        if frames > self._sizes.longest_frames:
            return np.stack([self._long(*window) for window in zip(pcm, rows, strict=True)])
        most = self._sizes.most(frames)
        return np.concatenate(
            [
                self._copied(pcm[start : start + most], rows[start : start + most])
                for start in range(0, windows, most)
            ]
        )

    def close(self) -> None:
        """Let go of the program and the memory."""
        self._given = None
        self._program.close()
        self._place.close()

    def _long(self, pcm: Float32, rows: Int64) -> Float32:
        parts = runs(rows.size, self._sizes.longest_frames)
        embeddings = []
        for part in parts:
            piece, renumbered = laid_out(pcm, rows[part])
            embeddings.append(self._copied(piece[None], renumbered[None])[0])
        return averaged(np.stack(embeddings), parts)

    def _copied(self, pcm: Float32, rows: Int64) -> Float32:
        windows, frames = rows.shape
        own_pcm, own_rows = self._views(windows, frames)
        used = min(pcm.shape[1], own_pcm.shape[1])
        own_pcm[:, :used], own_pcm[:, used:] = pcm[:, :used], 0.0
        own_rows[:] = rows
        return self._step(windows, frames)

    def _step(self, windows: int, frames: int) -> Float32:
        memory, dim = self._memory, self._sizes.dim
        padded = self._program.padded(windows, frames)
        # What earlier batches left may be rows that this length of audio does not have.
        memory.rows.host[windows * frames : padded * frames] = 0
        memory.pcm.up(windows * buffer_samples(frames))
        memory.rows.up(padded * frames)
        self._program.run(padded, frames)
        memory.embeddings.down(windows * dim)
        self._place.wait()
        embeddings: Float32 = memory.embeddings.host[: windows * dim].reshape(windows, dim).copy()
        return embeddings

    def _views(self, windows: int, frames: int) -> tuple[Float32, Int64]:
        samples = buffer_samples(frames)
        pcm: Float32 = self._memory.pcm.host[: windows * samples].reshape(windows, samples)
        rows: Int64 = self._memory.rows.host[: windows * frames].reshape(windows, frames)
        return pcm, rows


def lane_memory(place: Place, sizes: LaneSizes) -> LaneMemory:
    """Make the memory of a lane. Raises DeviceOutOfMemory."""
    steps = (
        (sizes.batch_windows, sizes.window_frames),
        (sizes.other_windows, sizes.longest_frames),
    )
    samples = max(windows * buffer_samples(frames) for windows, frames in steps)
    rows = max(windows * frames for windows, frames in steps)
    return LaneMemory(
        place.mirrored(samples, np.float32),
        place.mirrored(rows, np.int64),
        place.mirrored(sizes.batch_windows * sizes.dim, np.float32),
    )


def buckets(most: int) -> tuple[int, ...]:
    """Give the batch sizes that are prepared: 1, 2, 4, ... and `most`."""
    sizes = []
    size = 1
    while size < most:
        sizes.append(size)
        size *= 2
    return (*sizes, most)


def bucket_of(windows: int, sizes: tuple[int, ...]) -> int:
    """Give the smallest prepared batch size that holds so many windows."""
    return next(size for size in sizes if size >= windows)
