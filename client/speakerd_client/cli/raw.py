"""Raw audio on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from speakerd_client.audio import AudioFormat
from speakerd_client.errors import AudioFileError

_CONTAINERS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg"}
_HEAD_BYTES = 4


def standard_input(wire_format: AudioFormat, message_ms: int) -> Iterator[bytes]:
    """Read raw audio as it comes, at most `message_ms` at once.

    Raises:
        AudioFileError: There is no input, or it is a file with a header, which is not raw audio.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioFileError("no audio on standard input; pipe raw samples into `verify ID -`")
    size_bytes = max(1, wire_format.bytes_per_second * message_ms // 1000)
    return _pieces(sys.stdin.fileno(), size_bytes)


def _pieces(descriptor: int, size_bytes: int) -> Iterator[bytes]:
    """Read the descriptor itself: a thread waiting in sys.stdin would abort the process's end."""
    head = b""
    while len(head) < _HEAD_BYTES and (piece := os.read(descriptor, size_bytes)):
        head += piece
    if name := _CONTAINERS.get(head[:_HEAD_BYTES]):
        raise AudioFileError(
            f"standard input is a {name} file, `-` takes raw samples only; give the file's name"
            " instead, or convert it with `sox FILE -t raw -`"
        )
    if head:
        yield head
    while piece := os.read(descriptor, size_bytes):
        yield piece
