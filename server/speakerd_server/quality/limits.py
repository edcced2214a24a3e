"""How good audio must be, and which limit it misses."""

from __future__ import annotations

from dataclasses import dataclass, field

from speakerd_server.values import Quality


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """How good the audio of a call must be where the call does not say so itself."""

    minimum_snr_db: float = field(default=4.0, metadata={"minimum": -20.0, "maximum": 60.0})
    """Signal-to-noise ratio in dB below which the decision is POOR_AUDIO."""
    maximum_clipping_share: float = field(default=0.1, metadata={"minimum": 0.0, "maximum": 1.0})
    """Share of samples at the end of the scale above which the decision is POOR_AUDIO."""
    minimum_level_dbfs: float = field(default=-60.0, metadata={"minimum": -100.0, "maximum": 0.0})
    """Level of the speech, in dB relative to a full-scale sine, below which it is POOR_AUDIO."""


LIMITS = {
    one: QualitySettings.__dataclass_fields__[one].metadata
    for one in ("minimum_snr_db", "maximum_clipping_share", "minimum_level_dbfs")
}
"""Lowest and highest value of each."""


def poor(quality: Quality | None, limits: QualitySettings) -> str:
    """Say which limit the audio misses, with the numbers; empty: none, or nothing to judge yet."""
    if quality is None:
        return ""
    if quality.snr_db is not None and quality.snr_db < limits.minimum_snr_db:
        return (
            f"its signal-to-noise ratio is {quality.snr_db:.1f} dB, under the"
            f" {limits.minimum_snr_db:g} dB that are asked for"
        )
    if quality.clipping_share > limits.maximum_clipping_share:
        return (
            f"{100 * quality.clipping_share:.1f} % of it is clipped, more than the"
            f" {100 * limits.maximum_clipping_share:g} % that are allowed"
        )
    if quality.level_dbfs is not None and quality.level_dbfs < limits.minimum_level_dbfs:
        return (
            f"its level is {quality.level_dbfs:.1f} dBFS, under the"
            f" {limits.minimum_level_dbfs:g} dBFS that are asked for"
        )
    return ""
