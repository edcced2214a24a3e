from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speakerd_server.errors import StoreCorrupt, StoreUnusable
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.store.opening import SCHEMA_VERSION
from speakerd_server.values import Band, Quality, SpeakerState
from support import store_process
from support.disk import mounted
from support.recordings import DOMAIN, Opener, recording


@contextmanager
def another_program(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def filled(store_path: Path) -> Path:
    store = EnrolmentStore(StoreSettings(store_path), [DOMAIN])
    for seed in range(40):
        store.enrol(DOMAIN, str(seed), recording(seed))
    store.close()
    return store_path


def test_a_new_store_is_for_its_owner_alone_and_one_file_once_closed(
    open_store: Opener, store_path: Path
) -> None:
    store = open_store()
    store.enrol(DOMAIN, "alice", recording(1))
    assert {stat.S_IMODE(file.stat().st_mode) for file in store_path.parent.iterdir()} == {0o600}
    store.close()
    assert [file.name for file in store_path.parent.iterdir()] == [store_path.name]


def test_the_name_of_the_file_may_have_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "a ?mode=memory#%41é.db"
    EnrolmentStore(StoreSettings(path), [DOMAIN]).close()
    assert path.stat().st_size > 0
    assert list(tmp_path.iterdir()) == [path]


def test_one_file_never_has_two_stores(open_store: Opener, store_path: Path) -> None:
    open_store()
    with pytest.raises(StoreUnusable, match=r"another process uses it.*file of its own"):
        open_store()
    with another_program(store_path) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT * FROM speakers").fetchall()


def test_a_daemon_in_another_process_is_noticed_and_a_dead_one_is_not(filled: Path) -> None:
    held = subprocess.Popen(
        [sys.executable, store_process.__file__, "hold", str(filled), "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"open 40\n"
        with pytest.raises(StoreUnusable, match="another process"):
            EnrolmentStore(StoreSettings(filled), [DOMAIN])
        held.kill()
    EnrolmentStore(StoreSettings(filled), [DOMAIN]).close()


def test_a_path_that_cannot_be_a_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, problem in (
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path / "none" / "s.db", "folder does not exist; create it"),
        (tmp_path / "file" / "s.db", "Not a directory"),
        (Path("/proc/speakerd.db"), "write to its folder|folder does not exist"),
    ):
        with pytest.raises(StoreUnusable, match=problem) as caught:
            EnrolmentStore(StoreSettings(path), [DOMAIN])
        assert str(path) in str(caught.value)


def test_a_read_only_disk_is_named(tmp_path: Path, filled: Path) -> None:
    with mounted(tmp_path / "mounted", 1 << 20) as disk:
        shutil.copy(filled, disk / "old.db")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for name in ("old.db", "new.db"):
            with pytest.raises(StoreUnusable, match=r"(?i)write") as caught:
                EnrolmentStore(StoreSettings(disk / name), [DOMAIN])
            assert str(disk / name) in str(caught.value)


def test_a_database_of_another_program_is_left_alone(store_path: Path) -> None:
    with another_program(store_path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = store_path.read_bytes()
    with pytest.raises(StoreUnusable, match="belongs to another program"):
        EnrolmentStore(StoreSettings(store_path), [DOMAIN])
    assert store_path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("PRAGMA user_version = 99", f"version 99 and this speakerd knows {SCHEMA_VERSION}"),
        ("PRAGMA application_id = 7", "another program"),
        ("PRAGMA journal_mode = DELETE; PRAGMA page_size = 4096; VACUUM", "page_size is 4096"),
        ("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = FULL; VACUUM", "auto_vacuum is 1"),
    ],
)
def test_a_file_of_another_format_is_refused(filled: Path, change: str, problem: str) -> None:
    with another_program(filled) as connection:
        connection.executescript(change)
    with pytest.raises(StoreUnusable, match=problem):
        EnrolmentStore(StoreSettings(filled), [DOMAIN])


@pytest.mark.parametrize(
    "content", [b"x", b"no database" * 1000, b"SQLite format 3\0" + b"\7" * 99]
)
def test_a_file_that_is_no_database_is_named_and_kept(store_path: Path, content: bytes) -> None:
    store_path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="put a backup in its place") as caught:
        EnrolmentStore(StoreSettings(store_path), [DOMAIN])
    assert str(store_path) in str(caught.value)
    assert store_path.read_bytes() == content


def test_an_empty_file_becomes_a_store(open_store: Opener, store_path: Path) -> None:
    store_path.touch()
    assert open_store().count() == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), noise=st.binary(min_size=1, max_size=2000))
def test_damage_anywhere_is_named_or_without_effect(
    filled: Path, tmp_path: Path, place: float, noise: bytes
) -> None:
    damaged = tmp_path / "damaged.db"
    content = bytearray(filled.read_bytes())
    start = int(place * len(content))
    content[start : start + len(noise)] = noise
    damaged.write_bytes(content)
    try:
        store = EnrolmentStore(StoreSettings(damaged), [DOMAIN])
    except (StoreCorrupt, StoreUnusable):
        return
    speakers = store.speakers(DOMAIN, None, 1000)
    assert len(speakers) == store.count()
    store.close()


