"""Files that say themselves what is in them: WAV, FLAC, Ogg; read by libsndfile, piece by piece.

libsndfile gives less than a header promises without a word, so that is looked at here.
"""

from __future__ import annotations

import enum
import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import soundfile

from speakerd_server.audio.decode import check_format
from speakerd_server.errors import (
    AudioFileInvalid,
    AudioTooLong,
    ChannelsUnsupported,
    ChannelUnknown,
    SampleRateContradicted,
)
from speakerd_server.values import AudioFormat, Encoding


class Container(enum.Enum):
    """A file that says itself what is in it."""

    WAV = "wav"
    FLAC = "flac"
    OGG_OPUS = "ogg_opus"


@dataclass(frozen=True, slots=True)
class ContainerFormat:
    """What a client says of a file."""

    container: Container
    """What it is."""
    sample_rate_hz: int = 0
    """Samples per second; 0: what the file says."""
    channels: int = 0
    """1 or 2; 0: what the file says."""
    channel: int = 0
    """The one that is heard, from 1; 0: the only one."""


_BLOCK_VALUES = 1 << 18
_EXACT_IN_16_BITS = ("PCM_16", "ULAW", "ALAW")
_FORMATS = {
    Container.WAV: ("WAV", "WAVEX", "RF64"),
    Container.FLAC: ("FLAC",),
    Container.OGG_OPUS: ("OGG",),
}
_MARKS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd")
_UNKNOWN_LENGTHS = (0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF)
"""Written by programs that wrote to a pipe: the audio goes on to the end of the file."""
_IN_DS64 = 0xFFFF_FFFF
_OGG_HEAD_BYTES = 27
_LONGEST_OGG_PAGE_BYTES = _OGG_HEAD_BYTES + 255 + 255 * 255
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 2, 4


def has_header(file: IO[bytes]) -> bool:
    """Tell whether a file begins with the mark of a format that says itself what it holds."""
    return file.read(4) in _MARKS


def check_whole(file: IO[bytes]) -> None:
    """Raise AudioFileInvalid for a WAV or Ogg file that ends before its audio does.

    FLAC says how many samples there are, so reading it tells.
    """
    mark = file.read(4)
    if mark in (b"RIFF", b"RF64", b"RIFX"):
        _check_wav(file, ">" if mark == b"RIFX" else "<")
    elif mark == b"OggS":
        _check_ogg(file)


def _check_wav(file: IO[bytes], order: str) -> None:
    """Walk the chunks to the one with the samples and compare its size with the file's."""
    size_bytes = file.seek(0, os.SEEK_END)
    long_bytes = None
    file.seek(12)
    while len(head := file.read(8)) == 8:
        (promised,) = struct.unpack(order + "I", head[4:])
        start = file.tell()
        if head[:4] == b"ds64" and len(sizes := file.read(16)) == 16:
            (long_bytes,) = struct.unpack(order + "8xQ", sizes)
        if head[:4] == b"data":
            if promised == _IN_DS64 and long_bytes is not None:
                promised = long_bytes
            elif promised in _UNKNOWN_LENGTHS:
                return
            _check_promise(file, order, promised, size_bytes - start)
            return
        file.seek(start + promised + promised % 2)
    raise AudioFileInvalid("it is a WAV file that is cut off before its audio")


def _check_promise(file: IO[bytes], order: str, promised: int, there: int) -> None:
    """Compare how much audio a header promises with the bytes that follow it."""
    if promised > there:
        raise AudioFileInvalid(
            f"it is cut off, or its header is wrong: {promised} bytes of audio are"
            f" promised and {there} are there",
        )
    if promised or there < 8:
        return
    (size_bytes,) = struct.unpack(order + "4xI", file.read(8))
    if size_bytes > there - 8:  # what follows is no chunk
        raise AudioFileInvalid(
            f"its header promises no audio and {there} bytes follow: it was not finished"
        )


