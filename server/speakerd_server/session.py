"""One signal as a pure state machine: bytes in, windows out, embeddings in, updates out.

`push` and `end` give windows in signal order; `absorb_embedding` takes their embeddings back in
that order. What comes out depends on the signal alone, neither on splits nor on timing.
"""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_server.audio.ingest import Ingest
from speakerd_server.cards import Card
from speakerd_server.score.running_mean import RunningMean
from speakerd_server.values import AudioFormat, Encoding, Float32, Step, Utterance, Window
from speakerd_server.windows.arithmetic import (
    LONGEST_WINDOW_SAMPLES,
    WHOLE_SIGNAL,
    check_samples_per_chunk,
)
from speakerd_server.windows.slicer import Slicer
from speakerd_server.windows.variance import varies


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How one signal is heard; every count but the format's is samples at the model's rate."""

    audio_format: AudioFormat
    """Of the bytes."""
    card: Card
    """Of the model that embeds the windows."""
    samples_per_chunk: int
    """Window length, or -1 for one window over the whole signal, then of 60 s at most."""
    update_interval_samples: int = 0
    """Least audio between two updates; 0: an update for every window."""
    maximum_speech_samples: int | None = None
    """The signal is cut exactly here, and what follows is ignored; None: never."""
    maximum_signal_samples: int | None = None
    """A signal longer than this is refused with AudioTooLong; None: any length."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A window in the line of those that are to be counted, in signal order."""

    index: int
    end_samples: int
    has_voice: bool
    is_full: bool


_NOTHING = Step()


class Session:
    """One signal. Raises SampleRateUnsupported and SamplesPerChunkInvalid."""

    def __init__(self, settings: SessionSettings) -> None:
        card, audio_format = settings.card, settings.audio_format
        check_samples_per_chunk(settings.samples_per_chunk, card)
        self._ingest = Ingest(audio_format, card.sample_rate_hz, settings.maximum_speech_samples)
        limit = settings.maximum_signal_samples
        if settings.samples_per_chunk == WHOLE_SIGNAL:
            limit = min(limit or LONGEST_WINDOW_SAMPLES, LONGEST_WINDOW_SAMPLES)
        self._slicer = Slicer(settings.samples_per_chunk, card.min_frames, limit)
        self._mean = RunningMean(card.dim)
        self._wire_rate_hz, self._model_rate_hz = audio_format.sample_rate_hz, card.sample_rate_hz
        self._update_interval_samples = settings.update_interval_samples
        self._line: list[_Place] = []
        self._counted_samples = self._updated_samples = self._without_variance = 0
        self._ended = False
        self._sample_bytes = audio_format.sample_bytes
        self._limit = limit
        # Floats may be wrong, which the call must learn when they come; other bytes never are.
        self._holds = audio_format.encoding is not Encoding.FLOAT32LE
        self._held = bytearray()
        self._enough_bytes = self._needed_bytes()

    @property
    def received_samples(self) -> int:
        """Whole wire samples taken so far, up to the cut."""
        return (self._ingest.received_bytes + len(self._held)) // self._sample_bytes

    @property
    def settled(self) -> bool:
        """True once maximum_speech_samples is reached: audio that follows is ignored."""
        return self._ingest.full

    @property
    def utterance(self) -> Utterance:
        """What is known now; once `end` was called and every window absorbed, the final."""
        if self._ended and not self._line:
            return self._known(self._slicer.samples, self.received_samples)
        return self._known_by_windows()

    def push(self, chunk: bytes) -> Step:
        """Take the next bytes. Raises AudioNotFinite, AudioOutOfRange and AudioTooLong.

        Bytes that cannot complete a window are kept as they are: decoding a window's at once costs
        a fifth of decoding message by message.
        """
        if len(self._held) + len(chunk) < self._enough_bytes:
            self._held += chunk
            return _NOTHING
        full = self._slicer.push(self._ingested(chunk))
        self._enough_bytes = self._needed_bytes()
        return self._step(full, []) if full else _NOTHING

    def end(self) -> Step:
        """End the signal; gives its last window, and full ones that were held back.

        Raises AudioIncompleteSample, AudioTooLong, NoAudio and AudioTooShort.
        """
        full = self._slicer.push(self._ingested(b""))
        full += self._slicer.push(self._ingest.end())
        tail = self._slicer.end()
        self._ended = True
        return self._step(full, tail)

    def absorb_embedding(self, window: Window, embedding: Float32) -> tuple[Utterance, ...]:
        """Add float32[dim] of the oldest window that is out; gives the updates due by it.

        Its own comes first, then those of windows without variance that waited for it.
        ValueError for any other window, which is a mistake of the caller.
        """
        if not self._line or self._line[0].index != window.index:
            raise ValueError(f"window {window.index} is not the oldest one that is out")
        self._mean.add(embedding)
        return (*self._count(self._line.pop(0)), *self._count_without_variance())

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
        needed_samples = self._slicer.next_samples
        if self._limit is not None:
            needed_samples = min(needed_samples, self._limit + 1)
        return self._ingest.bytes_until(needed_samples)

    def _step(self, full: list[Window], tail: list[Window]) -> Step:
        voiced = []
        for window in (*full, *tail):
            has_voice = varies(window)
            if has_voice:
                voiced.append(window)
            is_full = window not in tail
            self._line.append(_Place(window.index, window.end_samples, has_voice, is_full))
        return Step(windows=tuple(voiced), updates=self._count_without_variance())

    def _count_without_variance(self) -> tuple[Utterance, ...]:
        updates: list[Utterance] = []
        while self._line and not self._line[0].has_voice:
            self._without_variance += 1
            updates += self._count(self._line.pop(0))
        return tuple(updates)

    def _count(self, place: _Place) -> tuple[Utterance, ...]:
        """Account for a window; its update is due by the audio's clock, never for the tail."""
        self._counted_samples = place.end_samples
        waited_samples = place.end_samples - self._updated_samples
        if not place.is_full or waited_samples < self._update_interval_samples:
            return ()
        self._updated_samples = place.end_samples
        return (self._known_by_windows(),)

    def _known_by_windows(self) -> Utterance:
        samples = self._counted_samples
        return self._known(samples, samples * self._wire_rate_hz // self._model_rate_hz)

    def _known(self, speech_samples: int, committed_samples: int) -> Utterance:
        return Utterance(
            sum=self._mean.sum,
            window_count=self._mean.count,
            windows_without_variance=self._without_variance,
            speech_samples=speech_samples,
            committed_samples=committed_samples,
            consistency=self._mean.consistency,
        )
