"""Kaldi's log-mel filter bank as two linear maps with a square between them.

Everything before the power spectrum (DC removal, pre-emphasis, window, DFT) is linear in the 400
samples of a frame, so it is one matrix; mel binning is another. Definitions follow Kaldi's
`feature-window.cc` and `mel-computations.cc`, without dither, energy and edge padding.

The tables are computed in extended precision, so that their float32 values do not depend on which
vector instructions a processor has: the recipe's bytes are the same everywhere.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import FrontEndDescription
from speakerd_server.values import Float32

FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
MEL_BINS = 80
FLOOR = np.float32(1.1920929e-07)

_SAMPLE_RATE_HZ = 16000
_DFT_POINTS = 512
_PRE_EMPHASIS = 0.97
_LOW_HZ, _HIGH_HZ = 20.0, 8000.0
_PI = np.arccos(np.longdouble(-1))

Extended = NDArray[np.longdouble]


FAMILIES = {
    "wespeaker": FrontEndDescription("wespeaker", 32768.0, "hamming"),
    "3dspeaker": FrontEndDescription("3dspeaker", 1.0, "povey"),
}


@dataclass(frozen=True, slots=True, eq=False)
class FrontEnd:
    """log(max(mel @ (spectrum @ frame)², FLOOR)) is the log-mel feature of a frame."""

    spectrum: Float32
    """float32[2K, 400]: samples in [-1, 1] to the real, then the imaginary parts of K DFT bins."""
    mel: Float32
    """float32[80, 2K]: squares of those parts to mel energies."""

    def log_mel(self, pcm: Float32) -> Float32:
        """Compute features as the graph does.

        Args:
            pcm: float32[n] in [-1, 1] at 16 kHz, n >= 400.

        Returns:
            float32[1 + (n - 400) // 160, 80], natural log, mean not removed.
        """
        frames = np.lib.stride_tricks.sliding_window_view(pcm, FRAME_SAMPLES)[::SHIFT_SAMPLES]
        energies = np.square(frames @ self.spectrum.T) @ self.mel.T
        log_mel: Float32 = np.log(np.maximum(energies, FLOOR))
        return log_mel


@functools.cache
def front_end(family: FrontEndDescription) -> FrontEnd:
    """Fold a family's front end."""
    mel = _mel_bank()
    used = np.flatnonzero(mel.any(axis=0))
    turns = _ramp(_DFT_POINTS) / _DFT_POINTS
    angles = 2 * _PI * turns[np.outer(used, np.arange(FRAME_SAMPLES)) % _DFT_POINTS]
    dft = np.concatenate([np.cos(angles), -np.sin(angles)])
    spectrum = family.sample_scale * _condition(dft * _window(family.window))
    both = np.concatenate([mel[:, used], mel[:, used]], axis=1)
    return FrontEnd(spectrum.astype(np.float32), both.astype(np.float32))


def fingerprint(family: FrontEndDescription) -> str:
    """Name a front end by its family and a digest of all that decides its numbers."""
    description = (
        f"kaldi-fbank rate={_SAMPLE_RATE_HZ} frame={FRAME_SAMPLES} shift={SHIFT_SAMPLES}"
        f" scale={family.sample_scale:g} dc=removed pre-emphasis={_PRE_EMPHASIS}"
        f" window={family.window} dft={_DFT_POINTS} power mel={MEL_BINS}"
        f" low={_LOW_HZ:g} high={_HIGH_HZ:g} floor=float32-eps log=e dither=0 mean=window"
    )
    return f"{family.family}-{hashlib.sha256(description.encode()).hexdigest()[:12]}"


def _ramp(length: int) -> Extended:
    ramp: Extended = np.arange(length).astype(np.longdouble)
    return ramp


def _condition(rows: Extended) -> Extended:
    """Put pre-emphasis, then DC removal, before linear maps of a frame: [K, 400].

    The first sample is its own predecessor in the pre-emphasis.
    """
    emphasised = rows.copy()
    emphasised[:, :-1] -= _PRE_EMPHASIS * rows[:, 1:]
    emphasised[:, 0] -= _PRE_EMPHASIS * rows[:, 0]
    centred: Extended = emphasised - emphasised.mean(axis=1, keepdims=True)
    return centred


def _window(name: str) -> Extended:
    """Kaldi's symmetric windows; Povey's is a Hann window to the power 0.85."""
    cosine = np.cos(2 * _PI * _ramp(FRAME_SAMPLES) / (FRAME_SAMPLES - 1))
    window: Extended = (
        0.54 - 0.46 * cosine if name == "hamming" else np.power(0.5 - 0.5 * cosine, 0.85)
    )
    return window


def _mel(hz: Any) -> Any:
    """Kaldi's mel scale: 1127 ln(1 + f/700)."""
    return 1127.0 * np.log1p(hz / 700.0)


def _mel_bank() -> Extended:
    """Triangles of equal width on the mel scale: [80, 257]; the Nyquist bin is unused."""
    low, high = _mel(np.longdouble(_LOW_HZ)), _mel(np.longdouble(_HIGH_HZ))
    edges = low + (high - low) / (MEL_BINS + 1) * _ramp(MEL_BINS + 2)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = _mel(_ramp(_DFT_POINTS // 2 + 1) * (_SAMPLE_RATE_HZ / _DFT_POINTS))[None]
    bank: Extended = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    bank = np.maximum(bank, 0.0)
    bank[:, -1] = 0.0
    return bank
