"""Files of embeddings: Kaldi's ark and scp, npz, and the text that WeSpeaker's C++ tool prints."""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import OutputUnusable, VectorsUnusable
from speakerd_server.offline.ark import Damaged, ark_entry, read_ark, read_vector
from speakerd_server.offline.lists import check_no_command, check_unique, read_fields
from speakerd_server.values import Float32

_OFFSET_DIGITS = 18
"""More than those of any file."""

Named = tuple[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Embeddings with their ids, in the file's order."""

    ids: tuple[str, ...]
    """Of the utterances or speakers; each is there once."""
    values: Float32
    """float32[n, dim], finite; n is at least 1."""


def read_vectors(path: Path) -> Vectors:
    """Read a file of embeddings; what it is is told by its suffix.

    `.scp` (id path:offset; a relative path is looked for in the current folder, as Kaldi does,
    and then in the list's own), `.ark` (float or double, binary or text), `.npz` (arrays `ids`
    and `embeddings`), `.txt` (id and values on each line). Doubles are rounded to float32.

    Raises:
        VectorsUnusable: The file, or one that it names, is missing, damaged or of another kind;
            there is no embedding in it, an id twice, two lengths, or a NaN.
        ListInvalid: A `.scp` is not as a list must be.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise VectorsUnusable(path, f"its name must end with one of {', '.join(_READERS)}")
    try:
        return _collected(path, reader(path))
    except OSError as error:
        raise VectorsUnusable(path, error.strerror or str(error)) from error


def write_ark(path_ark: Path, path_scp: Path, vectors: Iterable[Named]) -> None:
    """Write float32 vectors as a binary ark and its scp: the bytes of kaldiio's WriteHelper.

    Both are written whole or not at all; the scp names the ark by `path_ark`, as it was given.
    Raises OutputUnusable.
    """
    with _whole(path_ark) as ark, _whole(path_scp) as scp:
        at = 0
        for name, vector in vectors:
            entry, offset = ark_entry(name, vector)
            ark.write(entry)
            scp.write(f"{name} {path_ark}:{at + offset}\n".encode())
            at += len(entry)


def write_text(path: Path, vectors: Iterable[Named]) -> None:
    """Write id and values on each line, blank-separated, as WeSpeaker's C++ tool prints them.

    A float32 has 6 significant digits there (C++'s `<<`, which is %g). The file is written whole
    or not at all. Raises OutputUnusable.
    """
    with _whole(path) as file:
        for name, vector in vectors:
            values = " ".join([f"{value:g}" for value in vector.astype(np.float32).tolist()])
            file.write(f"{name} {values}\n".encode())


def write_npz(path: Path, ids: Sequence[str], values: Float32) -> None:
    """Write the arrays `ids` (text [n]) and `embeddings` (float32[n, dim]) of a npz file.

    It is written whole or not at all. Raises OutputUnusable.
    """
    with _whole(path) as file:
        np.savez(file, ids=np.array(ids, np.str_), embeddings=values.astype(np.float32))


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Write beside a file and put it in its place, on the disk, once all of it is there."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error
    finally:
        beside.unlink(missing_ok=True)


def _collected(path: Path, named: Iterable[Named]) -> Vectors:
    """Check what a file holds and put it into one array."""
    ids: dict[str, None] = {}
    rows: list[Float32] = []
    for name, vector in named:
        if name in ids:
            raise VectorsUnusable(path, f"the id {name} is there twice")
        ids[name] = None
        rows.append(_checked(path, name, vector, len(rows[0]) if rows else len(vector)))
    if not rows:
        raise VectorsUnusable(path, "there is no embedding in it")
    return Vectors(tuple(ids), np.stack(rows))


def _checked(path: Path, name: str, vector: NDArray[Any], dim: int) -> Float32:
    if len(vector) != dim or not dim:
        raise VectorsUnusable(path, f"{name} has {len(vector)} values, the first has {dim}")
    with np.errstate(over="ignore", invalid="ignore"):
        values: Float32 = vector.astype(np.float32)
    if not np.isfinite(values).all():
        raise VectorsUnusable(path, f"{name} has a value that is NaN or infinite")
    return values


def _read_scp(path: Path) -> Iterator[Named]:
    entries = read_fields(path, {2}, "an id and path:offset")
    check_unique(path, [(number, fields[0]) for number, fields in entries])
    opened: tuple[str, IO[bytes]] | None = None
    try:
        for number, fields in entries:
            check_no_command(path, number, fields)
            name, place = fields
            ark, offset = _place(path, name, place)
            if opened is None or opened[0] != ark:
                if opened is not None:
                    opened[1].close()
                opened = ark, _open_beside(path, name, ark)
            try:
                yield name, read_vector(opened[1], offset)
            except Damaged as error:
                raise VectorsUnusable(path, f"{name}, in {ark}: {error}") from error
    finally:
        if opened is not None:
            opened[1].close()


def _place(path: Path, name: str, place: str) -> tuple[str, int]:
    """Split path:offset; a path alone is a file with one vector."""
    if place.endswith("]"):
        raise VectorsUnusable(path, f"{name} names a part of a matrix, {place}, and no vector")
    ark, colon, digits = place.rpartition(":")
    if colon and digits.isascii() and digits.isdigit():
        return ark, int(digits) if len(digits) <= _OFFSET_DIGITS else sys.maxsize
    return place, 0


def _open_beside(path: Path, name: str, ark: str) -> IO[bytes]:
    here, beside = Path(ark), path.parent / ark
    try:
        return (here if here.exists() else beside).open("rb")
    except OSError as error:
        problem = f"{name} is in {ark}, which cannot be read ({error.strerror})"
        raise VectorsUnusable(path, problem) from error


def _read_ark(path: Path) -> Iterator[Named]:
    with path.open("rb") as file:
        try:
            yield from read_ark(file)
        except Damaged as error:
            raise VectorsUnusable(path, str(error)) from error


def _read_text(path: Path) -> Iterator[Named]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            name = fields[0].decode("utf-8")
            yield name, np.array([float(field) for field in fields[1:]])
        except ValueError as error:
            problem = f"line {number} is not an id and numbers ({error})"
            raise VectorsUnusable(path, problem) from error


def _read_npz(path: Path) -> Iterator[Named]:
    try:
        ids, embeddings = _npz_arrays(path)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise VectorsUnusable(path, f"it is no npz, or is damaged ({error})") from error
    except (MemoryError, NotImplementedError, RuntimeError, SyntaxError) as error:
        problem = f"it is no npz of embeddings ({type(error).__name__}: {error})"
        raise VectorsUnusable(path, problem) from error
    if ids.ndim != 1 or ids.dtype.kind != "U" or embeddings.dtype.kind != "f":
        raise VectorsUnusable(path, "`ids` must be text [n] and `embeddings` floats [n, dim]")
    if embeddings.ndim != 2 or len(ids) != len(embeddings):
        problem = f"`ids` has the shape {ids.shape} and `embeddings` {embeddings.shape}"
        raise VectorsUnusable(path, problem)
    yield from zip(ids.tolist(), embeddings, strict=True)


def _npz_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    with path.open("rb") as file:
        # Without this, numpy takes what is no zip for a pickle, or for a single array.
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no zip file")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            ids, embeddings = arrays["ids"], arrays["embeddings"]
    if not (isinstance(ids, np.ndarray) and isinstance(embeddings, np.ndarray)):
        raise ValueError("`ids` or `embeddings` is no array")
    return ids, embeddings


_READERS: Mapping[str, Callable[[Path], Iterator[Named]]] = {
    ".scp": _read_scp,
    ".ark": _read_ark,
    ".npz": _read_npz,
    ".txt": _read_text,
}
