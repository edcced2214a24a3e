"""How good one signal is: noise, level, band; counted on frames from its start, split as it may be.

Every second frame of 512 samples at 16 kHz, Hann window, 16 bands of equal width from 62 Hz up.
The noise in a band is taken to be what the quietest tenth of the frames has there, for speech is
never in all bands at once; counted by steps of half a decibel, so that nothing grows with the
signal. The idea, noise as the minimum over time in each band, is that of R. Martin, "Noise power
spectral density estimation based on optimal smoothing and minimum statistics", IEEE Trans. Speech
and Audio Processing 9(5), 2001; the quantile and its factor were chosen on speech with noise added.
Frames without any sound are none of those.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import Band, Float32

RATE_HZ = 16_000
FRAME_SAMPLES = 512
STRIDE = 2
"""Of so many frames one is looked at: half the work tells as much."""
LEAST_FRAMES = 16
"""Looked at, about 1 s of signal: less audio is not judged."""
NARROW_DB = -60.0
"""Power above 4.6 kHz relative to that below 3.8 kHz under which the band is narrow."""

_EDGES = np.round(np.linspace(2, FRAME_SAMPLES // 2, 17)).astype(np.intp)
_CENTRES_HZ = (_EDGES[:-1] + _EDGES[1:]) / 2 * RATE_HZ / FRAME_SAMPLES
_HIGH, _LOW = _CENTRES_HZ > 4600.0, _CENTRES_HZ < 3800.0
_BANDS = len(_CENTRES_HZ)
_WINDOW = np.hanning(FRAME_SAMPLES).astype(np.float32)
_SCALE = 2.0 * FRAME_SAMPLES / float(np.sum(_WINDOW.astype(np.float64) ** 2))
"""From the squares of a windowed frame's spectrum over its length to mean squares of samples."""
_QUANTILE, _FACTOR = 0.1, 1.6
"""Of a band's frames, and from the power there to the mean power of noise."""
_STEPS_PER_DB, _LOWEST_DB, _STEPS = 2, -120.0, 260
_ONE = np.int32(1)
_FIRST_STEPS = np.arange(_BANDS) * _STEPS
"""Where a band's steps begin among all."""
_SOUND_STEP = int((-95.0 - _LOWEST_DB) * _STEPS_PER_DB)
"""Of frames that are quieter, as where a line is muted, nothing is learnt of the noise: dither of
16 bits has -96 dB."""
_SINE_POWER = 0.5
_LEAST_SNR_DB, _MOST_SNR_DB = -20.0, 60.0


