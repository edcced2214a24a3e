from __future__ import annotations

import itertools
import resource
import sqlite3
from pathlib import Path

import pytest
from speakerd_server.errors import (
    SpeakerdError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    StoreUnusable,
)
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.failures import named, named_at_start
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import SpeakerState
from support.disk import mounted
from support.recordings import DOMAIN, MODEL, Opener, recording, vector

PATH = Path("/somewhere/speakerd.db")


def failure(code: int | None, text: str = "it went wrong") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    if code is not None:
        error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "running", "starting"),
    [
        (sqlite3.SQLITE_FULL, StoreFull, StoreUnusable),
        (sqlite3.SQLITE_CORRUPT, StoreCorrupt, StoreCorrupt),
        (sqlite3.SQLITE_CORRUPT_VTAB, StoreCorrupt, StoreCorrupt),
        (sqlite3.SQLITE_NOTADB, StoreCorrupt, StoreCorrupt),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable, StoreUnusable),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable, StoreUnusable),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreUnavailable, StoreUnusable),
        (None, StoreUnavailable, StoreUnusable),
    ],
)
def test_every_result_code_has_a_name(
    code: int | None, running: type[SpeakerdError], starting: type[SpeakerdError]
) -> None:
    assert type(named(failure(code), PATH)) is running
    assert type(named_at_start(failure(code), PATH)) is starting
    assert str(PATH) in str(named_at_start(failure(code), PATH))


def test_text_that_is_no_utf_8_is_damage() -> None:
    error = failure(None, "Could not decode to UTF-8 column 'speaker_id'")
    assert isinstance(named(error, PATH), StoreCorrupt)


def test_a_message_about_damage_that_cannot_be_decoded_is_damage() -> None:
    error = UnicodeDecodeError("utf-8", b"\x80", 0, 1, "invalid start byte")
    assert isinstance(named(error, PATH), StoreCorrupt)
    assert isinstance(named_at_start(error, PATH), StoreCorrupt)


def enrol_until_refused(store: EnrolmentStore, expected: type[SpeakerdError]) -> list[str]:
    """Enrol new speakers until one is refused; give the acknowledged ones."""
    for seed in itertools.count(store.count()):
        try:
            store.enrol(DOMAIN, f"speaker {seed:04}", recording(seed))
        except expected:
            break
    return [f"speaker {earlier:04}" for earlier in range(seed)]


def check_agreement(store: EnrolmentStore, acknowledged: list[str]) -> None:
    """Memory and disk both hold the acknowledged speakers and no other."""
    assert [one.speaker_id for one in store.speakers(DOMAIN, None, 10_000)] == acknowledged
    assert store.count() == len(acknowledged)
    assert store.search(DOMAIN, MODEL, vector(0), 1).compared == len(acknowledged)
    beyond = f"speaker {len(acknowledged):04}"
    assert store.state(DOMAIN, beyond) is None


def test_a_full_database_refuses_by_name_and_goes_on_when_there_is_room(
    open_store: Opener,
) -> None:
    store = open_store()
    store.record.connection.execute("PRAGMA max_page_count = 60")
    acknowledged = enrol_until_refused(store, StoreFull)
    assert len(acknowledged) > 5
    check_agreement(store, acknowledged)
    assert store.delete(DOMAIN, acknowledged.pop()) == 1
    check_agreement(store, acknowledged)
    store.record.connection.execute("PRAGMA max_page_count = 1000")
    store.enrol(DOMAIN, f"speaker {len(acknowledged):04}", recording(7))
    store.close()
    assert open_store().count() == len(acknowledged) + 1


def test_a_full_disk_refuses_by_name_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1 << 20) as disk:
        settings = StoreSettings(disk / "speakerd.db")
        store = EnrolmentStore(settings, [DOMAIN])
        ballast, more_ballast = disk / "ballast", disk / "more-ballast"
        ballast.write_bytes(bytes(1 << 16))
        more_ballast.write_bytes(bytes(1 << 19))
        acknowledged = enrol_until_refused(store, StoreFull)
        check_agreement(store, acknowledged)
        ballast.unlink()
        more = enrol_until_refused(store, StoreFull)
        assert len(more) > len(acknowledged) > 5
        check_agreement(store, more)
        store.close()
        # The log holds what the file has no room for; opening must write it back.
        with pytest.raises(StoreUnusable, match="no room is left on its disk"):
            EnrolmentStore(settings, [DOMAIN])
        more_ballast.unlink()
        again = EnrolmentStore(settings, [DOMAIN])
        check_agreement(again, more)
        again.close()


def test_a_start_on_a_full_disk_is_refused_by_name(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1 << 16) as disk:
        (disk / "ballast").write_bytes(bytes(1 << 16))
        with pytest.raises(StoreUnusable, match="no room is left on its disk"):
            EnrolmentStore(StoreSettings(disk / "speakerd.db"), [DOMAIN])


def test_writing_that_fails_is_named_and_leaves_everything_as_it_was(open_store: Opener) -> None:
    store = open_store()
    store.enrol(DOMAIN, "speaker 0000", recording(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file of this process may grow beyond this; Python ignores the signal, writing fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        acknowledged = enrol_until_refused(store, StoreUnavailable)
        check_agreement(store, acknowledged)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    more = f"speaker {len(acknowledged):04}"
    store.enrol(DOMAIN, more, recording(1))
    store.close()
    again = open_store()
    check_agreement(again, [*acknowledged, more])


def test_damage_found_while_running_is_named(open_store: Opener, store_path: Path) -> None:
    store = open_store()
    for seed in range(60):
        store.enrol(DOMAIN, str(seed), recording(seed))
    store.close()
    store = open_store()
    size_bytes = store_path.stat().st_size
    with store_path.open("r+b") as file:
        file.seek(1024)
        file.write(b"\x55" * (size_bytes - 1024))
    store.record.connection.execute("PRAGMA shrink_memory")
    with pytest.raises(StoreCorrupt, match="move it away"):
        store.enrol(DOMAIN, "new", recording(1))
    with pytest.raises(StoreCorrupt):
        store.speakers(DOMAIN, None, 100)
    with pytest.raises(StoreCorrupt):
        store.delete(DOMAIN, "1")
    assert store.state(DOMAIN, "new") is None
    assert store.state(DOMAIN, "1") is SpeakerState.ENROLLED
