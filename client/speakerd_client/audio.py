"""Audio formats, and files read with the standard library or with soundfile."""

from __future__ import annotations

import enum
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speakerd_client.checks import require
from speakerd_client.errors import AudioFileError

_WAV_PCM, _WAV_FLOAT, _WAV_ALAW, _WAV_MULAW, _WAV_EXTENSIBLE = 1, 3, 6, 7, 0xFFFE


class Encoding(enum.Enum):
    """How one sample is written in audio bytes."""

    PCM16LE = "pcm16le"
    FLOAT32LE = "float32le"
    MULAW = "mulaw"
    ALAW = "alaw"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return {Encoding.PCM16LE: 2, Encoding.FLOAT32LE: 4}.get(self, 1)


_WAV_ENCODINGS = {
    (_WAV_PCM, 16): Encoding.PCM16LE,
    (_WAV_FLOAT, 32): Encoding.FLOAT32LE,
    (_WAV_ALAW, 8): Encoding.ALAW,
    (_WAV_MULAW, 8): Encoding.MULAW,
}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio bytes are to be read; one channel is heard."""

    encoding: Encoding = Encoding.PCM16LE
    """How one sample is written."""
    sample_rate_hz: int = 16000
    """Samples per second, 8000 to 48000."""
    channels: int = 1
    """Channels whose samples take turns: 1 or 2."""
    channel: int | None = None
    """Which one is heard, from 1; of two it must be chosen."""

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for what cannot be a format."""
        require(self.encoding, Encoding, "encoding", "an Encoding such as Encoding.MULAW")
        require(self.sample_rate_hz, int, "sample_rate_hz", "a whole number of Hz such as 8000")
        if self.sample_rate_hz < 1:
            raise ValueError(f"sample_rate_hz must be above 0, not {self.sample_rate_hz}")
        if self.channels not in (1, 2):
            raise ValueError(f"channels must be 1 or 2, not {self.channels}")
        if self.channel is None and self.channels == 2:
            raise ValueError("of two channels one must be chosen: channel=1 or channel=2")
        if self.channel is not None and not 1 <= self.channel <= self.channels:
            raise ValueError(f"channel must be 1 to {self.channels}, not {self.channel}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.encoding.sample_bytes * self.channels

    @property
    def bytes_per_second(self) -> int:
        """Bytes of one second of audio."""
        return self.sample_rate_hz * self.frame_bytes


@dataclass(frozen=True, slots=True)
class OggOpus:
    """The format of a stream of Opus in Ogg, as browsers and recorders make it; sent as it is."""

    channel: int | None = None
    """Which of two channels is heard, 1 or 2; None: it has one."""

    def __post_init__(self) -> None:
        """Raise ValueError for a channel that cannot be."""
        if self.channel not in (None, 1, 2):
            raise ValueError(f"channel must be 1, 2 or None, not {self.channel}")


StreamFormat = AudioFormat | OggOpus
"""How the bytes of a stream are to be read."""


@dataclass(frozen=True, slots=True)
class Audio:
    """A whole recording in memory."""

    content: bytes
    """The samples, in `format`."""
    format: AudioFormat
    """How to read them."""

    def __post_init__(self) -> None:
        """Raise TypeError for what cannot be a recording."""
        require(self.content, bytes, "content", "bytes (of an array: array.tobytes())")
        require(self.format, AudioFormat, "format", "an AudioFormat")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.content) / self.format.bytes_per_second

    def pieces(self, piece_ms: int = 100) -> Iterator[bytes]:
        """Give the audio in pieces of `piece_ms`, whole samples each, as a call would bring it."""
        samples = max(1, self.format.sample_rate_hz * piece_ms // 1000)
        step_bytes = samples * self.format.frame_bytes
        for start in range(0, len(self.content), step_bytes):
            yield self.content[start : start + step_bytes]


class Container(enum.Enum):
    """A kind of file that says itself what is in it."""

    WAV = "wav"
    FLAC = "flac"
    OGG_OPUS = "ogg_opus"


_MARKS = ((b"RIFF", Container.WAV), (b"fLaC", Container.FLAC), (b"OggS", Container.OGG_OPUS))


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A recording as a file, which the daemon decodes: for calls that send it whole."""

    content: bytes
    """All of the file."""
    container: Container
    """What kind it is."""
    channel: int | None = None
    """Which of two channels is heard, 1 or 2; None: it has one."""

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for what cannot be a file."""
        require(self.content, bytes, "content", "bytes")
        require(self.container, Container, "container", "a Container such as Container.FLAC")
        if self.channel not in (None, 1, 2):
            raise ValueError(f"channel must be 1, 2 or None, not {self.channel}")


def read_file(path: str | Path, channel: int | None = None) -> AudioFile:
    """Read a WAV, FLAC or Ogg/Opus file as it is.

    Args:
        path: The file.
        channel: Which of two channels is heard, 1 or 2.

    Raises:
        AudioFileError: The file is missing or none of these.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
    for mark, container in _MARKS:
        if content.startswith(mark):
            return AudioFile(content, container, channel)
    raise AudioFileError(f"{path}: neither WAV nor FLAC nor Ogg/Opus; use read_audio")


def read_wav(path: str | Path, channel: int | None = None) -> Audio:
    """Read a WAV file with the standard library: 16-bit, 32-bit float, mu-law or A-law.

    Args:
        path: The file.
        channel: Which channel to take, from 0; needed where there are several.

    Raises:
        AudioFileError: The file is missing, no WAV file, of another sample format, or has several
            channels and none was chosen.
    """
    try:
        chunks = _riff_chunks(Path(path).read_bytes())
        kind, channels, rate_hz, bits = _wav_header(chunks[b"fmt "])
        content = chunks[b"data"]
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
    except (KeyError, ValueError, struct.error) as error:
        raise AudioFileError(f"{path}: not a WAV file, or a damaged one") from error
    encoding = _WAV_ENCODINGS.get((kind, bits))
    if encoding is None:
        raise AudioFileError(
            f"{path}: WAV with {bits} bits a sample (kind {kind}) is not read here; convert it to"
            " 16 bits, or install speakerd-client[files] and use read_audio"
        )
    picked = _one_channel(path, content, encoding.sample_bytes, channels, channel)
    return Audio(picked, AudioFormat(encoding, rate_hz))


def read_audio(path: str | Path, channel: int | None = None) -> Audio:
    """Read any audio file: WAV as `read_wav` does, others (FLAC, Ogg, ...) with soundfile.

    Args:
        path: The file.
        channel: Which channel to take, from 0; needed where there are several.

    Raises:
        AudioFileError: As in `read_wav`, or the extra `files` is not installed.
    """
    try:
        return read_wav(path, channel)
    except AudioFileError as error:
        if isinstance(error.__cause__, OSError) or _is_readable_wav(path):
            raise
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise AudioFileError(
            f"{path}: only plain WAV is read without more; pip install 'speakerd-client[files]'"
        ) from error
    try:
        samples, rate_hz = soundfile.read(str(path), dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise AudioFileError(f"{path}: not an audio file that can be read ({error})") from error
    content = samples.astype("<i2").tobytes()
    picked = _one_channel(path, content, 2, samples.shape[1], channel)
    return Audio(picked, AudioFormat(Encoding.PCM16LE, rate_hz))


def _riff_chunks(data: bytes) -> dict[bytes, bytes]:
    """Split a RIFF file; a last chunk that says more than there is ends with the file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("no RIFF WAVE header")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size_bytes = struct.unpack_from("<4sI", data, at)
        chunks.setdefault(name, data[at + 8 : at + 8 + size_bytes])
        at += 8 + size_bytes + size_bytes % 2
    return chunks


def _wav_header(fmt: bytes) -> tuple[int, int, int, int]:
    """Read kind, channels, rate and bits; the extensible kind names the real one inside."""
    kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", fmt)
    if kind == _WAV_EXTENSIBLE:
        (kind,) = struct.unpack_from("<H", fmt, 24)
    if channels < 1 or rate_hz < 1:
        raise ValueError("no channel, or no sample rate")
    return kind, channels, rate_hz, bits


def _is_readable_wav(path: str | Path) -> bool:
    """Tell whether soundfile would do no better: the sample format is one of ours."""
    try:
        kind, _, _, bits = _wav_header(_riff_chunks(Path(path).read_bytes())[b"fmt "])
    except (KeyError, ValueError, struct.error):
        return False
    return (kind, bits) in _WAV_ENCODINGS


def _one_channel(
    path: str | Path, content: bytes, sample_bytes: int, channels: int, channel: int | None
) -> bytes:
    """Take one channel of interleaved samples."""
    if channel is None and channels > 1:
        raise AudioFileError(
            f"{path}: {channels} channels; choose one (channel 0 to {channels - 1}), for a call"
            " that of the speaker"
        )
    wanted = channel or 0
    if not 0 <= wanted < channels:
        raise AudioFileError(f"{path}: no channel {wanted}; there are 0 to {channels - 1}")
    if channels == 1:
        return content
    samples = array({1: "B", 2: "H", 4: "I"}[sample_bytes])
    samples.frombytes(content[: len(content) - len(content) % (sample_bytes * channels)])
    return samples[wanted::channels].tobytes()
