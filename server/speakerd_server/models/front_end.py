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
from speakerd_server.errors import OptionInvalid
from speakerd_server.values import Float32

FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
MEL_BINS = 80
FLOOR = np.float32(1.1920929e-07)

SAMPLE_RATE_HZ = 16000
WINDOWS = ("hamming", "povey", "hanning", "rectangular")

_DFT_POINTS = 512
_NYQUIST_HZ = SAMPLE_RATE_HZ / 2
_MOST_MEL_BINS = 256
_SCALES = (1e-3, 1e6)
_PI = np.arccos(np.longdouble(-1))

Extended = NDArray[np.longdouble]

DESCRIBED = "described"
"""Family of a front end that is no family's: its card has all its numbers."""

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
    """float32[M, 2K]: squares of those parts to mel energies."""
    mean_removed: bool = True
    """Whether the graph takes each feature's mean over a window off; `log_mel` never does."""

    def log_mel(self, pcm: Float32) -> Float32:
        """Compute features as the graph does.

        Args:
            pcm: float32[n] in [-1, 1] at 16 kHz, n >= 400.

        Returns:
            float32[1 + (n - 400) // 160, M], natural log, mean not removed.
        """
        frames = np.lib.stride_tricks.sliding_window_view(pcm, FRAME_SAMPLES)[::SHIFT_SAMPLES]
        energies = np.square(frames @ self.spectrum.T) @ self.mel.T
        log_mel: Float32 = np.log(np.maximum(energies, FLOOR))
        return log_mel


@functools.cache
def front_end(description: FrontEndDescription) -> FrontEnd:
    """Fold a front end.

    Raises:
        OptionInvalid: A number of the description is out of its range.
    """
    _refuse_wrong(description)
    mel = _mel_bank(description)
    used = np.flatnonzero(mel.any(axis=0))
    turns = _ramp(_DFT_POINTS) / _DFT_POINTS
    angles = 2 * _PI * turns[np.outer(used, np.arange(FRAME_SAMPLES)) % _DFT_POINTS]
    dft = np.concatenate([np.cos(angles), -np.sin(angles)])
    rows = _condition(dft * _window(description.window), description.pre_emphasis)
    both = np.concatenate([mel[:, used], mel[:, used]], axis=1)
    return FrontEnd(
        (description.sample_scale * rows).astype(np.float32),
        both.astype(np.float32),
        description.mean_removed,
    )


def fingerprint(description: FrontEndDescription) -> str:
    """Name a front end by its family and a digest of all that decides its numbers.

    Raises:
        OptionInvalid: A number of the description is out of its range.
    """
    _refuse_wrong(description)
    exact = {
        name: _exact(value)
        for name, value in (
            ("scale", description.sample_scale),
            ("pre-emphasis", description.pre_emphasis),
            ("low", description.low_hz),
            ("high", upper_edge_hz(description)),
        )
    }
    text = (
        f"kaldi-fbank rate={SAMPLE_RATE_HZ} frame={FRAME_SAMPLES} shift={SHIFT_SAMPLES}"
        f" scale={exact['scale']} dc=removed pre-emphasis={exact['pre-emphasis']}"
        f" window={description.window} dft={_DFT_POINTS} power mel={description.mel_bins}"
        f" low={exact['low']} high={exact['high']} floor=float32-eps log=e dither=0"
        f" mean={'window' if description.mean_removed else 'kept'}"
    )
    return f"{description.family}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def upper_edge_hz(description: FrontEndDescription) -> float:
    """Give the mel bank's upper edge; as Kaldi has it, 0 and less count from the Nyquist rate."""
    high_hz = description.high_hz
    return high_hz if high_hz > 0 else _NYQUIST_HZ + high_hz


