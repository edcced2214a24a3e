"""The audio room for Ogg/Opus: a stream -> mono float32 samples at the model's rate."""

from __future__ import annotations

import numpy as np

from speakerd_server.audio.opus import OpusDecoder
from speakerd_server.values import Float32, OggOpus


class OpusIngest:
    """Decodes one signal as Ingest does, cut after `maximum_samples`."""

    received_bytes = 0
    """Says nothing of how much audio there is."""

    def __init__(self, audio_format: OggOpus, maximum_samples: int | None = None) -> None:
        self._decoder = OpusDecoder(audio_format)
        self._maximum_samples = maximum_samples
        self._given_samples = 0

    @property
    def full(self) -> bool:
        """True once the cut is reached: whatever follows is ignored."""
        return self._given_samples == self._maximum_samples

    @property
    def received_samples(self) -> int:
        """Samples so far, up to the cut."""
        return self._given_samples

    def bytes_until(self, _samples: int) -> int:
        """Give 0: bytes do not tell what they hold."""
        return 0

    def push(self, chunk: bytes) -> Float32:
        """Take the next bytes; gives float32[n], full scale 1.0. Raises what OpusDecoder does."""
        if self.full:
            return np.empty(0, np.float32)
        samples = self._decoder.push(chunk)
        if self._maximum_samples is not None:
            samples = samples[: self._maximum_samples - self._given_samples]
        self._given_samples += len(samples)
        return samples

    def end(self) -> Float32:
        """Give nothing more; raises what OpusDecoder does, unless the cut was reached."""
        if not self.full:
            self._decoder.end()
        return np.empty(0, np.float32)
