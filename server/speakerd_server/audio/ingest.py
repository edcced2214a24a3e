"""The audio room in one: wire bytes -> mono float32 samples at the model's rate."""

from __future__ import annotations

from speakerd_server.audio.decode import Decoder
from speakerd_server.audio.resample import Resampler
from speakerd_server.values import AudioFormat, Float32


class Ingest:
    """Decodes and resamples one signal, cut after `maximum_samples` at the model's rate.

    Bytes beyond the cut are not even decoded, so nothing in them matters. Raises
    SampleRateUnsupported.
    """

    def __init__(
        self, audio_format: AudioFormat, model_rate_hz: int, maximum_samples: int | None = None
    ) -> None:
        self._sample_bytes = audio_format.sample_bytes
        self._decoder = Decoder(audio_format)
        self._resampler = Resampler(audio_format.sample_rate_hz, model_rate_hz)
        self._maximum_samples = maximum_samples
        self._given_samples = self._received_bytes = 0
        self._room_bytes: int | None = None
        if maximum_samples is not None:
            wire_samples = -(-maximum_samples * audio_format.sample_rate_hz // model_rate_hz)
            self._room_bytes = wire_samples * audio_format.sample_bytes

    @property
    def received_bytes(self) -> int:
        """Bytes taken so far, up to the cut."""
        return self._received_bytes

    @property
    def full(self) -> bool:
        """True once the cut is reached: whatever follows is ignored."""
        return self._room_bytes == 0

    @property
    def received_samples(self) -> int:
        """Whole wire samples so far, up to the cut."""
        return self._received_bytes // self._sample_bytes

    def bytes_until(self, samples: int) -> int:
        """Give the fewest further bytes for `samples` of the signal to come out, or for the cut.

        The filter looks ahead, so that it may take some more.
        """
        until = self._resampler.samples_for(samples) * self._sample_bytes - self._received_bytes
        return until if self._room_bytes is None else min(until, self._room_bytes)

    def push(self, chunk: bytes) -> Float32:
        """Take the next bytes; gives float32[n], finite, full scale 1.0.

        Raises AudioNotFinite and AudioOutOfRange.
        """
        if self._room_bytes is not None:
            chunk = chunk[: self._room_bytes]
            self._room_bytes -= len(chunk)
        self._received_bytes += len(chunk)
        return self._cut(self._resampler.push(self._decoder.push(chunk)))

    def end(self) -> Float32:
        """Give the rest as float32[n]; nothing may follow. Raises AudioIncompleteSample."""
        self._decoder.end()
        return self._cut(self._resampler.end())

    def _cut(self, samples: Float32) -> Float32:
        if self._maximum_samples is not None:
            samples = samples[: self._maximum_samples - self._given_samples]
        self._given_samples += len(samples)
        return samples