def _check_ogg(file: IO[bytes]) -> None:
    """The last page must be whole and say that it is the last. Source: RFC 3533, section 6."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, size_bytes - _LONGEST_OGG_PAGE_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    page = tail[at:] if at >= 0 else b""
    segments = page[_OGG_HEAD_BYTES - 1] if len(page) >= _OGG_HEAD_BYTES else 0
    sizes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + segments]
    whole = len(page) >= _OGG_HEAD_BYTES + segments + sum(sizes) and len(sizes) == segments
    if not whole or not page[5] & _OGG_LAST_PAGE:
        raise AudioFileInvalid("it is cut off: it has no last Ogg page")


def _check_one_stream(content: bytes) -> None:
    """Page follows page, and the first alone may begin a stream. Source: RFC 3533, section 6."""
    at = 0
    while at < len(content):
        table = at + _OGG_HEAD_BYTES
        head = content[at:table]
        if not head.startswith(b"OggS") or len(head) < _OGG_HEAD_BYTES:
            raise AudioFileInvalid(f"it is damaged: no page begins at byte {at}")
        if head[5] & _OGG_FIRST_PAGE and at:
            raise AudioFileInvalid("there is more than one stream in it; send one in a call")
        at = table + head[-1] + sum(content[table : table + head[-1]])


class ContainedAudio:
    """One channel of a file in memory, read as it is asked for.

    Args:
        content: The file.
        wanted: What the client says of it.
        longest_s: More audio is refused.

    Raises:
        AudioFileInvalid: It is no such file, is damaged, ends before its audio does, or is more
            than one Ogg stream, of which libsndfile would read the first.
        SampleRateUnsupported: Of the file.
        SampleRateContradicted: The file's rate is not what the client says.
        ChannelsUnsupported: More than two, or not as many as the client says.
        ChannelUnknown: Two, of which none was chosen, or one that is not there.
        AudioTooLong: By the header.
    """

    def __init__(self, content: bytes, wanted: ContainerFormat, longest_s: float) -> None:
        check_whole(io.BytesIO(content))
        try:
            self._file = soundfile.SoundFile(io.BytesIO(content))
        except soundfile.LibsndfileError as error:
            raise AudioFileInvalid(f"it is no {wanted.container.value}, or damaged") from error
        _check_kind(self._file, wanted)
        if wanted.container is Container.OGG_OPUS:
            _check_one_stream(content)
        rate_hz = self._file.samplerate
        self._exact = self._file.subtype in _EXACT_IN_16_BITS
        encoding = Encoding.PCM16LE if self._exact else Encoding.FLOAT32LE
        self.audio_format = AudioFormat(encoding, rate_hz)
        """Of the pieces."""
        check_format(self.audio_format)
        if wanted.sample_rate_hz not in (0, rate_hz):
            raise SampleRateContradicted(wanted.sample_rate_hz, rate_hz)
        channels = self._file.channels
        if channels > 2 or wanted.channels not in (0, channels):
            raise ChannelsUnsupported(channels, wanted.channels)
        if wanted.channel > channels or (channels == 2 and not wanted.channel):
            raise ChannelUnknown(wanted.channel, channels)
        self._at = max(wanted.channel, 1) - 1
        self._longest_s, self._longest = longest_s, round(longest_s * rate_hz)
        self._check_length(self._file.frames)

    def pieces(self) -> Iterator[bytes]:
        """Give the samples of the chosen channel; raises AudioFileInvalid and AudioTooLong."""
        kind, found = ("int16", "<i2") if self._exact else ("float32", "<f4"), 0
        frames = max(1, min(_BLOCK_VALUES // self._file.channels, self.audio_format.sample_rate_hz))
        try:
            while len(block := self._file.read(frames, dtype=kind[0], always_2d=True)):
                found += len(block)
                self._check_length(found)
                yield block[:, self._at].astype(kind[1]).tobytes()
        except soundfile.LibsndfileError as error:
            raise AudioFileInvalid(f"it is damaged after {found} samples") from error
        if found < self._file.frames:
            promised = self._file.frames
            raise AudioFileInvalid(f"it is cut off: {found} of {promised} samples are there")

    def _check_length(self, samples: int) -> None:
        if samples > self._longest:
            raise AudioTooLong(self._longest_s, "send it as a stream, or in parts")


def _check_kind(file: soundfile.SoundFile, wanted: ContainerFormat) -> None:
    right = file.format in _FORMATS[wanted.container]
    if wanted.container is Container.OGG_OPUS:
        right = right and file.subtype == "OPUS"
    if not right:
        found = f"{file.format} with {file.subtype}"
        raise AudioFileInvalid(f"it is {found} and not {wanted.container.value}")
