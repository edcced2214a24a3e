"""Samples of one signal -> windows, exactly those of the seed runtime.

Window k holds the frames kT .. kT+T-1 of the whole continuous signal. The frames left over at
the end, even one, become a last window that is filled up with frames from the start of window 0;
a signal shorter than one window repeats its own frames until T are there.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from speakerd_server.errors import AudioTooLong, AudioTooShort, NoAudio
from speakerd_server.values import Float32, Int64, Window
from speakerd_server.windows.arithmetic import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    SHIFT_SAMPLES,
    WHOLE_SIGNAL,
    frame_count,
    frames_per_window,
    samples_of_frames,
)

_OVERLAP_SAMPLES = FRAME_SAMPLES - SHIFT_SAMPLES
"""A window's last samples that the next one's first frames need again."""


class Slicer:
    """Cuts one signal; keeps the window that is being filled and window 0, for the tail.

    `samples_per_chunk` was checked by check_samples_per_chunk; `min_frames` is the card's and
    bounds the one window of -1; a signal of more than `maximum_samples` raises AudioTooLong.
    All counts are samples at 16 kHz.
    """

    def __init__(
        self, samples_per_chunk: int, min_frames: int, maximum_samples: int | None = None
    ) -> None:
        self._whole = samples_per_chunk == WHOLE_SIGNAL
        self._frames = 0 if self._whole else frames_per_window(samples_per_chunk)
        self._needed_frames = min_frames if self._whole else 1
        self._maximum_samples = maximum_samples
        full_samples = 0 if self._whole else samples_of_frames(self._frames)
        self._buffer = np.empty(full_samples, np.float32)
        self._filled = 0
        self._samples = 0
        self._windows = 0
        self._head = np.empty(0, np.float32)

    @property
    def samples(self) -> int:
        """Length of the signal so far."""
        return self._samples

    @property
    def next_samples(self) -> int:
        """Length that the signal must have for `push` to have more to do than to keep it."""
        if self._whole:
            return self._samples + SAMPLE_RATE_HZ
        return SHIFT_SAMPLES * self._frames * self._windows + samples_of_frames(self._frames)

    def push(self, samples: Float32) -> list[Window]:
        """Take the next float32[n]; gives the windows that are full now. Raises AudioTooLong.

        The end_samples of full window k is 160 T (k + 1): the frames counted, each by its shift.
        """
        self._samples += len(samples)
        if self._maximum_samples is not None and self._samples > self._maximum_samples:
            raise self._too_long(self._maximum_samples)
        if self._whole:
            self._make_room(self._filled + len(samples))
        windows, at = [], 0
        while at < len(samples):
            end = min(len(samples), at + len(self._buffer) - self._filled)
            filled = self._filled + end - at
            self._buffer[self._filled : filled] = samples[at:end]
            at, self._filled = end, filled
            if filled == len(self._buffer) and not self._whole:
                windows.append(self._full_window())
        return windows

    def end(self) -> list[Window]:
        """Give the last window, if frames are left over; nothing may follow.

        Its end_samples is the length of the signal. Raises NoAudio, and AudioTooShort for less
        than one frame (with -1: less than min_frames).
        """
        if not self._samples:
            raise NoAudio
        left = frame_count(self._filled)
        if not self._windows and left < self._needed_frames:
            needed_samples = samples_of_frames(self._needed_frames)
            raise AudioTooShort(self._samples, needed_samples, SAMPLE_RATE_HZ)
        if not left:
            return []
        return [self._tail(left) if self._windows else self._short(left)]

    def _make_room(self, samples: int) -> None:
        """Let the buffer hold so many, at least twice as many as before where it must grow."""
        if samples > len(self._buffer):
            grown = np.empty(max(samples, 2 * len(self._buffer)), np.float32)
            grown[: self._filled] = self._buffer[: self._filled]
            self._buffer = grown

    def _full_window(self) -> Window:
        pcm = self._buffer
        self._buffer = np.empty_like(pcm)
        self._buffer[:_OVERLAP_SAMPLES] = pcm[-_OVERLAP_SAMPLES:]
        self._filled = _OVERLAP_SAMPLES
        if not self._windows:
            self._head = pcm
        done_frames = self._frames * (self._windows + 1)
        return self._window(pcm, rows_in_order(self._frames), SHIFT_SAMPLES * done_frames)

    def _short(self, left: int) -> Window:
        pcm = self._buffer[: samples_of_frames(left)]
        rows = rows_in_order(left) if left >= self._frames else np.arange(self._frames) % left
        return self._window(pcm, rows, self._samples)

    def _tail(self, left: int) -> Window:
        """Lay tail and head on one grid of 160 samples and skip the frames that straddle them."""
        head_row = left + -(-_OVERLAP_SAMPLES // SHIFT_SAMPLES)
        head = self._head[: samples_of_frames(self._frames - left)]
        pcm = np.zeros(SHIFT_SAMPLES * head_row + len(head), np.float32)
        tail_samples = samples_of_frames(left)
        pcm[:tail_samples] = self._buffer[:tail_samples]
        pcm[SHIFT_SAMPLES * head_row :] = head
        rows = np.arange(self._frames)
        rows[left:] += head_row - left
        return self._window(pcm, rows, self._samples)

    def _window(self, pcm: Float32, rows: Int64, end_samples: int) -> Window:
        pcm.flags.writeable = rows.flags.writeable = False
        self._windows += 1
        return Window(self._windows - 1, pcm, rows, end_samples)

    def _too_long(self, maximum_samples: int) -> AudioTooLong:
        advice = "split it into several calls"
        if self._whole:
            advice = "set samples_per_chunk to a window length, or " + advice
        return AudioTooLong(maximum_samples / SAMPLE_RATE_HZ, advice)


@lru_cache(64)
def rows_in_order(frames: int) -> Int64:
    """Give int64[frames]: 0, 1, 2, ...; not to be written to."""
    rows = np.arange(frames)
    rows.flags.writeable = False
    return rows
