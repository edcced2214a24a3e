"""The record: speakers and recordings in one SQLite file, one row each.

Blocking, and for one thread at a time: the caller holds a lock.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speakerd_server.enrolled import NewRecording, Speaker
from speakerd_server.errors import ErasureIncomplete, StoreUnavailable
from speakerd_server.store.erase import truncate_wal
from speakerd_server.store.failures import FAILURES, naming
from speakerd_server.store.group_record import GroupRecord
from speakerd_server.store.opening import SPACER_BYTES, open_database
from speakerd_server.store.rows import Row, quality_columns, recording_of, speaker_of, to_blob

Key = tuple[str, str]
Age = tuple[float, float | None]
"""When the newest recording was stored, and the last use, in seconds since 1970 UTC."""

_NUMBERS = (
    "r.model_name, r.model_version, r.front_end, r.window_count, r.speech_samples,"
    " r.sample_rate_hz, r.window_consistency, r.band, r.snr_db, r.clipping_share, r.level_dbfs"
)
_SPEAKERS = (
    "SELECT s.domain, s.speaker_id, s.display_name, s.created_unix_s, s.updated_unix_s,"
    " s.opted_out_unix_s, s.consent_unix_s, s.last_used_unix_s,"
    " (SELECT group_concat(g.name, ' ') FROM members AS m JOIN speaker_groups AS g"
    " ON g.key = m.speaker_group WHERE m.speaker = s.key),"
    f" r.recording_id, r.created_unix_s, {_NUMBERS}"
    " FROM (SELECT * FROM speakers WHERE domain = ? AND {which}) AS s"
    " LEFT JOIN recordings AS r ON r.speaker = s.key ORDER BY s.speaker_id, r.key"
)
_SUMS = (
    f"SELECT s.domain, s.speaker_id, r.recording_id, {_NUMBERS}, r.sum"
    " FROM speakers AS s LEFT JOIN recordings AS r ON r.speaker = s.key"
)
_AGES = (
    "SELECT s.domain, s.speaker_id, max(r.created_unix_s), s.last_used_unix_s FROM speakers AS s"
    " JOIN recordings AS r ON r.speaker = s.key{where} GROUP BY s.key"
)
_ADD_SPEAKER = (
    "INSERT INTO speakers (domain, speaker_id, display_name, created_unix_s, updated_unix_s)"
    " VALUES (?, ?, '', ?, ?) ON CONFLICT DO NOTHING"
)
_ADD_RECORDING = (
    "INSERT INTO recordings (recording_id, speaker, created_unix_s, model_name, model_version,"
    " front_end, window_count, speech_samples, sample_rate_hz, window_consistency, band, snr_db,"
    " clipping_share, level_dbfs, spacer, sum)"
    f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, zeroblob({SPACER_BYTES}), ?)"
)


class SqliteRecord:
    """All that is known of the speakers, on disk.

    Every method may raise StoreFull, StoreUnavailable or StoreCorrupt; then nothing was changed.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self.connection = open_database(path)
        self.groups = GroupRecord(self.connection, path)
        self.erasure_pending = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, durably, or undo all of it."""
        with naming(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        # A commit that failed half-way may have left a whole commit in the log, which the next
        # start would take for good. Emptying the log is best effort: the next commit overwrites it.
        with suppress(*FAILURES, OSError):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            truncate_wal(self.connection, self.path)

    def everyone(self) -> Iterator[tuple[str, str, list[NewRecording]]]:
        """Go through (domain, speaker id, recordings, oldest first) of all speakers."""
        with naming(self.path):
            rows = self.connection.execute(f"{_SUMS} ORDER BY s.key, r.key")
            for (domain, speaker_id), group in itertools.groupby(rows, lambda row: row[:2]):
                yield domain, speaker_id, list(self._sums(group).values())

    def opted_out(self) -> list[tuple[str, str]]:
        """Give (domain, speaker id) of everyone who has opted out."""
        query = "SELECT domain, speaker_id FROM speakers WHERE opted_out_unix_s IS NOT NULL"
        with naming(self.path):
            return self.connection.execute(query).fetchall()

    def sums(self, domain: str, speaker_id: str) -> dict[str, NewRecording]:
        """Give the recordings of one speaker by recording id, oldest first."""
        with naming(self.path):
            query = f"{_SUMS} WHERE s.domain = ? AND s.speaker_id = ? ORDER BY r.key"
            return self._sums(self.connection.execute(query, (domain, speaker_id)).fetchall())

    def _sums(self, rows: Iterable[Row]) -> dict[str, NewRecording]:
        return {row[2]: recording_of(row[3:], self.path) for row in rows if row[2] is not None}

    def speaker(self, domain: str, speaker_id: str) -> Speaker | None:
        """Give one speaker with all recordings."""
        found = self._speakers("speaker_id = ?", (domain, speaker_id))
        return found[0] if found else None

    def speakers(self, domain: str, after: str, limit: int) -> list[Speaker]:
        """Give at most `limit` speakers with an id beyond `after`, in code point order."""
        which = "speaker_id > ? ORDER BY speaker_id LIMIT ?"
        return self._speakers(which, (domain, after, limit))

    def _speakers(self, which: str, values: Row) -> list[Speaker]:
        with naming(self.path):
            rows = self.connection.execute(_SPEAKERS.format(which=which), values).fetchall()
        groups = itertools.groupby(rows, lambda row: row[:9])
        return [speaker_of(head, [row[9:] for row in group]) for head, group in groups]

    def add(self, domain: str, speaker_id: str, recording: NewRecording) -> str:
        """Add a recording, and the speaker where new, inside a transaction; give its id."""
        self._ensure_speaker(domain, speaker_id)
        recording_id = secrets.token_hex(16)
        model = recording.model
        self.connection.execute(
            _ADD_RECORDING,
            (
                recording_id,
                self._key(domain, speaker_id),
                self._clock(),
                model.name,
                model.version,
                model.front_end,
                recording.window_count,
                recording.speech_samples,
                recording.sample_rate_hz,
                recording.window_consistency,
                None if recording.band is None else recording.band.value,
                *quality_columns(recording.quality),
                to_blob(recording),
            ),
        )
        return recording_id

    def _ensure_speaker(self, domain: str, speaker_id: str) -> None:
        now = self._clock()
        self.connection.execute(_ADD_SPEAKER, (domain, speaker_id, now, now))

    def opt_out(self, domain: str, speaker_id: str) -> int:
        """Note an opt-out inside a transaction, also of a new speaker; nothing else is left.

        Gives the number of recordings that the speaker had.
        """
        self._ensure_speaker(domain, speaker_id)
        erased = self._remove_all(self._key(domain, speaker_id))
        self.touch(domain, speaker_id, "")
        self._note_opt_out(domain, speaker_id, self._clock())
        self.note_consent(domain, speaker_id, None)
        self.note_use(domain, speaker_id, None)
        return erased

    def allow(self, domain: str, speaker_id: str) -> None:
        """Lift an opt-out inside a transaction."""
        self.touch(domain, speaker_id, None)
        self._note_opt_out(domain, speaker_id, None)

    def _note_opt_out(self, domain: str, speaker_id: str, unix_s: float | None) -> None:
        self.connection.execute(
            "UPDATE speakers SET opted_out_unix_s = ? WHERE domain = ? AND speaker_id = ?",
            (unix_s, domain, speaker_id),
        )

    def note_consent(self, domain: str, speaker_id: str, unix_s: float | None) -> None:
        """Set when the person agreed, inside a transaction."""
        self.connection.execute(
            "UPDATE speakers SET consent_unix_s = ? WHERE domain = ? AND speaker_id = ?",
            (unix_s, domain, speaker_id),
        )

    def note_use(self, domain: str, speaker_id: str, unix_s: float | None) -> None:
        """Set when the speaker was last accepted, inside a transaction."""
        self.connection.execute(
            "UPDATE speakers SET last_used_unix_s = ? WHERE domain = ? AND speaker_id = ?",
            (unix_s, domain, speaker_id),
        )

    def ages(self, domain: str | None = None, speaker_id: str | None = None) -> dict[Key, Age]:
        """Give when the newest recording was stored and when the speaker was last accepted.

        By (domain, speaker id), of one speaker or of everyone; who has no recordings is not there.
        """
        where = "" if speaker_id is None else " WHERE s.domain = ? AND s.speaker_id = ?"
        values = () if speaker_id is None else (domain, speaker_id)
        with naming(self.path):
            rows = self.connection.execute(_AGES.format(where=where), values).fetchall()
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    def touch(self, domain: str, speaker_id: str, display_name: str | None) -> None:
        """Set the time of the last change, and the name unless None, inside a transaction."""
        self.connection.execute(
            "UPDATE speakers SET updated_unix_s = ?, display_name = ifnull(?, display_name)"
            " WHERE domain = ? AND speaker_id = ?",
            (self._clock(), display_name, domain, speaker_id),
        )

    def remove(self, recording_ids: Collection[str]) -> None:
        """Remove recordings inside a transaction."""
        delete = "DELETE FROM recordings WHERE recording_id = ?"
        self.connection.executemany(delete, [(one,) for one in recording_ids])

    def delete(self, domain: str, speaker_id: str) -> int:
        """Remove a speaker inside a transaction; give the number of recordings it had."""
        key = self._key(domain, speaker_id)
        erased = self._remove_all(key)
        self.connection.execute("DELETE FROM speakers WHERE key = ?", (key,))
        return erased

    def _remove_all(self, key: int) -> int:
        self.connection.execute("DELETE FROM members WHERE speaker = ?", (key,))
        removed = self.connection.execute("DELETE FROM recordings WHERE speaker = ?", (key,))
        return removed.rowcount

    def _key(self, domain: str, speaker_id: str) -> int:
        query = "SELECT key FROM speakers WHERE domain = ? AND speaker_id = ?"
        key: int = self.connection.execute(query, (domain, speaker_id)).fetchone()[0]
        return key

    def prepare_erasure(self) -> None:
        """Empty the log before a removal, so that its own pages are all that must follow."""
        if self.erasure_pending:
            self.finish_erasure()
            return
        try:
            with naming(self.path):
                truncate_wal(self.connection, self.path)
        except OSError as error:
            raise StoreUnavailable(str(error)) from error

    def finish_erasure(self) -> None:
        """Leave no byte of removed recordings on disk; raises ErasureIncomplete where it cannot.

        The removal is committed and frees overflow pages, which secure_delete has filled with
        zeros; when those pages are in the file and the log is empty, nothing is left.
        """
        self.erasure_pending = True
        try:
            truncate_wal(self.connection, self.path)
        except (*FAILURES, OSError) as error:
            raise ErasureIncomplete(str(error)) from error
        self.erasure_pending = False

    def close(self) -> None:
        """Write the log back and let go of the file."""
        self.connection.close()
