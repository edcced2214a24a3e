"""How good audio is and must be: messages to values and back."""

from __future__ import annotations

from dataclasses import replace

from speakerd.v1 import audio_pb2

from speakerd_server.errors import PolicyInvalid
from speakerd_server.quality.limits import LIMITS, QualitySettings
from speakerd_server.values import Band, Quality


def quality_limits(message: audio_pb2.QualityPolicy, usual: QualitySettings) -> QualitySettings:
    """Read how good the audio must be, `usual` where nothing is set.

    Raises PolicyInvalid for a limit outside of its range.
    """
    wanted = {name: getattr(message, name) for name in LIMITS if message.HasField(name)}  # type: ignore[arg-type]
    for name, value in wanted.items():
        lowest, highest = LIMITS[name]["minimum"], LIMITS[name]["maximum"]
        if not lowest <= value <= highest:
            raise PolicyInvalid(
                f"quality.{name}", f"{value:g} is not between {lowest:g} and {highest:g}"
            )
    return replace(usual, **wanted)


def wire_limits(value: QualitySettings) -> audio_pb2.QualityPolicy:
    """Give how good the audio must be."""
    return audio_pb2.QualityPolicy(**{name: getattr(value, name) for name in LIMITS})


def wire_quality(value: Quality | None) -> audio_pb2.AudioQuality | None:
    """Give how good the audio is; None: it is not known."""
    if value is None:
        return None
    return audio_pb2.AudioQuality(
        snr_db=value.snr_db, clipping_share=value.clipping_share, level_dbfs=value.level_dbfs
    )


def wire_band(value: Band | None) -> audio_pb2.Band.ValueType:
    """Give how much of the spectrum the audio carries."""
    if value is None:
        return audio_pb2.BAND_UNSPECIFIED
    return audio_pb2.BAND_WIDE if value is Band.WIDE else audio_pb2.BAND_NARROW
