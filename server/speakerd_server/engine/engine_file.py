"""Engine files: a header that says what the engine is of and for, the engine, and a digest of both.

    8 bytes   "SPKDENG" and the format, 1
    4 bytes   length of the header, unsigned, little-endian
    header    JSON in UTF-8: the fields of `EngineKey`, and plan_bytes
    plan      what the library serialised
    32 bytes  SHA-256 of all before

Nothing of a file reaches the library before digest and key were found right.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import struct
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speakerd_server.engine.engine_key import SUFFIX, EngineKey
from speakerd_server.errors import EngineFileMissing, EngineFileRefused, OutputUnusable

MAGIC = b"SPKDENG\x01"

_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
_MOST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine and what it is of and for."""

    key: EngineKey
    """As its header says."""
    plan: bytes
    """What the library reads."""


class _Damaged(Exception):
    """The bytes are no whole engine file; says why."""


def engine_bytes(engine: EngineFile) -> bytes:
    """Give the content of an engine file."""
    header = json.dumps(
        engine.key.to_fields() | {"plan_bytes": len(engine.plan)}, sort_keys=True
    ).encode()
    content = MAGIC + _LENGTH.pack(len(header)) + header + engine.plan
    return content + hashlib.sha256(content).digest()


def parse_engine(content: bytes) -> EngineFile:
    """Read the content of an engine file.

    Raises:
        ValueError: It is none, or is damaged; says why.
    """
    try:
        return _parsed(content)
    except _Damaged as error:
        raise ValueError(str(error)) from None


def write_engine(folder: Path, engine: EngineFile) -> Path:
    """Write an engine into a cache folder, whole or not at all, and give its path.

    Raises:
        OutputUnusable: The folder cannot be made or written.
    """
    path = folder / engine.key.file_name
    write_engine_to(path, engine)
    return path


def check_writable(path: Path) -> None:
    """Make the folder of a file that is about to be made. Raises OutputUnusable if none can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error


def write_engine_to(path: Path, engine: EngineFile) -> None:
    """Write an engine to a file, whole or not at all. Raises OutputUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(engine_bytes(engine))
            os.chmod(beside, 0o644)
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error


def read_engine(path: Path, wanted: EngineKey, command: str) -> EngineFile:
    """Read an engine file and check that it is whole and the wanted one.

    Args:
        path: The file.
        wanted: What it must be of and for.
        command: That builds it, for the error.

    Raises:
        EngineFileMissing: There is none.
        EngineFileRefused: It is damaged, or of or for something else; says in what it differs.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise EngineFileMissing(path, command) from error
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise EngineFileRefused(path, problem, command) from error
    try:
        engine = parse_engine(content)
    except ValueError as error:
        raise EngineFileRefused(path, str(error), command) from error
    if engine.key != wanted:
        raise EngineFileRefused(path, f"it has {wanted.differences(engine.key)}", command)
    return engine


def find_engine(folder: Path, wanted: EngineKey, command: str) -> EngineFile:
    """Read the wanted engine of a cache folder.

    Raises:
        EngineFileRefused: It is damaged or foreign; or there is none and one of the same model,
            built of or for something else, is named with what differs.
        EngineFileMissing: The folder has none of this model.
    """
    try:
        return read_engine(folder / wanted.file_name, wanted, command)
    except EngineFileMissing:
        for path in _of_same_model(folder, wanted):
            read_engine(path, wanted, command)
        raise


def _of_same_model(folder: Path, wanted: EngineKey) -> list[Path]:
    """Give the engine files of a model, the newest first."""
    try:
        found = list(folder.glob(f"{glob.escape(wanted.beginning)}*{SUFFIX}"))
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []


def _parsed(content: bytes) -> EngineFile:
    if not content.startswith(MAGIC[:-1]):
        raise _Damaged("it is no engine file of speakerd")
    if content[len(MAGIC) - 1 : len(MAGIC)] != MAGIC[-1:]:
        raise _Damaged("it is an engine file of another format")
    start = len(MAGIC) + _LENGTH.size
    if len(content) < start + _DIGEST_BYTES:
        raise _Damaged("it is cut off in its header")
    (header_bytes,) = _LENGTH.unpack(content[len(MAGIC) : start])
    if header_bytes > min(_MOST_HEADER_BYTES, len(content) - start - _DIGEST_BYTES):
        raise _Damaged("it is cut off in its header, or damaged there")
    whole, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(whole).digest() != digest:
        raise _Damaged("it is damaged or cut off: its digest is another one")
    plan = whole[start + header_bytes :]
    try:
        fields = json.loads(whole[start : start + header_bytes])
        key = EngineKey.from_fields(fields)
        fits = fields["plan_bytes"] == len(plan)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _Damaged(f"its header cannot be read ({type(error).__name__})") from error
    if not fits:
        raise _Damaged("its header tells another length of the engine")
    return EngineFile(key, plan)