def test_a_flipped_bit_of_a_sum_is_noticed(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    at = content.index(recording(7).sum.tobytes()[:64])
    content[at + 6] ^= 1
    filled.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="checksum"):
        EnrolmentStore(StoreSettings(filled), [DOMAIN])


@pytest.mark.parametrize("left_bytes", [1024, 5000, 20_000])
def test_a_file_that_was_cut_is_named(filled: Path, left_bytes: int) -> None:
    os.truncate(filled, left_bytes)
    with pytest.raises(StoreCorrupt):
        EnrolmentStore(StoreSettings(filled), [DOMAIN])


def as_version_4(path: Path) -> None:
    """Make the file what was written before there were consent, last use and kept quality."""
    with another_program(path) as connection:
        for name in ("consent_unix_s", "last_used_unix_s"):
            connection.execute(f"ALTER TABLE speakers DROP COLUMN {name}")
        for name in ("snr_db", "clipping_share", "level_dbfs"):
            connection.execute(f"ALTER TABLE recordings DROP COLUMN {name}")
        connection.execute("PRAGMA user_version = 4")


def as_version_3(path: Path) -> None:
    """Make the file what was written before there were groups."""
    as_version_4(path)
    with another_program(path) as connection:
        connection.executescript("DROP TABLE members; DROP TABLE speaker_groups;")
        connection.execute("PRAGMA user_version = 3")


def as_version_2(path: Path) -> None:
    """Make the file what was written before speakers could opt out."""
    as_version_3(path)
    with another_program(path) as connection:
        connection.execute("ALTER TABLE speakers DROP COLUMN opted_out_unix_s")
        connection.execute("PRAGMA user_version = 2")


def as_version_1(path: Path) -> None:
    """Make the file what the first release wrote: without bands."""
    as_version_2(path)
    with another_program(path) as connection:
        connection.execute("ALTER TABLE recordings DROP COLUMN band")
        connection.execute("PRAGMA user_version = 1")


def test_a_file_of_the_first_version_is_brought_to_this_one(filled: Path) -> None:
    as_version_1(filled)
    store = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    assert store.count() == 40
    assert [one.band for one in store.speaker(DOMAIN, "7").recordings] == [None]
    voiceprint = store.voiceprint(DOMAIN, "7", recording(7).model)
    assert voiceprint is not None
    assert voiceprint.band is None
    store.enrol(DOMAIN, "7", replace(recording(70), band=Band.NARROW))
    store.close()
    with another_program(filled) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    again = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    assert [one.band for one in again.speaker(DOMAIN, "7").recordings] == [None, Band.NARROW]
    voiceprint = again.voiceprint(DOMAIN, "7", recording(7).model)
    assert voiceprint is not None
    assert voiceprint.band is Band.NARROW
    again.close()


def test_a_file_of_the_second_version_gets_opt_outs(filled: Path) -> None:
    as_version_2(filled)
    store = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    assert store.speaker(DOMAIN, "7").opted_out_unix_s is None
    assert store.opt_out(DOMAIN, "7").recordings_erased == 1
    store.close()
    again = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    assert again.count() == 40
    assert again.state(DOMAIN, "7") is SpeakerState.OPTED_OUT
    assert again.state(DOMAIN, "8") is SpeakerState.ENROLLED
    again.close()


def test_a_file_of_the_third_version_gets_groups(filled: Path) -> None:
    as_version_3(filled)
    store = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    assert store.speaker(DOMAIN, "7").groups == ()
    store.groups.create(DOMAIN, "fraud")
    store.groups.update(DOMAIN, "fraud", ["7"], [])
    store.close()
    again = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    assert (again.count(), again.speaker(DOMAIN, "7").groups) == (40, ("fraud",))
    again.close()


def test_a_file_of_the_fourth_version_gets_consent_and_quality(filled: Path) -> None:
    as_version_4(filled)
    store = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    before = store.speaker(DOMAIN, "7")
    assert (before.consent_unix_s, before.last_used_unix_s) == (None, None)
    assert [one.quality for one in before.recordings] == [None]
    quality = Quality(17.5, 0.25, -21.0)
    store.enrol(DOMAIN, "7", replace(recording(70), quality=quality), consent_unix_s=1e9)
    store.close()
    again = EnrolmentStore(StoreSettings(filled), [DOMAIN])
    speaker = again.speaker(DOMAIN, "7")
    assert speaker.consent_unix_s == 1e9
    assert [one.quality for one in speaker.recordings] == [None, quality]
    again.close()


def test_a_band_that_is_none_is_damage(filled: Path) -> None:
    with another_program(filled) as connection:
        connection.execute("UPDATE recordings SET band = 'middle' WHERE key = 3")
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        EnrolmentStore(StoreSettings(filled), [DOMAIN])
