"""What SQLite reports, as the errors that speakerd names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speakerd_server.errors import (
    SpeakerdError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    StoreUnusable,
)

Failure = sqlite3.Error | UnicodeDecodeError
FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged or unusable file can raise; Python's module cannot decode every message that
SQLite gives about a damaged schema."""

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(error: Failure) -> int | None:
    """Give SQLite's primary result code; None for errors that Python's module raises itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _damaged(error: Failure) -> bool:
    if isinstance(error, UnicodeDecodeError):
        return True
    # Python raises an error of its own, without a code, for text that is no UTF-8.
    return _primary_code(error) in _CORRUPT or "decode to UTF-8" in str(error)


def named(error: Failure, path: Path) -> SpeakerdError:
    """Give StoreFull, StoreCorrupt or StoreUnavailable for a failure while the daemon runs."""
    if _damaged(error):
        return StoreCorrupt(path, str(error))
    if _primary_code(error) == sqlite3.SQLITE_FULL:
        return StoreFull(path)
    return StoreUnavailable(str(error))


def named_at_start(error: Failure, path: Path) -> SpeakerdError:
    """Give StoreCorrupt or StoreUnusable for a failure to open."""
    if _damaged(error):
        return StoreCorrupt(path, str(error))
    code = _primary_code(error)
    if code in _BUSY:
        return StoreUnusable(
            path,
            "another process uses it, perhaps another daemon; stop that one, or give this"
            " daemon a file of its own",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnusable(path, "no room is left on its disk; free some")
    return StoreUnusable(
        path, f"{error}; the daemon must be able to write this file and to the folder it is in"
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside into StoreFull, StoreCorrupt or StoreUnavailable."""
    try:
        yield
    except FAILURES as error:
        raise named(error, path) from error
