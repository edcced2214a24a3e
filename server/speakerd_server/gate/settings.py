"""How the speech gate is set."""

from __future__ import annotations

from dataclasses import dataclass, field

from speakerd_server.gate.frames import FRAME_SAMPLES, RATE_HZ


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Which audio counts as speech."""

    enabled: bool = True
    """Whether calls that do not say so themselves hear speech alone: silence, tones, noise and
    music are left out. `Embed` and KServe's protocol hear everything unless told otherwise."""
    threshold: float = field(default=0.5, metadata={"minimum": 0.05, "maximum": 0.95})
    """Probability of speech at which it begins; it goes on down to 0.15 less."""
    hangover_ms: int = field(default=100, metadata={"minimum": 0, "maximum": 2000})
    """What still belongs to speech after its last frame of 32 ms; rounded up to whole ones."""
    minimum_segment_ms: int = field(default=250, metadata={"minimum": 0, "maximum": 2000})
    """Speech that is shorter, from its first frame of 32 ms to its last, is none."""
    pending_frames: int = field(default=32_768, metadata={"minimum": 1, "maximum": 1 << 20})
    """Frames of 32 ms that may wait for the gate; a call that needs more is refused: GATE_BUSY."""

    @property
    def rule(self) -> SegmentRule:
        """Give the same in frames."""
        return SegmentRule(
            begin_at=self.threshold,
            go_on_at=max(0.01, self.threshold - HYSTERESIS),
            hangover_frames=_frames(self.hangover_ms),
            minimum_frames=_frames(self.minimum_segment_ms),
        )


HYSTERESIS = 0.15
"""How far the probability may fall below the threshold within speech, as Silero has it."""


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """When frames are speech."""

    begin_at: float
    """Probability at which speech begins."""
    go_on_at: float
    """Probability down to which it goes on; at most begin_at."""
    hangover_frames: int
    """Frames after the last one with a voice that still belong."""
    minimum_frames: int
    """Frames from the first one with a voice to the last; fewer are no speech."""
    lead_frames: int = 1
    """Frames before the first one with a voice that belong as well."""


def _frames(milliseconds: int) -> int:
    return -(-milliseconds * RATE_HZ // (1000 * FRAME_SAMPLES))
