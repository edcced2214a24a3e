"""Kaldi's archives of vectors, read strictly: float and double, binary and text.

An entry is `id`, a blank and a vector. A binary vector is 0x00 'B', `FV ` or `DV `, 0x04, an
int32 count and the values, little endian; a text vector is ` [ v v v ]` and a line feed. Source:
Kaldi, matrix/kaldi-vector.cc.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import Float32

_TYPES: Mapping[bytes, np.dtype[Any]] = {b"FV ": np.dtype("<f4"), b"DV ": np.dtype("<f8")}
_LONGEST_ID_BYTES = 4096


class Damaged(Exception):
    """The bytes are no archive of vectors; str() says why, without the file's name."""


def ark_entry(name: str, vector: Float32) -> tuple[bytes, int]:
    """Give the bytes of one entry, float32[dim] in binary, and the vector's offset in them."""
    start = name.encode("utf-8") + b" "
    head = b"\0BFV \4" + struct.pack("<i", len(vector))
    return start + head + vector.astype("<f4").tobytes(), len(start)


def read_ark(file: IO[bytes]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Give each entry of an archive: id and float32[dim] or float64[dim]. Raises Damaged."""
    while (name := _read_id(file)) is not None:
        try:
            vector = read_vector(file)
        except Damaged as error:
            raise Damaged(f"{name}: {error}") from error
        yield name, vector


def read_vector(file: IO[bytes], offset: int | None = None) -> NDArray[Any]:
    """Read the vector at an offset, or where the file stands. Raises Damaged."""
    if offset is not None:
        # A longer one than the file may be more than the system can count to.
        file.seek(min(offset, os.fstat(file.fileno()).st_size))
    mark = file.read(2)
    if mark == b"\0B":
        return _read_binary(file)
    if mark[:1] in (b" ", b"["):
        return _read_text(mark + file.readline())
    raise Damaged("the file is cut off" if len(mark) < 2 else "there is no vector at its place")


def _read_id(file: IO[bytes]) -> str | None:
    """Read up to the blank; None at the end of the file."""
    token = bytearray()
    while (byte := file.read(1)) not in (b"", b" "):
        if byte in b"\r\n" and not token:
            continue
        token += byte
        if len(token) > _LONGEST_ID_BYTES or byte.isspace() or byte == b"\0":
            raise Damaged(
                "it is no Kaldi archive, or is damaged: there is no id at an entry's start"
            )
    if not byte and token:
        raise Damaged("the file is cut off in an id")
    try:
        return token.decode("utf-8") if byte else None
    except UnicodeDecodeError as error:
        raise Damaged("an id is no UTF-8 text") from error


def _read_binary(file: IO[bytes]) -> NDArray[Any]:
    kind = file.read(3)
    if kind not in _TYPES:
        raise Damaged(_other_kind(kind))
    dtype = _TYPES[kind]
    head = file.read(5)
    if len(head) < 5:
        raise Damaged("the file is cut off")
    (count,) = struct.unpack("<i", head[1:])
    if head[:1] != b"\4" or count < 0:
        raise Damaged("the vector's length is damaged")
    left = os.fstat(file.fileno()).st_size - file.tell()
    if count * dtype.itemsize > left:
        raise Damaged(f"the file is cut off: {count} values are promised, {left} bytes are left")
    vector: NDArray[Any] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return vector


def _other_kind(kind: bytes) -> str:
    if len(kind) < 3:
        return "the file is cut off"
    if kind[1:2] == b"M" or kind in (b"SP ", b"CM2", b"CM3"):
        return f"there is a matrix ({kind.decode('ascii', 'replace').strip()}) and no vector"
    return "there is no vector at its place"


def _read_text(line: bytes) -> NDArray[Any]:
    fields = line.split()
    if not line.endswith(b"\n") or fields[:1] != [b"["] or fields[-1:] != [b"]"]:
        raise Damaged("the text vector is no `[ ... ]` on one line")
    try:
        return np.array([float(field) for field in fields[1:-1]])
    except ValueError as error:
        raise Damaged(f"the text vector has something that is no number ({error})") from error
