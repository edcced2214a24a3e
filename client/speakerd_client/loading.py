"""A listed recording becomes audio, or a sentence that says why not."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from speakerd_client.audio import Audio, read_audio
from speakerd_client.errors import AudioFileError

LARGEST_FILE_BYTES = 1 << 30
"""Ten minutes of 8 channels in 32 bits at 48 kHz fit; more is refused unread."""
_LENGTH_UNKNOWN = 0x7FFF0000
"""Programs that write WAV into a pipe state a length from here up."""
_LARGEST_OGG_PAGE_BYTES = 65307
_OGG_HEAD_BYTES = 27
_OGG_LAST_PAGE = 4


def load_whole(path: Path, channel: int | None = None) -> Audio:
    """Read an audio file as `read_audio` does, but never a part of one for the whole.

    Raises:
        AudioFileError: As in `read_audio`, or it is no plain file, empty, larger than any recording
            that can be sent whole, or a WAV or Ogg file that was cut.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise AudioFileError(f"{path}: no plain file")
    if not found.st_size:
        raise AudioFileError(f"{path}: the file is empty")
    if found.st_size > LARGEST_FILE_BYTES:
        raise AudioFileError(
            f"{path}: {found.st_size >> 20} MiB, too long; a recording of at most 10 minutes can be"
            " sent whole: cut it into parts"
        )
    _refuse_cut_wav(path, found.st_size)
    _refuse_cut_ogg(path, found.st_size)
    return read_audio(path, channel)


def _refuse_cut_wav(path: Path, file_bytes: int) -> None:
    """Refuse a WAV file that holds less than its header says; `read_wav` takes what is there."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if head[:4] != b"RIFF" or head[8:] != b"WAVE":
                return
            while len(chunk := file.read(8)) == 8:
                name, size_bytes = struct.unpack("<4sI", chunk)
                held_bytes = file_bytes - file.tell()
                if name == b"data":
                    break
                file.seek(size_bytes + size_bytes % 2, os.SEEK_CUR)
            else:
                return
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
    if held_bytes < size_bytes < _LENGTH_UNKNOWN:
        raise AudioFileError(
            f"{path}: the file was cut: its header says {size_bytes} bytes of samples, there are"
            f" {held_bytes}"
        )


def _refuse_cut_ogg(path: Path, file_bytes: int) -> None:
    """Refuse an Ogg file without a whole last page, which decoders do not mind (RFC 3533, 6)."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"OggS":
                return
            file.seek(max(0, file_bytes - _LARGEST_OGG_PAGE_BYTES))
            tail = file.read()
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror or error}") from error
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    count = page[_OGG_HEAD_BYTES - 1] if len(page) >= _OGG_HEAD_BYTES else 0
    page_bytes = _OGG_HEAD_BYTES + count + sum(page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + count])
    if len(page) < page_bytes or not page[5] & _OGG_LAST_PAGE:
        raise AudioFileError(f"{path}: the file was cut: its last part is missing")
