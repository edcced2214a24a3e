"""Does a file hold all that its header promises? libsndfile gives less of it without a word."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

from speakerd_server.errors import AudioFileUnusable

_MARKS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd")
_UNKNOWN_LENGTHS = (0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF)
"""Written by programs that wrote to a pipe: the audio goes on to the end of the file."""
_IN_DS64 = 0xFFFF_FFFF
_OGG_HEAD_BYTES = 27
_LONGEST_OGG_PAGE_BYTES = _OGG_HEAD_BYTES + 255 + 255 * 255
_OGG_LAST_PAGE = 4


def has_header(path: Path) -> bool:
    """Tell whether a file begins with the mark of a format that says itself what it holds."""
    with path.open("rb") as file:
        return file.read(4) in _MARKS


def check_whole(path: Path) -> None:
    """Raise AudioFileUnusable for a WAV or Ogg file that ends before its audio does.

    FLAC says how many samples there are, so reading it tells.
    """
    with path.open("rb") as file:
        mark = file.read(4)
        if mark in (b"RIFF", b"RF64", b"RIFX"):
            _check_wav(path, file, ">" if mark == b"RIFX" else "<")
        elif mark == b"OggS":
            _check_ogg(path, file)


def _check_wav(path: Path, file: IO[bytes], order: str) -> None:
    """Walk the chunks to the one with the samples and compare its size with the file's."""
    size_bytes = os.fstat(file.fileno()).st_size
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
            if promised > size_bytes - start:
                raise AudioFileUnusable(
                    path,
                    f"it is cut off, or its header is wrong: {promised} bytes of audio are"
                    f" promised and {size_bytes - start} are there",
                )
            return
        file.seek(start + promised + promised % 2)
    raise AudioFileUnusable(path, "it is a WAV file that is cut off before its audio")


def _check_ogg(path: Path, file: IO[bytes]) -> None:
    """The last page must be whole and say that it is the last. Source: RFC 3533, section 6."""
    size_bytes = os.fstat(file.fileno()).st_size
    file.seek(max(0, size_bytes - _LONGEST_OGG_PAGE_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    page = tail[at:] if at >= 0 else b""
    segments = page[_OGG_HEAD_BYTES - 1] if len(page) >= _OGG_HEAD_BYTES else 0
    sizes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + segments]
    whole = len(page) >= _OGG_HEAD_BYTES + segments + sum(sizes) and len(sizes) == segments
    if not whole or not page[5] & _OGG_LAST_PAGE:
        raise AudioFileUnusable(path, "it is cut off: it has no last Ogg page")
