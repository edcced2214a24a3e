"""Kaldi's files: lists of recordings (wav.scp) in, vectors (ark with scp) out, without numpy."""

from __future__ import annotations

import codecs
import os
import re
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speakerd_client.checks import require
from speakerd_client.errors import InvalidList

_VECTOR_HEAD = b"\0BFV \4"
_PAIR_FILE = re.compile(r"xvector_\d{3,}\.(ark|scp)")
_NEW = ".new"
_WANTED = "an id and the path of an audio file, separated by blanks"


@dataclass(frozen=True, slots=True)
class ListedRecording:
    """One recording of a list."""

    recording_id: str
    """Names it in the output: no blanks, unique in its list."""
    path: Path
    """The audio file; it may be missing."""

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for what no ark can hold."""
        require(self.recording_id, str, "recording_id", "text")
        require(self.path, Path, "path", "a pathlib.Path")
        if self.recording_id.split() != [self.recording_id] or "\0" in self.recording_id:
            raise ValueError(
                f"a recording's id has at least one character and no blank: {self.recording_id!r}"
            )


def read_wav_scp(
    path: str | Path, data_dir: str | Path | None = None
) -> tuple[ListedRecording, ...]:
    """Read a wav.scp, `id path` on each line, in its order; empty lines are passed over.

    Args:
        path: UTF-8 text; a byte order mark and CRLF are taken as well.
        data_dir: Folder that relative paths in it are below; None: the current folder.

    Raises:
        InvalidList: The list cannot be read, is no UTF-8 text or empty, or a line (it is named)
            has another number of fields, a command in place of a path, or an id again.
    """
    found: list[ListedRecording] = []
    lines: dict[str, int] = {}
    for number, fields in _lines(path):
        if len(fields) != 2:
            raise InvalidList(f"{path}, line {number}: {_wrong_count(fields)}")
        recording_id, name = fields
        if name.startswith("|") or name.endswith("|"):
            raise InvalidList(f"{path}, line {number}: {_command(name)}")
        first = lines.setdefault(recording_id, number)
        if first != number:
            raise InvalidList(
                f"{path}, line {number}: the id {recording_id} stands in line {first} already"
            )
        try:
            found.append(ListedRecording(recording_id, Path(data_dir or "") / name))
        except ValueError as error:
            raise InvalidList(f"{path}, line {number}: {error}") from error
    if not found:
        raise InvalidList(f"{path}: it is empty; each line must hold {_WANTED}")
    return tuple(found)


def float_vector(values: Sequence[float]) -> bytes:
    """Write float32[n] as Kaldi's binary vector: a mark, the length, the values."""
    numbers = array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return _VECTOR_HEAD + struct.pack("<i", len(numbers)) + numbers.tobytes()


def vector_bytes(dim: int) -> int:
    """Give the length of a `float_vector` of so many values."""
    return len(_VECTOR_HEAD) + 4 + 4 * dim


def pair_files(folder: Path) -> list[Path]:
    """Give the finished files xvector_NNN.ark and .scp of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if _PAIR_FILE.fullmatch(path.name))


def write_pairs(folder: Path, parts: Iterable[Iterable[tuple[str, bytes]]]) -> None:
    """Write each part as xvector_NNN.ark with its .scp, in place of all that are there.

    All are written under other names first. The old lists go before the old arks, so that at no
    moment, a crash among them, a list points into an ark that is not its own.

    Args:
        folder: Where.
        parts: Of each part ids and `float_vector`s, in their order.

    Raises:
        OSError: Something cannot be written; what was there is untouched then.
    """
    written: list[str] = []
    try:
        for index, records in enumerate(parts):
            ark, scp = f"xvector_{index:03d}.ark", f"xvector_{index:03d}.scp"
            written += [ark, scp]
            _write_pair(folder, ark, scp, records)
    except BaseException:
        for name in written:
            with suppress(OSError):
                (folder / (name + _NEW)).unlink()
        raise
    for old in sorted(pair_files(folder), key=lambda path: path.suffix, reverse=True):
        old.unlink()
    for name in sorted(written, key=lambda name: name[-3:]):
        os.replace(folder / (name + _NEW), folder / name)
    for stale in folder.glob(f"xvector_*{_NEW}"):
        stale.unlink()


def _write_pair(
    folder: Path, ark_name: str, scp_name: str, records: Iterable[tuple[str, bytes]]
) -> None:
    final = os.fsencode(folder.absolute() / ark_name)
    with (
        open(folder / (ark_name + _NEW), "wb") as ark,
        open(folder / (scp_name + _NEW), "wb") as scp,
    ):
        at = 0
        for recording_id, vector in records:
            key = recording_id.encode() + b" "
            at += len(key)
            scp.write(key + final + b":%d\n" % at)
            ark.write(key + vector)
            at += len(vector)
        for file in (ark, scp):
            file.flush()
            os.fsync(file.fileno())


def _lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Give number and fields of each line; as in Kaldi, only ASCII blanks separate fields."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InvalidList(f"{path}: it cannot be read ({error.strerror or error})") from error
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if utf16 or b"\0" in content:
        raise InvalidList(f"{path}: it is no UTF-8 text; save it as UTF-8")
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            fields = [field.decode() for field in line.split()]
        except UnicodeDecodeError as error:
            raise InvalidList(f"{path}, line {number}: it is no UTF-8 text") from error
        if fields:
            yield number, fields


def _wrong_count(fields: list[str]) -> str:
    if fields[-1].endswith("|") or (len(fields) > 1 and fields[1].startswith("|")):
        return _command(" ".join(fields[1:]) or fields[0])
    text = f"it has {len(fields)} field{'s' * (len(fields) != 1)}, it must hold {_WANTED}"
    if len(fields) > 2:
        text += "; a path with blanks in it cannot be listed: rename the file"
    return text


def _command(what: str) -> str:
    return (
        f"{what} is a command, and speakerctl never runs what stands in a list;"
        " write its output to a file and name that"
    )
