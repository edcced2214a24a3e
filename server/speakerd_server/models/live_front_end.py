"""Compares the front end with torchaudio's Kaldi module, where that is installed.

The module is read from its file: it is pure Python over torch, while the package around it does
not load beside every torch (its library is linked against one of them).
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from speakerd_server.cards import FrontEndDescription
from speakerd_server.errors import FrontEndDiffers
from speakerd_server.models.front_end import SAMPLE_RATE_HZ, front_end
from speakerd_server.values import Float32

ALLOWED = 1e-3
"""Largest mean absolute difference of a log-mel feature: 0.004 dB."""

_INT16 = 32768.0


def check_wespeaker_front_end(description: FrontEndDescription) -> float | None:
    """Compare a front end's features with those that WeSpeaker has torchaudio make.

    Args:
        description: What is compared; torchaudio is asked for WeSpeaker's settings and as many
            mel bins, without dither and without removing the mean.

    Returns:
        The mean absolute difference of the natural-log features, or None where torchaudio's Kaldi
        module cannot be loaded.

    Raises:
        FrontEndDiffers: It is larger than ALLOWED.
    """
    kaldi = _kaldi()
    if kaldi is None:
        return None
    pcm = _signal()
    torch = sys.modules["torch"]
    wanted = kaldi.fbank(
        torch.from_numpy(pcm * np.float32(_INT16))[None],
        num_mel_bins=description.mel_bins,
        frame_length=25,
        frame_shift=10,
        dither=0.0,
        energy_floor=0.0,
        sample_frequency=SAMPLE_RATE_HZ,
        window_type="hamming",
        htk_compat=True,
        use_energy=False,
    )
    found = front_end(description).log_mel(pcm)
    difference = float(np.abs(found - wanted.numpy()).mean(dtype=np.float64))
    if not difference <= ALLOWED:
        raise FrontEndDiffers(difference, ALLOWED)
    return difference


def _kaldi() -> Any:
    """Load torchaudio/compliance/kaldi.py, or give None."""
    found = importlib.util.find_spec("torchaudio")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "compliance" / "kaldi.py"
    spec = importlib.util.spec_from_file_location("speakerd_live_kaldi", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    # It imports the package for its MFCCs alone: an empty one in its place serves.
    loaded = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError, RuntimeError):
        return None
    finally:
        del sys.modules["torchaudio"]
        if loaded is not None:
            sys.modules["torchaudio"] = loaded
    return module


def _signal() -> Float32:
    """Two seconds, float32 in [-1, 1] on the grid of int16: a rising tone in noise, then noise."""
    time = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * (100 + 1500 * time) * time) * (time < 1)
    noise = 0.05 * np.random.default_rng(0).standard_normal(time.size)
    signal: Float32 = (np.rint((tone + noise) * _INT16) / _INT16).astype(np.float32)
    return signal
