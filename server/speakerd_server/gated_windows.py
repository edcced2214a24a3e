"""The windows of one signal's speech: the gate and the window arithmetic as one, pure.

The speech segments of the signal, joined, are what is cut into windows, by the same arithmetic as a
signal without a gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speakerd_server.cards import Card
from speakerd_server.errors import AudioTooLong, AudioTooShort, NoAudio
from speakerd_server.gate.frames import FRAME_SAMPLES
from speakerd_server.gate.settings import SegmentRule
from speakerd_server.gate.signal import GatedSignal, Speech, SpeechMap
from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import (
    SAMPLE_RATE_HZ,
    WHOLE_SIGNAL,
    frame_count,
    hop_samples,
    samples_of_frames,
)
from speakerd_server.windows.slicer import Slicer

_LEAST_SAMPLES = 8 * FRAME_SAMPLES
"""Less audio is not worth asking the gate for: 256 ms."""
_WHOLE_STRETCH_SAMPLES = SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A window of speech, or a stretch of the signal in which none was completed."""

    window: Window | None
    """None: no window, but it is time to say so."""
    is_full: bool
    """False for a window that was filled up at the end."""
    signal_samples: int
    """How far into the signal, at 16 kHz, this and what came before account for."""


class GatedWindows:
    """Cuts the speech of one signal; `push` or `end`, then `absorb`, in turns.

    Args:
        rule: Which frames are speech.
        samples_per_chunk: Checked by check_samples_per_chunk; -1: one window over all speech.
        card: Of the model.
        maximum_speech_samples: The speech is cut exactly here; None: never.
        maximum_signal_samples: Of the signal, speech or not; a longer one raises AudioTooLong.
        maximum_whole_samples: Of the speech where it becomes one window; more raises AudioTooLong.
    """

    def __init__(
        self,
        rule: SegmentRule,
        samples_per_chunk: int,
        card: Card,
        *,
        maximum_speech_samples: int | None,
        maximum_signal_samples: int | None,
        maximum_whole_samples: int,
    ) -> None:
        self._whole = samples_per_chunk == WHOLE_SIGNAL
        hop = _WHOLE_STRETCH_SAMPLES if self._whole else hop_samples(samples_per_chunk)
        self._signal = GatedSignal(rule, -(-hop // FRAME_SAMPLES))
        self._stretch_samples = -(-hop // FRAME_SAMPLES) * FRAME_SAMPLES
        limit = maximum_whole_samples if self._whole else None
        self._slicer = Slicer(samples_per_chunk, card.min_frames, limit)
        self._least_frames = card.min_frames if self._whole else 1
        self._maximum_speech, self._maximum_signal = maximum_speech_samples, maximum_signal_samples
        self._map = SpeechMap()
        self._completed = False
        self._ended = False
        self.cut_at: int | None = None
        """How far into the signal the maximum of speech was reached; None: it was not."""

    @property
    def speech_samples(self) -> int:
        """Net speech so far."""
        return self._slicer.samples

    @property
    def heard_samples(self) -> int:
        """How much of the signal was judged, up to the cut."""
        return self._signal.judged_samples if self.cut_at is None else self.cut_at

    @property
    def decided_samples(self) -> int:
        """How much of the signal is known to be speech or none; no cut will lie within."""
        if self.cut_at is not None:
            return self.cut_at
        return self._signal.judged_samples - self._signal.undecided_samples

    @property
    def next_samples(self) -> int:
        """Length that the signal must have for a window, the cut or the limit to be possible."""
        wanted = self._slicer.next_samples
        if self._maximum_speech is not None:
            wanted = min(wanted, self._maximum_speech)
        missing = wanted - self._slicer.samples - self._signal.undecided_samples
        until = self._signal.judged_samples + max(missing, _LEAST_SAMPLES)
        if self._maximum_signal is not None:
            until = min(until, self._maximum_signal + 1)
        return until

    def push(self, samples: Float32) -> Float32:
        """Take the next float32[n] at 16 kHz; give float32[m, 576] to judge. Raises AudioTooLong.

        After the cut everything is ignored.
        """
        if self.cut_at is not None:
            return self._signal.push(samples[:0])
        frames = self._signal.push(samples)
        self._check_length()
        return frames

    def end(self, samples: Float32) -> Float32:
        """Take the last float32[n]; gives as `push` does.

        Raises NoAudio, AudioTooLong, and AudioTooShort for less than a frame of 25 ms (with -1:
        than the network can take), speech or not.
        """
        self._ended = True
        if self.cut_at is not None:
            return self._signal.push(samples[:0])
        frames = self._signal.end(samples)
        self._check_length()
        heard = self._signal.samples
        if not heard:
            raise NoAudio
        if frame_count(heard) < self._least_frames:
            raise AudioTooShort(heard, samples_of_frames(self._least_frames), SAMPLE_RATE_HZ)
        return frames

    def absorb(self, probabilities: Float32) -> list[Cut]:
        """Take float32[m] for the frames given out; give what was cut by them, in order.

        Raises AudioTooLong.
        """
        found: list[Cut] = []
        for speech in self._signal.absorb(probabilities):
            if self.cut_at is None:
                found += self._cut(speech)
        return found + self._tail() if self._ended else found

    def _cut(self, speech: Speech) -> list[Cut]:
        windows = self._sliced(speech) if len(speech.samples) else []
        found = [Cut(one, True, self._map.signal_samples(one.end_samples)) for one in windows]
        self._completed = self._completed or bool(found)
        if speech.judged_samples % self._stretch_samples == 0:
            if not (self._completed or self._whole or self.cut_at is not None):
                found.append(Cut(None, True, speech.judged_samples))
            self._completed = False
        return found

    def _sliced(self, speech: Speech) -> list[Window]:
        samples, end = speech.samples, speech.end_samples
        if self._maximum_speech is not None:
            room = self._maximum_speech - self._slicer.samples
            if len(samples) >= room:
                end -= len(samples) - room
                samples, self.cut_at = samples[:room], end
        windows = self._slicer.push(samples)
        self._map.add(self._slicer.samples, end)
        return windows

    def _tail(self) -> list[Cut]:
        try:
            windows = self._slicer.end()
        except (NoAudio, AudioTooShort):
            return []  # of the speech: the signal itself was long enough
        return [Cut(one, False, self._map.signal_samples(one.end_samples)) for one in windows]

    def _check_length(self) -> None:
        limit = self._maximum_signal
        if limit is not None and self._signal.samples > limit:
            raise AudioTooLong(limit / SAMPLE_RATE_HZ, "split it into several calls")


NO_PROBABILITIES = np.empty(0, np.float32)
