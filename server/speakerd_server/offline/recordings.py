"""Audio files -> float32 mono at the model's rate: the numbers the daemon would get of them."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speakerd_server.audio.containers import check_whole, has_header
from speakerd_server.audio.decode import check_format
from speakerd_server.audio.ingest import Ingest
from speakerd_server.errors import AudioFileUnusable, InvalidInput, OptionInvalid
from speakerd_server.values import AudioFormat, Encoding, Float32

RAW_SUFFIXES = (".raw", ".pcm", ".sln")
"""Of files without a header, which can be read only when their format is told."""
SHORTEST_S = 0.025
"""One frame."""

_BLOCK_VALUES = 1 << 18
_COUNT = re.compile("[0-9]{1,6}")
_EXACT_IN_16_BITS = ("PCM_16", "ULAW", "ALAW")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of one job are read; see `read_recording`."""

    channel: int | None = None
    """From 0; None: files must have one channel."""
    raw: AudioFormat | None = None
    """Of files without a header."""
    raw_channels: int = 1
    """Interleaved in files without a header."""


def raw_reading(text: str, channel: int | None) -> Reading:
    """Read ENCODING:RATE or ENCODING:RATE:CHANNELS, such as pcm16le:8000.

    Raises OptionInvalid and SampleRateUnsupported.
    """
    encoding, _, numbers = text.partition(":")
    known = {one.value: one for one in Encoding}
    counts = [int(n) if _COUNT.fullmatch(n) else 0 for n in numbers.split(":")]
    if encoding not in known or len(counts) > 2 or not all(counts):
        raise OptionInvalid(
            "--raw",
            f"{text} is no ENCODING:RATE[:CHANNELS] with one of {', '.join(known)},"
            " such as pcm16le:8000 or mulaw:8000:2",
        )
    audio = AudioFormat(known[encoding], counts[0])
    check_format(audio)
    return Reading(channel, audio, *counts[1:])


def read_recording(
    path: Path,
    rate_hz: int,
    *,
    channel: int | None = None,
    raw: AudioFormat | None = None,
    raw_channels: int = 1,
) -> Float32:
    """Read one channel of an audio file.

    Args:
        path: wav, flac, ogg or whatever else libsndfile reads; or raw samples.
        rate_hz: Wanted; other rates (8000 to 48000) are resampled, with the daemon's filter.
        channel: From 0; None: the file must have one channel.
        raw: Format of files without a header; files that begin with the mark of a known format
            are read by their header all the same.
        raw_channels: Channels that are interleaved in files without a header.

    Returns:
        float32[n], finite, full scale 1.0; 16-bit samples are exactly int16 / 32768.

    Raises:
        AudioFileUnusable: The file is missing, no audio, damaged, cut off, without samples,
            shorter than 25 ms, or has other channels or another rate than can be read.
    """
    _check_file(path)
    try:
        if path.suffix.lower() not in RAW_SUFFIXES and (raw is None or _has_header(path)):
            samples = _read_container(path, rate_hz, channel)
        elif raw is None:
            raise AudioFileUnusable(path, "raw samples; say of what kind, as in --raw pcm16le:8000")
        else:
            samples = _read_raw(
                path, rate_hz, raw, _chosen(path, channel, raw_channels), raw_channels
            )
    except InvalidInput as error:
        raise AudioFileUnusable(path, str(error)) from error
    except OSError as error:
        raise AudioFileUnusable(path, error.strerror or str(error)) from error
    if len(samples) < SHORTEST_S * rate_hz:
        raise AudioFileUnusable(path, _too_short(len(samples), rate_hz))
    return samples


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AudioFileUnusable(path, error.strerror or str(error)) from error
    if stat.S_ISDIR(mode):
        raise AudioFileUnusable(path, "it is a folder")
    if not stat.S_ISREG(mode):
        raise AudioFileUnusable(path, "it is no regular file")


def _has_header(path: Path) -> bool:
    with path.open("rb") as file:
        return has_header(file)


def _too_short(samples: int, rate_hz: int) -> str:
    if not samples:
        return "it has no samples"
    return (
        f"it has {1000 * samples / rate_hz:.1f} ms of audio, at least"
        f" {1000 * SHORTEST_S:.0f} ms are needed for an embedding"
    )


def _read_container(path: Path, rate_hz: int, channel: int | None) -> Float32:
    with path.open("rb") as content:
        check_whole(content)
    try:
        with soundfile.SoundFile(path) as file:
            at = _chosen(path, channel, file.channels)
            exact = file.subtype in _EXACT_IN_16_BITS
            encoding = Encoding.PCM16LE if exact else Encoding.FLOAT32LE
            ingest = Ingest(AudioFormat(encoding, file.samplerate), rate_hz)
            pieces = [ingest.push(block) for block in _blocks(file, at, exact)]
            found, promised = ingest.received_samples, file.frames
    except soundfile.LibsndfileError as error:
        raise AudioFileUnusable(path, f"it is no audio, or is damaged ({error})") from error
    if found < promised:
        problem = f"it is cut off or damaged: {found} of {promised} samples could be read"
        raise AudioFileUnusable(path, problem)
    return np.concatenate([*pieces, ingest.end()])


def _blocks(file: soundfile.SoundFile, at: int, exact: bool) -> Iterator[bytes]:
    """Read one channel, from 0, as the bytes of its samples; a header's promise is not trusted."""
    kind = "int16" if exact else "float32"
    frames = max(1, _BLOCK_VALUES // file.channels)
    while len(block := file.read(frames, dtype=kind, always_2d=True)):
        yield block[:, at].astype("<i2" if exact else "<f4").tobytes()


def _read_raw(path: Path, rate_hz: int, raw: AudioFormat, at: int, channels: int) -> Float32:
    ingest = Ingest(raw, rate_hz)
    content = path.read_bytes()
    if channels > 1:
        if len(content) % (raw.sample_bytes * channels):
            raise AudioFileUnusable(path, "it ends inside a sample; check --raw")
        sample = np.dtype((np.void, raw.sample_bytes))
        content = np.frombuffer(content, sample).reshape(-1, channels)[:, at].tobytes()
    return np.concatenate([ingest.push(content), ingest.end()])


def _chosen(path: Path, channel: int | None, channels: int) -> int:
    """Give the index of the wanted channel."""
    if channel is None and channels > 1:
        problem = f"it has {channels} channels; choose one with --channel 0 to {channels - 1}"
        raise AudioFileUnusable(path, problem)
    wanted = 0 if channel is None else channel
    if not 0 <= wanted < channels:
        there = "channel 0 only" if channels == 1 else f"0 to {channels - 1}"
        raise AudioFileUnusable(path, f"it has no channel {wanted}, it has {there}")
    return wanted
