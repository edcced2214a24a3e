"""One signal at the gate: samples in, frames to judge out; probabilities in, speech out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.gate.energy import loud_enough
from speakerd_server.gate.frames import CONTEXT_SAMPLES, FRAME_SAMPLES
from speakerd_server.gate.segments import Segments
from speakerd_server.gate.settings import SegmentRule
from speakerd_server.values import Float32

_SEEN = CONTEXT_SAMPLES + FRAME_SAMPLES


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """What became known of a stretch of the signal."""

    samples: Float32
    """float32[n], the speech in it; it may be empty, and may lie before `judged_samples`."""
    end_samples: int
    """Where in the signal the speech ends; 0 where there is none."""
    judged_samples: int
    """How far the signal was judged when this became known: a multiple of a frame, or its end."""


class SpeechMap:
    """Where in the signal its speech lies; remembers what was not asked for yet."""

    def __init__(self) -> None:
        self._stretches: list[tuple[int, int]] = []

    def add(self, speech_samples: int, end_samples: int) -> None:
        """Say that the speech, now of so many samples, ends so far into the signal."""
        self._stretches.append((speech_samples, end_samples))

    def signal_samples(self, speech_samples: int) -> int:
        """Give how far into the signal the first so many samples of speech reach.

        Never asks for less than before.
        """
        while self._stretches and self._stretches[0][0] < speech_samples:
            self._stretches.pop(0)
        if not self._stretches:
            return 0
        speech, end = self._stretches[0]
        return end - (speech - speech_samples)


class GatedSignal:
    """Cuts frames of 512 samples, counted from the start of the signal at 16 kHz.

    `push` or `end`, then `absorb`, in turns. Frames that are too quiet are never given out to be
    judged: their probability is 0, and the network's memory passes over them. Keeps the samples of
    frames that may still be speech, not more: 4 s with the longest settings.

    Args:
        rule: When frames are speech.
        stretch_frames: `absorb` ends a stretch at each multiple of so many frames.
    """

    def __init__(self, rule: SegmentRule, stretch_frames: int) -> None:
        self._segments = Segments(rule)
        self._stretch_frames = stretch_frames
        self._kept = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._kept_from = -CONTEXT_SAMPLES
        self._samples = self._cut_frames = self._judged_frames = 0
        self._loud: NDArray[np.bool_] = np.empty(0, np.bool_)

    @property
    def samples(self) -> int:
        """Length of the signal so far."""
        return self._samples

    @property
    def judged_samples(self) -> int:
        """How much of it was cut into frames."""
        return min(self._samples, self._cut_frames * FRAME_SAMPLES)

    @property
    def undecided_samples(self) -> int:
        """How much of what was judged may still turn out to be speech."""
        return self.judged_samples - self._segments.undecided_from * FRAME_SAMPLES

    def push(self, samples: Float32) -> Float32:
        """Take the next float32[n]; give the new frames to be judged, float32[m, 576]."""
        self._samples += len(samples)
        self._kept = np.concatenate([self._kept, samples])
        return self._frames(self._samples // FRAME_SAMPLES)

    def end(self, samples: Float32) -> Float32:
        """Take the last float32[n], whose last frame zeros complete; gives as `push` does."""
        self._samples += len(samples)
        frames = -(-self._samples // FRAME_SAMPLES)
        missing = frames * FRAME_SAMPLES - self._samples
        self._kept = np.concatenate([self._kept, samples, np.zeros(missing, np.float32)])
        return self._frames(frames)

    def _frames(self, until: int) -> Float32:
        start = self._cut_frames * FRAME_SAMPLES - CONTEXT_SAMPLES - self._kept_from
        stretch = self._kept[start:]
        count, self._cut_frames = until - self._cut_frames, until
        if not count:
            self._loud = np.empty(0, np.bool_)
            return np.empty((0, _SEEN), np.float32)
        seen = np.lib.stride_tricks.sliding_window_view(stretch, _SEEN)[::FRAME_SAMPLES][:count]
        self._loud = loud_enough(seen[:, CONTEXT_SAMPLES:])
        return np.ascontiguousarray(seen[self._loud])

    def absorb(self, probabilities: Float32) -> list[Speech]:
        """Take float32[m] of the frames last given out; give what is known by them, in order."""
        judged = np.zeros(len(self._loud), np.float32)
        judged[self._loud] = probabilities
        found: list[Speech] = []
        start = end = 0
        for probability in judged.tolist():
            released = self._segments.push(probability)
            if released and end and released.start != end:
                found.append(self._speech(start, end))
                end = 0
            self._judged_frames += 1
            if released:
                start, end = start if end else released.start, released.stop
            if self._judged_frames % self._stretch_frames == 0:
                found.append(self._speech(start, end))
                start = end = 0
        if end:
            found.append(self._speech(start, end))
        self._loud = np.empty(0, np.bool_)
        self._forget()
        return found

    def _speech(self, start_frame: int, end_frame: int) -> Speech:
        start = start_frame * FRAME_SAMPLES
        end = min(end_frame * FRAME_SAMPLES, self._samples)
        samples = self._kept[start - self._kept_from : end - self._kept_from]
        judged = min(self._judged_frames * FRAME_SAMPLES, self._samples)
        return Speech(samples if end_frame else samples[:0], end if end_frame else 0, judged)

    def _forget(self) -> None:
        needed = self._segments.undecided_from * FRAME_SAMPLES - CONTEXT_SAMPLES
        if needed > self._kept_from:
            self._kept = self._kept[needed - self._kept_from :].copy()
            self._kept_from = needed
