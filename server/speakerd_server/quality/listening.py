"""What is said of a signal's audio at one place in it, whatever was received beyond."""

from __future__ import annotations

import numpy as np

from speakerd_server.quality.clipping import Clipping
from speakerd_server.quality.meter import Meter
from speakerd_server.values import Band, Encoding, Float32, Quality


class Listening:
    """Keeps the samples that were not heard yet: a window's worth or two."""

    def __init__(self, encoding: Encoding) -> None:
        self._meter, self._clipping = Meter(), Clipping(encoding)
        self._waiting: list[Float32] = []
        self._heard = 0

    def push(self, samples: Float32) -> None:
        """Take the next float32[n] at 16 kHz."""
        if len(samples):
            self._waiting.append(samples)

    def at(self, samples: int) -> tuple[Quality | None, Band | None]:
        """Give quality and band of the first so many samples; never fewer than before.

        None: less than 1 s, or no sound.
        """
        self.hear(samples)
        snr_db, level_dbfs = self._meter.ratio_and_level()
        quality = None
        if level_dbfs is not None:
            quality = Quality(snr_db, self._clipping.share, level_dbfs)
        return quality, self._meter.band

    def hear(self, samples: int) -> None:
        """Listen to the first so many samples: nobody will ask for fewer, and they are let go."""
        if samples > self._heard and self._waiting:
            several = len(self._waiting) > 1
            waiting = np.concatenate(self._waiting) if several else self._waiting[0]
            count = min(samples - self._heard, len(waiting))
            self._meter.push(waiting[:count])
            self._clipping.push(waiting[:count])
            self._heard += count
            # A copy: the rest of a view would keep what was heard.
            self._waiting = [waiting[count:].copy()] if count < len(waiting) else []
