"""The recordings that a load sends, each a track in the wire's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerd_client.audio import Audio, AudioFormat, Encoding
from speakerd_client.errors import InvalidLoad
from speakerd_client.load.plan import within
from speakerd_client.load.transcode import in_format
from speakerd_client.load.voice import synthetic_voice
from speakerd_client.loading import load_whole

SYNTHETIC = "synthetic"
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8_000, 48_000
LARGEST_BYTES = 1 << 30
"""Of all tracks together: every generating process holds them."""


@dataclass(frozen=True, slots=True)
class Track:
    """One recording, as it is sent."""

    name: str
    """The file, or SYNTHETIC."""
    audio: Audio
    """In the format of the wire."""


def tracks_of(
    files: Sequence[Path],
    *,
    encoding: Encoding | None = None,
    rate_hz: int | None = None,
    channel: int | None = None,
    synthetic_s: float = 12.0,
) -> tuple[Track, ...]:
    """Read files and bring them into one format; without files, make a synthetic track.

    Args:
        files: Any that `read_audio` reads.
        encoding: Of the wire; None: each file's own, PCM16LE without files.
        rate_hz: Of the wire, 8000 to 48000; None: each file's own, 16000 without files.
        channel: Which channel of each file to take; needed where there are several.
        synthetic_s: Length of the synthetic track.

    Raises:
        AudioFileError: A file cannot be read, or not be brought to the rate.
        InvalidLoad: The rate is none that a daemon takes, a file is empty, or all are too large.
    """
    if rate_hz is not None:
        within("rate", rate_hz, LOWEST_RATE_HZ, HIGHEST_RATE_HZ)
    if not files:
        made = synthetic_voice(synthetic_s, rate_hz or 16_000)
        return (_track(SYNTHETIC, made, encoding, rate_hz),)
    found, size_bytes = [], 0
    for path in files:
        found.append(_track(str(path), load_whole(path, channel), encoding, rate_hz))
        size_bytes += len(found[-1].audio.content)
        if size_bytes > LARGEST_BYTES:
            raise InvalidLoad(
                f"{path}: with this file the audio is over {LARGEST_BYTES >> 20} MiB; give fewer or"
                " shorter files, they are repeated anyway"
            )
    return tuple(found)


def _track(name: str, audio: Audio, encoding: Encoding | None, rate_hz: int | None) -> Track:
    wanted = AudioFormat(encoding or audio.format.encoding, rate_hz or audio.format.sample_rate_hz)
    if len(audio.content) < audio.format.encoding.sample_bytes:
        raise InvalidLoad(f"{name}: it holds no audio; give another file")
    return Track(name, in_format(audio, wanted, name))
