"""Rows of the record as values, and values as columns."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speakerd_server.enrolled import NewRecording, Recording, Speaker
from speakerd_server.errors import StoreCorrupt
from speakerd_server.store.voiceprint import check_recording
from speakerd_server.values import Band, ModelIdentity, Quality, SpeakerState

Row = tuple[Any, ...]


def recording_of(row: Row, path: Path) -> NewRecording:
    """Read one row of numbers and blob; raise StoreCorrupt where they make no recording."""
    *model, windows, speech_samples, rate_hz, consistency, band, snr, clipping, level, blob = row
    try:
        recording = NewRecording(
            model=ModelIdentity(*model),
            sum=_from_blob(blob),
            window_count=windows,
            speech_samples=speech_samples,
            sample_rate_hz=rate_hz,
            window_consistency=consistency,
            band=_band(band),
            quality=_quality(snr, clipping, level),
        )
        check_recording(recording)
    except (TypeError, ValueError) as error:
        raise StoreCorrupt(path, f"a recording cannot be read: {error}") from error
    return recording


def to_blob(recording: NewRecording) -> bytes:
    """Give the sum as bytes, with a checksum behind them."""
    content = recording.sum.astype("<f8").tobytes()
    return content + zlib.crc32(content).to_bytes(4, "little")


def _from_blob(blob: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    content, checksum = blob[:-4], blob[-4:]
    if zlib.crc32(content) != int.from_bytes(checksum, "little"):
        raise ValueError("its checksum is wrong")
    return np.frombuffer(content, "<f8").astype(np.float64)


def _band(text: str | None) -> Band | None:
    """Raises ValueError for text that names none."""
    return None if text is None else Band(text)


def quality_columns(quality: Quality | None) -> tuple[float | None, float | None, float | None]:
    """Give snr_db, clipping_share and level_dbfs."""
    if quality is None:
        return None, None, None
    return quality.snr_db, quality.clipping_share, quality.level_dbfs


def _quality(snr: float | None, clipping: float | None, level: float | None) -> Quality | None:
    """Raises ValueError and TypeError for what are no finite numbers."""
    if clipping is None:
        return None
    if not all(math.isfinite(one) for one in (snr, clipping, level) if one is not None):
        raise ValueError("its quality is not finite")
    return Quality(snr, clipping, level)


def speaker_of(head: Row, rows: Sequence[Row]) -> Speaker:
    """Give one speaker from the columns that its rows share and those of its recordings.

    Whether the voiceprint is expired, and when it will be, is not in the record.
    """
    domain, speaker_id, name, created_unix_s, updated_unix_s, *times, groups = head
    opted_out_unix_s, consent_unix_s, last_used_unix_s = times
    recordings = tuple(_shown(row) for row in rows if row[0] is not None)
    return Speaker(
        domain=domain,
        speaker_id=speaker_id,
        state=_state(bool(recordings), opted_out_unix_s),
        display_name=name,
        created_unix_s=created_unix_s,
        updated_unix_s=updated_unix_s,
        model=ModelIdentity(*rows[0][2:5]) if recordings else None,
        recordings=recordings,
        opted_out_unix_s=opted_out_unix_s,
        groups=tuple(sorted((groups or "").split())),
        consent_unix_s=consent_unix_s,
        last_used_unix_s=last_used_unix_s,
    )


def _shown(row: Row) -> Recording:
    recording_id, created_unix_s, _, _, _, windows, speech_samples, rate_hz, *rest = row
    consistency, band, *quality = rest
    return Recording(
        recording_id,
        created_unix_s,
        windows,
        speech_samples,
        rate_hz,
        consistency,
        _band(band),
        _quality(*quality),
    )


def _state(has_recordings: bool, opted_out_unix_s: float | None) -> SpeakerState:
    if opted_out_unix_s is not None:
        return SpeakerState.OPTED_OUT
    return SpeakerState.ENROLLED if has_recordings else SpeakerState.PENDING
