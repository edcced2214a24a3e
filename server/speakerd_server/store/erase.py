"""The end of an erasure: what was overwritten in the pages is also gone from the log."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


def wal_path(path: Path) -> Path:
    """Give the write-ahead log that SQLite keeps beside a database file."""
    return path.with_name(path.name + "-wal")


def truncate_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Write every page back to the database file and empty the log, durably.

    Raises sqlite3.Error or OSError; then old pages may still be in the log.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    log = wal_path(path)
    if not log.exists():
        return
    descriptor = os.open(log, os.O_RDWR)
    try:
        os.fsync(descriptor)
        left_bytes = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if busy or left_bytes:
        raise OSError(f"{left_bytes} bytes are left in {log.name}")
