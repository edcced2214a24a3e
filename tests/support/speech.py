"""Speech for tests: the committed synthetic voices, the shared recordings, and signals."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from support.shared import ROOT, shared_path

Float32 = npt.NDArray[np.float32]
RATE_HZ = 16000
VOICES = ROOT / "deploy" / "demo" / "voices"


@cache
def read(path: Path) -> Float32:
    """Read a file as float32 mono in [-1, 1]."""
    samples, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == RATE_HZ
    return np.ascontiguousarray(samples, np.float32)


def pcm16(samples: Float32) -> bytes:
    """Write samples as PCM16LE; exact for what was read from 16-bit files."""
    scaled = np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767)
    return scaled.astype("<i2").tobytes()


def eval_ids() -> list[str]:
    """Name the shared evaluation utterances, sorted."""
    lines = shared_path("data/trials/wav.scp").read_text().splitlines()
    return sorted(line.split()[0] for line in lines)


def eval_utterance(utterance_id: str) -> Float32:
    """Read one shared evaluation utterance."""
    speaker = utterance_id.split("-")[0]
    return read(shared_path(f"data/librispeech/eval/{speaker}/{utterance_id}.flac"))


def noise(seconds: float, seed: int = 0) -> Float32:
    """Make white noise with a level like speech."""
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)
