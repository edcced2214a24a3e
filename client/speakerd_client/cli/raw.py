"""Raw audio on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from speakerd_client.audio import AudioFormat
from speakerd_client.errors import AudioFileError

_CONTAINERS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg"}
_HEAD_BYTES = 4
_OPUS_BYTES = 4096


def standard_input(wire_format: AudioFormat, message_ms: int) -> Iterator[bytes]:
    """Read raw audio as it comes, at most `message_ms` at once.

    Raises:
        AudioFileError: There is no input, or it is a file with a header, which is not raw audio.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioFileError("no audio on standard input; pipe raw samples into `verify ID -`")
    size_bytes = max(1, wire_format.bytes_per_second * message_ms // 1000)
    return _pieces(sys.stdin.fileno(), size_bytes)


def opus_pieces(file: str) -> Iterator[bytes]:
    """Read an Ogg/Opus stream as it is, from a file or, "-", from standard input.

    Raises:
        AudioFileError: There is no input, or the file cannot be read.
    """
    if file != "-":
        try:
            return iter([Path(file).read_bytes()])
        except OSError as error:
            raise AudioFileError(f"{file}: {error.strerror or error}") from error
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioFileError(
            "no audio on standard input; pipe an Ogg/Opus stream into `verify ID -`"
        )
    return iter(lambda: os.read(sys.stdin.fileno(), _OPUS_BYTES), b"")


def _pieces(descriptor: int, size_bytes: int) -> Iterator[bytes]:
    """Read the descriptor itself: a thread waiting in sys.stdin would abort the process's end."""
    head = b""
    while len(head) < _HEAD_BYTES and (piece := os.read(descriptor, size_bytes)):
        head += piece
    if name := _CONTAINERS.get(head[:_HEAD_BYTES]):
        raise AudioFileError(
            f"standard input is a {name} file, `-` takes raw samples only; give the file's name"
            " instead, convert it with `sox FILE -t raw -`, or say --opus where it is Ogg/Opus"
        )
    if head:
        yield head
    while piece := os.read(descriptor, size_bytes):
        yield piece
