"""The record: speakers and recordings in one SQLite file, one row each.

Blocking, and for one thread at a time: the caller holds a lock.
"""

from __future__ import annotations

import itertools
import secrets
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from speakerd_server.enrolled import NewRecording, Recording, Speaker
from speakerd_server.errors import ErasureIncomplete, StoreCorrupt, StoreUnavailable
from speakerd_server.store.erase import truncate_wal
from speakerd_server.store.failures import FAILURES, naming
from speakerd_server.store.group_record import GroupRecord
from speakerd_server.store.opening import SPACER_BYTES, open_database
from speakerd_server.store.voiceprint import check_recording
from speakerd_server.values import Band, ModelIdentity, SpeakerState

Row = tuple[Any, ...]

_NUMBERS = (
    "r.model_name, r.model_version, r.front_end, r.window_count, r.speech_samples,"
    " r.sample_rate_hz, r.window_consistency, r.band"
)
_SPEAKERS = (
    "SELECT s.domain, s.speaker_id, s.display_name, s.created_unix_s, s.updated_unix_s,"
    " s.opted_out_unix_s, (SELECT group_concat(g.name, ' ') FROM members AS m JOIN speaker_groups"
    " AS g ON g.key = m.speaker_group WHERE m.speaker = s.key),"
    f" r.recording_id, r.created_unix_s, {_NUMBERS}"
    " FROM (SELECT * FROM speakers WHERE domain = ? AND {which}) AS s"
    " LEFT JOIN recordings AS r ON r.speaker = s.key ORDER BY s.speaker_id, r.key"
)
_SUMS = (
    f"SELECT s.domain, s.speaker_id, r.recording_id, {_NUMBERS}, r.sum"
    " FROM speakers AS s LEFT JOIN recordings AS r ON r.speaker = s.key"
)
_ADD_SPEAKER = (
    "INSERT INTO speakers (domain, speaker_id, display_name, created_unix_s, updated_unix_s)"
    " VALUES (?, ?, '', ?, ?) ON CONFLICT DO NOTHING"
)
_ADD_RECORDING = (
    "INSERT INTO recordings (recording_id, speaker, created_unix_s, model_name, model_version,"
    " front_end, window_count, speech_samples, sample_rate_hz, window_consistency, band, spacer,"
    f" sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, zeroblob({SPACER_BYTES}), ?)"
)


class SqliteRecord:
    """All that is known of the speakers, on disk.

    Every method may raise StoreFull, StoreUnavailable or StoreCorrupt; then nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
        return {row[2]: self._sum(row[3:]) for row in rows if row[2] is not None}

    def _sum(self, row: Row) -> NewRecording:
        """Read one row of numbers and blob; raise StoreCorrupt where they make no recording."""
        *model, windows, speech_samples, rate_hz, consistency, band, blob = row
        try:
            recording = NewRecording(
                model=ModelIdentity(*model),
                sum=_from_blob(blob),
                window_count=windows,
                speech_samples=speech_samples,
                sample_rate_hz=rate_hz,
                window_consistency=consistency,
                band=_band(band),
            )
            check_recording(recording)
        except (TypeError, ValueError) as error:
            raise StoreCorrupt(self.path, f"a recording cannot be read: {error}") from error
        return recording

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
        groups = itertools.groupby(rows, lambda row: row[:7])
        return [_speaker(head, [row[7:] for row in group]) for head, group in groups]

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
                time.time(),
                model.name,
                model.version,
                model.front_end,
                recording.window_count,
                recording.speech_samples,
                recording.sample_rate_hz,
                recording.window_consistency,
                None if recording.band is None else recording.band.value,
                _to_blob(recording),
            ),
        )
        return recording_id

    def _ensure_speaker(self, domain: str, speaker_id: str) -> None:
        now = time.time()
        self.connection.execute(_ADD_SPEAKER, (domain, speaker_id, now, now))

    def opt_out(self, domain: str, speaker_id: str) -> int:
        """Note an opt-out inside a transaction, also of a new speaker; nothing else is left.

        Gives the number of recordings that the speaker had.
        """
        self._ensure_speaker(domain, speaker_id)
        erased = self._remove_all(self._key(domain, speaker_id))
        self.touch(domain, speaker_id, "")
        self._note_opt_out(domain, speaker_id, time.time())
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

    def touch(self, domain: str, speaker_id: str, display_name: str | None) -> None:
        """Set the time of the last change, and the name unless None, inside a transaction."""
        self.connection.execute(
            "UPDATE speakers SET updated_unix_s = ?, display_name = ifnull(?, display_name)"
            " WHERE domain = ? AND speaker_id = ?",
            (time.time(), display_name, domain, speaker_id),
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


def _to_blob(recording: NewRecording) -> bytes:
    content = recording.sum.astype("<f8").tobytes()
    return content + zlib.crc32(content).to_bytes(4, "little")


def _from_blob(blob: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    content, checksum = blob[:-4], blob[-4:]
    if zlib.crc32(content) != int.from_bytes(checksum, "little"):
        raise ValueError("its checksum is wrong")
    return np.frombuffer(content, "<f8").astype(np.float64)


def _band(text: str | None) -> Band | None:
    """Raises ValueError for text that names none."""
    return None if text is None else Band(text)


def _speaker(head: Row, rows: list[Row]) -> Speaker:
    domain, speaker_id, display_name, created_unix_s, updated_unix_s, opted_out_unix_s, groups = (
        head
    )
    recordings = tuple(
        Recording(one, created, windows, speech_samples, rate_hz, consistency, _band(band))
        for one, created, _, _, _, windows, speech_samples, rate_hz, consistency, band in rows
        if one is not None
    )
    return Speaker(
        domain=domain,
        speaker_id=speaker_id,
        state=_state(bool(recordings), opted_out_unix_s),
        display_name=display_name,
        created_unix_s=created_unix_s,
        updated_unix_s=updated_unix_s,
        model=ModelIdentity(*rows[0][2:5]) if recordings else None,
        recordings=recordings,
        opted_out_unix_s=opted_out_unix_s,
        groups=tuple(sorted((groups or "").split())),
    )


def _state(has_recordings: bool, opted_out_unix_s: float | None) -> SpeakerState:
    if opted_out_unix_s is not None:
        return SpeakerState.OPTED_OUT
    return SpeakerState.ENROLLED if has_recordings else SpeakerState.PENDING
