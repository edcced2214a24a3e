"""Open or create the database file, alone, sound, and laid out so that erasing is sure."""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
import stat
from contextlib import ExitStack, closing
from pathlib import Path

from speakerd_server.errors import StoreCorrupt, StoreUnusable
from speakerd_server.store.erase import truncate_wal
from speakerd_server.store.failures import FAILURES, named_at_start

APPLICATION_ID = 0x53504B44
SCHEMA_VERSION = 5
PAGE_BYTES = 1024
SPACER_BYTES = PAGE_BYTES - 35
"""The most of a row that SQLite keeps in a B-tree page (https://sqlite.org/fileformat2.html,
section 1.6: X = U - 35). With that many bytes before it, all of `sum` lies in overflow pages."""

_BUSY_S = 0.5
_HEADER_BYTES = 100

# EXCLUSIVE comes before anything that reads: then the log needs no -shm file beside it, so that
# a store can be opened on a full disk.
_BEFORE_LOCK = (
    "locking_mode = EXCLUSIVE",
    f"page_size = {PAGE_BYTES}",
    "auto_vacuum = NONE",
    "encoding = 'UTF-8'",
)
_ONCE_OPEN = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
)
_HELD = {
    "page_size": PAGE_BYTES,
    "auto_vacuum": 0,
    "encoding": "UTF-8",
    "journal_mode": "wal",
    "synchronous": 2,
    "secure_delete": 1,
    "temp_store": 2,
}
_GROUPS = (
    """
    CREATE TABLE speaker_groups (
        key INTEGER PRIMARY KEY,
        domain TEXT NOT NULL,
        name TEXT NOT NULL,
        created_unix_s REAL NOT NULL,
        updated_unix_s REAL NOT NULL,
        UNIQUE (domain, name)
    )
    """,
    """
    CREATE TABLE members (
        speaker_group INTEGER NOT NULL REFERENCES speaker_groups (key),
        speaker INTEGER NOT NULL REFERENCES speakers (key),
        PRIMARY KEY (speaker_group, speaker)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX groups_of ON members (speaker)",
)
_SCHEMA = (
    """
    CREATE TABLE speakers (
        key INTEGER PRIMARY KEY,
        domain TEXT NOT NULL,
        speaker_id TEXT NOT NULL,
        display_name TEXT NOT NULL,
        created_unix_s REAL NOT NULL,
        updated_unix_s REAL NOT NULL,
        opted_out_unix_s REAL,
        consent_unix_s REAL,
        last_used_unix_s REAL,
        UNIQUE (domain, speaker_id)
    )
    """,
    # Rows are written once and never changed. B-tree balancing copies cells and may leave stale
    # bytes of them in other pages, but an overflow page stays where it is until it is freed,
    # and secure_delete then fills it with zeros.
    """
    CREATE TABLE recordings (
        key INTEGER PRIMARY KEY,
        recording_id TEXT NOT NULL UNIQUE,
        speaker INTEGER NOT NULL REFERENCES speakers (key),
        created_unix_s REAL NOT NULL,
        window_count INTEGER NOT NULL CHECK (window_count >= 1),
        speech_samples INTEGER NOT NULL CHECK (speech_samples >= 1),
        sample_rate_hz INTEGER NOT NULL CHECK (sample_rate_hz >= 1),
        window_consistency REAL NOT NULL,
        model_name TEXT NOT NULL,
        model_version TEXT NOT NULL,
        front_end TEXT NOT NULL,
        spacer BLOB NOT NULL,
        sum BLOB NOT NULL,
        band TEXT,
        snr_db REAL,
        clipping_share REAL,
        level_dbfs REAL
    )
    """,
    "CREATE INDEX recordings_of ON recordings (speaker)",
    *_GROUPS,
)

_UPGRADES = {
    1: ("ALTER TABLE recordings ADD COLUMN band TEXT",),
    2: ("ALTER TABLE speakers ADD COLUMN opted_out_unix_s REAL",),
    3: _GROUPS,
    4: (
        "ALTER TABLE speakers ADD COLUMN consent_unix_s REAL",
        "ALTER TABLE speakers ADD COLUMN last_used_unix_s REAL",
        "ALTER TABLE recordings ADD COLUMN snr_db REAL",
        "ALTER TABLE recordings ADD COLUMN clipping_share REAL",
        "ALTER TABLE recordings ADD COLUMN level_dbfs REAL",
    ),
}
"""From each earlier version to the next one."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, or create it, and hold its lock; a half-done erasure is finished.

    Raises StoreUnusable (cannot be created, read or written; used by another process; made by
    another program or a newer speakerd) or StoreCorrupt.
    """
    _ensure_file(path)
    with ExitStack() as on_failure:
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            on_failure.callback(connection.close)
            _prepare(connection, path)
        except FAILURES as error:
            raise named_at_start(error, path) from error
        except OSError as error:
            raise StoreUnusable(path, error.strerror or str(error)) from error
        on_failure.pop_all()
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for setting in _BEFORE_LOCK:
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    new = _check_owner(connection, path)
    for setting in _ONCE_OPEN:
        connection.execute(f"PRAGMA {setting}").fetchall()
    for name, wanted in _HELD.items():
        found = _pragma(connection, name)
        if found != wanted:
            raise StoreUnusable(path, f"its {name} is {found}, not {wanted}; use another path")
    if new:
        _create_tables(connection)
    _upgrade(connection)
    # Unlike quick_check, this also holds the indexes against the tables.
    verdict = _pragma(connection, "integrity_check(1)")
    if verdict != "ok":
        raise StoreCorrupt(path, str(verdict))
    if _columns(connection) != _wanted_columns():
        raise StoreCorrupt(path, "its tables are not those of its version")
    # A crash between the commit of an erasure and its end leaves old bytes in the WAL only.
    truncate_wal(connection, path)


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(
        connection.execute(
            "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
            " WHERE m.type = 'table'"
        )
    )


@functools.cache
def _wanted_columns() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in _SCHEMA:
            connection.execute(statement)
        return _columns(connection)


def _pragma(connection: sqlite3.Connection, name: str) -> int | str:
    value: int | str = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _check_owner(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether the database is new; raise StoreUnusable where it is not ours."""
    owner, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (owner, version, tables) == (0, 0, 0):
        return True
    if owner != APPLICATION_ID:
        raise StoreUnusable(path, "it belongs to another program; choose another path")
    if version != SCHEMA_VERSION and version not in _UPGRADES:
        raise StoreUnusable(
            path,
            f"its format is version {version} and this speakerd knows {SCHEMA_VERSION};"
            " use the release that wrote it, or a newer one",
        )
    return False


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier version to this one, one version at a time, or not at all."""
    while (version := int(_pragma(connection, "user_version"))) != SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _UPGRADES[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")


def _ensure_file(path: Path) -> None:
    """Make an empty file for its owner's eyes only where there is none.

    An existing file is not opened here: closing it would drop the locks that SQLite holds on it
    elsewhere in this process (POSIX fcntl).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreUnusable(path, _creation_problem(error)) from error
    try:
        found = path.stat()
    except OSError as error:
        raise StoreUnusable(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnusable(path, "it is not a file; choose another path")
    # SQLite takes a file of one byte for an empty one and would write over it.
    if 0 < found.st_size < _HEADER_BYTES:
        raise StoreCorrupt(path, "it is too short to be a database")


def _creation_problem(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its folder does not exist; create it, or choose another path"
    return f"{error.strerror}; the daemon must be able to write to its folder"