class Meter:
    """Listens to one signal at 16 kHz; everything it says is of all that was pushed."""

    def __init__(self) -> None:
        self._rest = np.empty(0, np.float32)
        self._counts = np.zeros(_BANDS * _STEPS, np.int32)
        self._sounding = 0
        self._totals = np.zeros(_STEPS, np.int64)
        self._sums = np.zeros(_BANDS, np.float64)
        self._frames = 0
        self._passed_over = 0

    def push(self, samples: Float32) -> None:
        """Take the next float32[n], full scale 1.0."""
        count, left = divmod(len(self._rest) + len(samples), FRAME_SAMPLES)
        if not count:
            self._rest = np.concatenate([self._rest, samples])
            return
        looked_at = self._windowed(samples, count)
        self._rest = np.array(samples[len(samples) - left :])
        self._passed_over = (self._passed_over - count) % STRIDE
        if len(looked_at):
            self._count(looked_at)

    def _windowed(self, samples: Float32, count: int) -> Float32:
        """Give those of the next frames that are looked at, times the window."""
        frames = np.empty((len(range(self._passed_over, count, STRIDE)), FRAME_SAMPLES), np.float32)
        begun = FRAME_SAMPLES - len(self._rest)
        whole = samples[begun : begun + (count - 1) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        if self._passed_over:
            np.multiply(whole[self._passed_over - 1 :: STRIDE], _WINDOW, out=frames)
        else:
            frames[0, : len(self._rest)] = self._rest
            frames[0, len(self._rest) :] = samples[:begun]
            frames[0] *= _WINDOW
            np.multiply(whole[STRIDE - 1 :: STRIDE], _WINDOW, out=frames[1:])
        return frames

    def _count(self, frames: Float32) -> None:
        # The factor keeps numpy in float32, in which it takes half the time.
        spectrum = np.fft.rfft(frames, axis=1, norm="forward")
        squares = spectrum.real**2 + spectrum.imag**2
        power = np.add.reduceat(squares, _EDGES[:-1], axis=1, dtype=np.float64) * _SCALE
        # Row by row, after what there was: a sum of sums would depend on the splits.
        self._sums = np.concatenate([self._sums[None], power]).sum(axis=0)
        totals = _steps(power.sum(axis=1))
        sounding = totals >= _SOUND_STEP
        if not sounding.all():
            power = power[sounding]
        np.add.at(self._counts, (_steps(power) + _FIRST_STEPS).ravel(), _ONE)
        self._sounding += len(power)
        np.add.at(self._totals, totals, 1)
        self._frames += len(frames)

    @property
    def snr_db(self) -> float | None:
        """Power of the speech over that of the noise in dB; None: less than 1 s, or no sound.

        Speech is what the frames above the noise have on average, less the noise.
        """
        return self.ratio_and_level()[0]

    @property
    def level_dbfs(self) -> float | None:
        """Power of the speech relative to a full-scale sine, in dB; None: as snr_db."""
        return self.ratio_and_level()[1]

    def ratio_and_level(self) -> tuple[float | None, float | None]:
        """Give snr_db and level_dbfs."""
        noise = self._noise()
        speech = self._speech(noise)
        if speech is None:
            return None, None
        speech = max(speech, 1e-12)
        ratio_db = 10.0 * math.log10(speech / max(noise, 1e-12))
        snr_db = min(max(ratio_db, _LEAST_SNR_DB), _MOST_SNR_DB)
        return snr_db, 10.0 * math.log10(speech / _SINE_POWER)

    @property
    def band(self) -> Band | None:
        """Up to where the spectrum goes; None: less than 1 s, or no sound."""
        low, high = float(self._sums[_LOW].sum()), float(self._sums[_HIGH].sum())
        if self._frames < LEAST_FRAMES or low <= self._frames * 1e-10:
            return None
        return Band.NARROW if high < low * 10.0 ** (NARROW_DB / 10.0) else Band.WIDE

    def _noise(self) -> float:
        """Mean square of the noise; 0 where there is none, or too little audio."""
        if self._frames < LEAST_FRAMES or not self._sounding:
            return 0.0
        counts = self._counts.reshape(_BANDS, _STEPS)
        reached = counts.cumsum(axis=1, dtype=np.int32) >= _QUANTILE * self._sounding
        return float(_FACTOR * _POWERS[reached.argmax(axis=1)].sum())

    def _speech(self, noise: float) -> float | None:
        """Mean square of the speech in the frames above the noise; None: there are none."""
        if self._frames < LEAST_FRAMES:
            return None
        counts = np.where(noise < _POWERS, self._totals, 0)
        total = int(counts.sum())
        if total == 0 or not counts[1:].any():
            return None
        return max(0.0, float(counts @ _POWERS) / total - noise)


_POWERS: NDArray[np.float64] = 10.0 ** (
    (_LOWEST_DB + (np.arange(_STEPS) + 0.5) / _STEPS_PER_DB) / 10.0
)
_POWERS[0] = 0.0  # and what is less: no sound


def _steps(power: NDArray[np.float64]) -> NDArray[np.intp]:
    decibels = 10.0 * np.log10(np.maximum(power, 10.0 ** (_LOWEST_DB / 10.0)))
    steps = ((decibels - _LOWEST_DB) * _STEPS_PER_DB).astype(np.intp)
    return np.asarray(np.minimum(np.maximum(steps, 0), _STEPS - 1), np.intp)
