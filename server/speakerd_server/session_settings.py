"""How one signal is heard."""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_server.cards import Card
from speakerd_server.gate.settings import SegmentRule
from speakerd_server.gated_windows import GatedWindows
from speakerd_server.values import AudioFormat
from speakerd_server.windows.arithmetic import LONGEST_WINDOW_SAMPLES


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
    """The speech is cut exactly here, and what follows is ignored; None: never."""
    maximum_signal_samples: int | None = None
    """A signal longer than this is refused with AudioTooLong; None: any length."""
    gate: SegmentRule | None = None
    """Which audio is speech; None: all of it."""
    every_window: bool = False
    """Whether windows without an update give one that is not due."""


def gated_windows(settings: SessionSettings, rule: SegmentRule) -> GatedWindows:
    """Begin to cut the speech of one signal by these settings."""
    return GatedWindows(
        rule,
        settings.samples_per_chunk,
        settings.card,
        maximum_speech_samples=settings.maximum_speech_samples,
        maximum_signal_samples=settings.maximum_signal_samples,
        maximum_whole_samples=LONGEST_WINDOW_SAMPLES,
    )
