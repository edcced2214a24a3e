"""One signal as a pure state machine: bytes in, windows out, embeddings in, updates out.

`push` and `end` give windows in signal order; with a speech gate they give frames to be judged, and
`absorb_gate` gives the windows. `absorb_embedding` takes their embeddings back in that order. What
comes out depends on the signal alone, neither on splits nor on timing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from speakerd_server.audio.ingest import Ingest
from speakerd_server.audio.opus_ingest import OpusIngest
from speakerd_server.gated_windows import NO_PROBABILITIES, Cut, GatedWindows
from speakerd_server.quality.listening import Listening
from speakerd_server.score.handover import HandoverWatch
from speakerd_server.score.running_mean import RunningMean
from speakerd_server.session_settings import SessionSettings, gated_windows
from speakerd_server.values import (
    Band,
    Encoding,
    Float32,
    OggOpus,
    Quality,
    Step,
    Utterance,
    Window,
)
from speakerd_server.windows.arithmetic import (
    LONGEST_WINDOW_SAMPLES,
    WHOLE_SIGNAL,
    check_samples_per_chunk,
)
from speakerd_server.windows.slicer import Slicer
from speakerd_server.windows.variance import varies


@dataclass(frozen=True, slots=True)
class _Place:
    """A window, or a stretch without one, in the line of those that are to be counted."""

    index: int | None
    """Of the window; None: a stretch of signal in which none was completed."""
    speech_samples: int
    signal_samples: int
    has_voice: bool
    is_full: bool
    audio: tuple[Quality | None, Band | None]
    """How good the signal is up to here, and its band."""


_Audio = tuple[Quality | None, Band | None]
_NOT_HEARD: _Audio = (None, None)
NOTHING = Step()
"""What most chunks give."""


class Session:
    """One signal. Raises SampleRateUnsupported and SamplesPerChunkInvalid."""

    def __init__(self, settings: SessionSettings) -> None:
        card, audio_format = settings.card, settings.audio_format
        check_samples_per_chunk(settings.samples_per_chunk, card)
        self._is_whole = settings.samples_per_chunk == WHOLE_SIGNAL
        self._limit = settings.maximum_signal_samples
        self._gated = None if settings.gate is None else gated_windows(settings, settings.gate)
        cut = settings.maximum_speech_samples if self._gated is None else None
        self._ingest: Ingest | OpusIngest
        if isinstance(audio_format, OggOpus):
            self._ingest = OpusIngest(audio_format, cut)
        else:
            self._ingest = Ingest(audio_format, card.sample_rate_hz, cut)
        if self._gated is None and self._is_whole:
            self._limit = min(self._limit or LONGEST_WINDOW_SAMPLES, LONGEST_WINDOW_SAMPLES)
        self._slicer = Slicer(settings.samples_per_chunk, card.min_frames, self._limit)
        self._mean = RunningMean(card.dim)
        self._watch = HandoverWatch(card.dim, card.calibration.handover_below)
        self._listening = Listening(audio_format.encoding)
        self._audio = self._final_audio = _NOT_HEARD
        self._wire_rate_hz, self._model_rate_hz = audio_format.sample_rate_hz, card.sample_rate_hz
        self._update_interval_samples = settings.update_interval_samples
        self._every_window = settings.every_window
        self._line: list[_Place] = []
        self._counted_samples = self._counted_speech = self._updated_samples = 0
        self._without_variance = 0
        self._ended = False
        self._sample_bytes = audio_format.sample_bytes
        # Floats and files may be wrong, which the call must learn at once; other bytes never are.
        self._holds = audio_format.encoding is not Encoding.FLOAT32LE
        self._held = bytearray()
        self._enough_bytes = self._needed_bytes()

    @property
    def received_samples(self) -> int:
        """Whole wire samples taken so far, up to the cut."""
        if self._gated is not None and self._gated.cut_at is not None:
            return -(-self._gated.cut_at * self._wire_rate_hz // self._model_rate_hz)
        if not self._holds:
            return self._ingest.received_samples
        return (self._ingest.received_bytes + len(self._held)) // self._sample_bytes

    @property
    def settled(self) -> bool:
        """True once maximum_speech_samples is reached: audio that follows is ignored."""
        return self._ingest.full if self._gated is None else self._gated.cut_at is not None

    @property
    def utterance(self) -> Utterance:
        """What is known now; once `end` was called and every window absorbed, the final."""
        if self._ended and not self._line:
            speech = self._slicer.samples if self._gated is None else self._gated.speech_samples
            self._audio = self._final_audio
            return self._known(speech, self.received_samples)
        return self.by_windows

    def push(self, chunk: bytes) -> Step:
        """Take the next bytes. Raises AudioNotFinite, AudioOutOfRange and AudioTooLong.

        Bytes that cannot complete a window are kept as they are: decoding a window's at once costs
        a fifth of decoding message by message. Gives windows, or frames for `absorb_gate`.
        """
        if len(self._held) + len(chunk) < self._enough_bytes:
            self._held += chunk
            return NOTHING
        return self._take(chunk)

    def catch_up(self) -> Step:
        """Give every window that the audio so far can give, as `push` does."""
        return self._take(b"") if self._held else NOTHING

    def _take(self, chunk: bytes) -> Step:
        samples = self._ingested(chunk)
        self._listening.push(samples)
        if self._gated is not None:
            return self._to_judge(self._gated.push(samples))
        full = self._slicer.push(samples)
        self._enough_bytes = self._needed_bytes()
        return self._step(_cuts(full)) if full else NOTHING

    def end(self) -> Step:
        """End the signal; gives its last window, and full ones that were held back, as `push` does.

        Raises AudioIncompleteSample, AudioTooLong, NoAudio and AudioTooShort.
        """
        if self._gated is not None:
            return self._end_gated(self._gated)
        rest = np.concatenate([self._ingested(b""), self._ingest.end()])
        self._listening.push(rest)
        full, tail = self._slicer.push(rest), self._slicer.end()
        self._ended = True
        step = self._step([*_cuts(full), *_cuts(tail, is_full=False)])
        self._final_audio = self._listening.at(self._slicer.samples)
        return step

    def absorb_gate(self, probabilities: Float32) -> Step:
        """Take float32[n], of the frames that are out; gives the windows that are full by them.

        Raises AudioTooLong. ValueError where no gate was asked for.
        """
        if self._gated is None:
            raise ValueError("this signal has no speech gate")
        step = self._step(self._gated.absorb(probabilities))
        if self._is_whole:  # nobody asks before the end, which may be a day away
            self._listening.hear(self._gated.decided_samples)
        self._enough_bytes = self._needed_bytes()
        if self._ended:
            self._final_audio = self._listening.at(self._gated.heard_samples)
        return step

    def absorb_embedding(self, window: Window, embedding: Float32) -> tuple[Utterance, ...]:
        """Add float32[dim] of the oldest window that is out; gives the updates due by it.

        Its own comes first, then those that waited for it. ValueError for any other window, which
        is a mistake of the caller.
        """
        if not self._line or self._line[0].index != window.index:
            raise ValueError(f"window {window.index} is not the oldest one that is out")
        self._mean.add(embedding)
        self._watch.add(embedding, window.index, self._line[0].signal_samples)
        return (*self._count(self._line.pop(0)), *self._count_without_voice())

    def _end_gated(self, gated: GatedWindows) -> Step:
        rest = [] if self.settled else [self._ingested(b""), self._ingest.end()]
        samples = np.concatenate([NO_PROBABILITIES, *rest])
        self._listening.push(samples)
        frames = gated.end(samples)
        self._ended = True
        return self._to_judge(frames)

    def _to_judge(self, frames: Float32) -> Step:
        return Step(gate_frames=frames) if len(frames) else self.absorb_gate(NO_PROBABILITIES)

    def _ingested(self, chunk: bytes) -> Float32:
        """Decode what was held and a chunk."""
        if self._held:
            chunk = bytes(self._held + chunk)
            self._held.clear()
        return self._ingest.push(chunk)

    def _needed_bytes(self) -> int:
        """Count the further bytes with which there is something to do."""
        if not self._holds:
            return 0
        if self._gated is not None:
            return self._ingest.bytes_until(self._gated.next_samples)
        needed_samples = self._slicer.next_samples
        if self._limit is not None:
            needed_samples = min(needed_samples, self._limit + 1)
        return self._ingest.bytes_until(needed_samples)

    def _step(self, cuts: Iterable[Cut]) -> Step:
        voiced = []
        for cut in cuts:
            window, audio = cut.window, self._listening.at(cut.signal_samples)
            if window is None:
                place = _Place(None, self._speech_in_line, cut.signal_samples, False, True, audio)
            else:
                has_voice = varies(window)
                if has_voice:
                    voiced.append(window)
                place = _Place(
                    window.index,
                    window.end_samples,
                    cut.signal_samples,
                    has_voice,
                    cut.is_full,
                    audio,
                )
            self._line.append(place)
        return Step(windows=tuple(voiced), updates=self._count_without_voice())

    @property
    def _speech_in_line(self) -> int:
        """Net speech of the windows so far, counted or out."""
        return self._line[-1].speech_samples if self._line else self._counted_speech

    def _count_without_voice(self) -> tuple[Utterance, ...]:
        updates: list[Utterance] = []
        while self._line and not self._line[0].has_voice:
            self._without_variance += self._line[0].index is not None
            updates += self._count(self._line.pop(0))
        return tuple(updates)

    def _count(self, place: _Place) -> tuple[Utterance, ...]:
        """Account for a place; its update is due by the audio's clock, never for the tail."""
        self._counted_speech, self._audio = place.speech_samples, place.audio
        if place.index is not None:
            self._counted_samples = place.signal_samples
        # Speech may lie before a stretch that was known earlier to hold none.
        waited_samples = max(0, place.signal_samples - self._updated_samples)
        is_due = waited_samples >= self._update_interval_samples
        if not place.is_full or not (is_due or (self._every_window and place.has_voice)):
            return ()
        if is_due:
            self._updated_samples += waited_samples
            return (self.by_windows,)
        return (replace(self.by_windows, is_due=False),)

    @property
    def by_windows(self) -> Utterance:
        """What is known by the windows that were absorbed."""
        committed = self._counted_samples * self._wire_rate_hz // self._model_rate_hz
        return self._known(self._counted_speech, committed)

    def _known(self, speech_samples: int, committed_samples: int) -> Utterance:
        return Utterance(
            sum=self._mean.sum,
            window_count=self._mean.count,
            windows_without_variance=self._without_variance,
            speech_samples=speech_samples,
            committed_samples=committed_samples,
            consistency=self._mean.consistency,
            quality=self._audio[0],
            band=self._audio[1],
            handover=self._watch.found,
        )


def _cuts(windows: list[Window], *, is_full: bool = True) -> list[Cut]:
    return [Cut(window, is_full, window.end_samples) for window in windows]