def wrong_in(description: FrontEndDescription) -> tuple[str, str] | None:
    """Give the first field that is out of its range and what is wrong with it, or None."""
    if description.window not in WINDOWS:
        return "window", f"{description.window!r} is unknown; there is {', '.join(WINDOWS)}"
    if not 1 <= description.mel_bins <= _MOST_MEL_BINS:
        return "mel_bins", f"{description.mel_bins} is not between 1 and {_MOST_MEL_BINS}"
    if not _SCALES[0] <= description.sample_scale <= _SCALES[1]:
        low, high = _SCALES
        return "sample_scale", f"{description.sample_scale:g} is not between {low:g} and {high:g}"
    if not 0 <= description.pre_emphasis <= 1:
        return "pre_emphasis", f"{description.pre_emphasis:g} is not between 0 and 1"
    return _wrong_edges(description)


def _wrong_edges(description: FrontEndDescription) -> tuple[str, str] | None:
    low_hz, high_hz = description.low_hz, upper_edge_hz(description)
    if not 0 <= low_hz < _NYQUIST_HZ:
        return "low_hz", f"{low_hz:g} is not between 0 and {_NYQUIST_HZ:g}"
    if not high_hz <= _NYQUIST_HZ:
        return "high_hz", f"{description.high_hz:g} is above {_NYQUIST_HZ:g}, half the sample rate"
    if not low_hz < high_hz:
        return "high_hz", f"the upper edge, {high_hz:g} Hz, is not above low_hz, {low_hz:g}"
    if not _mel_bank(description).any():
        return "high_hz", f"nothing lies between {low_hz:g} and {high_hz:g} Hz"
    return None


def _refuse_wrong(description: FrontEndDescription) -> None:
    wrong = wrong_in(description)
    if wrong:
        raise OptionInvalid(f"front end, {wrong[0]}", wrong[1])


def _exact(number: float) -> str:
    """Write a number so that no other is written alike, and without a needless ".0"."""
    return repr(float(number) + 0.0).removesuffix(".0")


def _ramp(length: int) -> Extended:
    ramp: Extended = np.arange(length).astype(np.longdouble)
    return ramp


def _condition(rows: Extended, pre_emphasis: float) -> Extended:
    """Put pre-emphasis, then DC removal, before linear maps of a frame: [K, 400].

    The first sample is its own predecessor in the pre-emphasis.
    """
    emphasised = rows.copy()
    emphasised[:, :-1] -= pre_emphasis * rows[:, 1:]
    emphasised[:, 0] -= pre_emphasis * rows[:, 0]
    centred: Extended = emphasised - emphasised.mean(axis=1, keepdims=True)
    return centred


def _window(name: str) -> Extended:
    """Kaldi's symmetric windows; Povey's is a Hann window to the power 0.85."""
    cosine = np.cos(2 * _PI * _ramp(FRAME_SAMPLES) / (FRAME_SAMPLES - 1))
    window: Extended
    match name:
        case "hamming":
            window = 0.54 - 0.46 * cosine
        case "povey":
            window = np.power(0.5 - 0.5 * cosine, 0.85)
        case "hanning":
            window = 0.5 - 0.5 * cosine
        case _:
            window = np.ones_like(cosine)
    return window


def _mel(hz: Any) -> Any:
    """Kaldi's mel scale: 1127 ln(1 + f/700)."""
    return 1127.0 * np.log1p(hz / 700.0)


def _mel_bank(description: FrontEndDescription) -> Extended:
    """Triangles of equal width on the mel scale: [M, 257]; the Nyquist bin is unused."""
    edges_hz = np.longdouble(description.low_hz), np.longdouble(upper_edge_hz(description))
    low, high = _mel(edges_hz[0]), _mel(edges_hz[1])
    edges = low + (high - low) / (description.mel_bins + 1) * _ramp(description.mel_bins + 2)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = _mel(_ramp(_DFT_POINTS // 2 + 1) * (SAMPLE_RATE_HZ / _DFT_POINTS))[None]
    bank: Extended = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    bank = np.maximum(bank, 0.0)
    bank[:, -1] = 0.0
    return bank
