"""Voiceprints that expire by age and for want of use, with a clock that the test turns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.enrolled import Voiceprint
from speakerd_server.errors import ErasureIncomplete, SettingInvalid
from speakerd_server.store import sqlite as sqlite_module
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.erase import truncate_wal
from speakerd_server.store.expiry import DAY_S, NEVER, ExpiryRule, ExpirySettings
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, MODEL, marked_recording, marked_seeds, recording, vector

TIMES = st.floats(0, 4e9)
SPANS = st.none() | st.floats(1e-3, 1e9)
AGED = ExpirySettings(age_days=10)
UNUSED = ExpirySettings(unused_days=10)
BEGIN = 1_800_000_000.0 // 3600 * 3600


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now

    def turn(self, days: float) -> None:
        self.now += days * DAY_S


class Stores:
    """Stores of one file, opened one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, Clock()
        self.opened: list[EnrolmentStore] = []

    def open(self, settings: ExpirySettings) -> EnrolmentStore:
        for store in self.opened:
            store.close()
        where = StoreSettings(self.path)
        self.opened.append(EnrolmentStore(where, [DOMAIN, "bank"], settings, self.clock))
        return self.opened[-1]


@pytest.fixture
def stores(store_path: Path) -> Iterator[Stores]:
    made = Stores(store_path)
    yield made
    for store in made.opened:
        store.close()


@given(SPANS, SPANS, TIMES, st.none() | TIMES)
def test_the_first_limit_that_is_reached_counts(
    age_s: float | None, unused_s: float | None, newest: float, used: float | None
) -> None:
    expires = ExpiryRule(age_s, unused_s).expires(newest, used)
    limits = [] if age_s is None else [newest + age_s]
    limits += [] if unused_s is None else [max(newest, used or newest) + unused_s]
    assert expires == (min(limits) if limits else None)
    if expires is not None:
        assert expires >= newest
    assert NEVER.expires(newest, used) is None


def test_a_voiceprint_is_expired_so_long_after_its_newest_recording(stores: Stores) -> None:
    store, clock = stores.open(AGED), stores.clock
    store.enrol(DOMAIN, "alice", recording(1))
    clock.turn(9)
    store.enrol(DOMAIN, "alice", recording(2))
    speaker = store.speaker(DOMAIN, "alice")
    assert speaker.expires_unix_s == BEGIN + 19 * DAY_S
    clock.turn(9.999)
    assert store.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    assert store.voiceprint(DOMAIN, "alice", MODEL) is not None
    clock.turn(0.001)
    assert store.state(DOMAIN, "alice") is SpeakerState.EXPIRED
    assert store.voiceprint(DOMAIN, "alice", MODEL) is None
    assert store.speaker(DOMAIN, "alice").state is SpeakerState.EXPIRED
    assert [one.state for one in store.speakers(DOMAIN, None, 9)] == [SpeakerState.EXPIRED]


def test_who_is_expired_is_found_by_no_search_of_domain_or_group(stores: Stores) -> None:
    store, clock = stores.open(AGED), stores.clock
    store.groups.create(DOMAIN, "fraud")
    for day, speaker_id in enumerate("abc"):
        store.enrol(DOMAIN, speaker_id, recording(day))
        store.groups.update(DOMAIN, "fraud", [speaker_id], [])
        clock.turn(1)
    for gone, left in ((7, "abc"), (1, "bc"), (1, "c"), (1, "")):
        clock.turn(0 if gone == 7 else 1)
        clock.now = BEGIN + (9.5 + 3 - len(left)) * DAY_S
        for group in (None, "fraud"):
            found = store.search(DOMAIN, MODEL, vector(1), 9, group)
            assert sorted(speaker_id for speaker_id, _ in found.hits) == list(left)
            assert found.compared == len(left)
            assert store.is_anyone(DOMAIN, MODEL, group) == bool(left)
    assert store.groups.group(DOMAIN, "fraud").speaker_ids == ("a", "b", "c")
    assert store.count() == 3


def test_a_new_recording_takes_the_place_of_expired_ones_which_are_erased(
    stores: Stores, store_path: Path
) -> None:
    store, clock = stores.open(AGED), stores.clock
    store.enrol(DOMAIN, "alice", marked_recording(1), "Alice", consent_unix_s=BEGIN)
    store.enrol(DOMAIN, "alice", marked_recording(2))
    clock.turn(10)
    enrolled = store.enrol(DOMAIN, "alice", marked_recording(3))
    assert (enrolled.consistency, enrolled.recordings_erased) == (None, 2)
    assert [one.recording_id for one in enrolled.speaker.recordings] == [enrolled.recording_id]
    assert enrolled.speaker.display_name == "Alice"
    assert enrolled.speaker.consent_unix_s == BEGIN
    assert enrolled.speaker.state is SpeakerState.ENROLLED
    assert store.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    assert store.search(DOMAIN, MODEL, vector(1), 1).compared == 1
    assert marked_seeds(store_path.parent) == {3}
    again = store.enrol(DOMAIN, "alice", marked_recording(4))
    assert (len(again.speaker.recordings), again.recordings_erased) == (2, 0)


def test_an_erasure_of_expired_recordings_that_fails_stores_nothing_and_is_made_up_for(
    stores: Stores, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock = stores.open(AGED), stores.clock
    store.enrol(DOMAIN, "alice", marked_recording(1))
    clock.turn(10)
    failing = [False, True, True, False, False]

    def truncate(connection: sqlite3.Connection, path: Path) -> None:
        if failing.pop(0):
            raise OSError("planted")
        truncate_wal(connection, path)

    monkeypatch.setattr(sqlite_module, "truncate_wal", truncate)
    for _ in range(2):
        with pytest.raises(ErasureIncomplete):
            store.enrol(DOMAIN, "alice", marked_recording(2))
        assert store.speaker(DOMAIN, "alice").recordings == ()
        assert store.state(DOMAIN, "alice") is SpeakerState.PENDING
    assert len(store.enrol(DOMAIN, "alice", marked_recording(2)).speaker.recordings) == 1
    assert store.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    assert marked_seeds(store_path.parent) == {2}


def test_use_keeps_a_voiceprint_and_want_of_it_does_not(stores: Stores) -> None:
    store, clock = stores.open(UNUSED), stores.clock
    store.enrol(DOMAIN, "used", recording(1))
    store.enrol(DOMAIN, "unused", recording(2))
    clock.turn(9)
    store.used(DOMAIN, "used")
    assert store.speaker(DOMAIN, "used").last_used_unix_s == BEGIN + 9 * DAY_S
    clock.turn(1)
    assert store.state(DOMAIN, "used") is SpeakerState.ENROLLED
    assert store.state(DOMAIN, "unused") is SpeakerState.EXPIRED
    found = store.search(DOMAIN, MODEL, vector(1), 9)
    assert [speaker_id for speaker_id, _ in found.hits] == ["used"]
    store.used(DOMAIN, "unused")
    assert store.state(DOMAIN, "unused") is SpeakerState.EXPIRED
    clock.turn(9)
    assert store.state(DOMAIN, "used") is SpeakerState.EXPIRED


def test_last_use_is_kept_to_the_hour_and_written_once_in_it(stores: Stores) -> None:
    store, clock = stores.open(ExpirySettings()), stores.clock
    store.enrol(DOMAIN, "alice", recording(1))
    clock.now += 1800
    store.used(DOMAIN, "alice")
    assert store.speaker(DOMAIN, "alice").last_used_unix_s == BEGIN
    changes = store.record.connection.total_changes
    clock.now += 1799
    store.used(DOMAIN, "alice")
    assert store.record.connection.total_changes == changes
    clock.now += 1
    store.used(DOMAIN, "alice")
    assert store.speaker(DOMAIN, "alice").last_used_unix_s == BEGIN + 3600
    store.used(DOMAIN, "nobody")
    again = stores.open(ExpirySettings())
    assert again.speaker(DOMAIN, "alice").last_used_unix_s == BEGIN + 3600


def test_years_of_use_take_no_memory(stores: Stores) -> None:
    store, clock = stores.open(UNUSED), stores.clock
    store.enrol(DOMAIN, "alice", recording(1))
    for _ in range(300):
        clock.now += 3600
        store.used(DOMAIN, "alice")
        store.search(DOMAIN, MODEL, vector(1), 1)
        assert len(store.index._expiring) <= 1
    clock.turn(10)
    assert store.search(DOMAIN, MODEL, vector(1), 1).compared == 0
    assert store.index._expiring == []


def test_who_is_enrolled_anew_is_not_taken_for_expired_meanwhile(stores: Stores) -> None:
    store, clock = stores.open(AGED), stores.clock
    store.enrol(DOMAIN, "alice", recording(1))
    clock.turn(10)
    index = store.index
    anew = Voiceprint("alice", MODEL, index.shelves[DOMAIN, MODEL].index.reconstruct(0))
    with index._shelves_lock:  # as an expiry has it that has just found the old one
        putting = threading.Thread(target=index.put, args=(DOMAIN, "alice", anew))
        putting.start()
        putting.join(0.05)
        assert index.held(DOMAIN, "alice") is not anew
    putting.join()
    assert index.search(DOMAIN, MODEL, vector(1), 1).compared == 1
    assert index.held(DOMAIN, "alice") is anew


def test_thousands_that_expire_at_once_leave_the_others_searched(stores: Stores) -> None:
    index = stores.open(AGED).index
    vectors = np.random.default_rng(1).standard_normal((2_000, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for number, one in enumerate(vectors):
        expires = BEGIN + DAY_S if number % 5 else None
        index.put(
            DOMAIN, f"p{number}", Voiceprint(f"p{number}", MODEL, one, expires_unix_s=expires)
        )
    stores.clock.turn(1)
    for number in range(0, 2_000, 100):
        found = index.search(DOMAIN, MODEL, vectors[number], 1)
        assert found.compared == 400
        assert found.hits[0][0] == f"p{number}"


def test_a_restart_and_new_settings_count_from_the_same_times(stores: Stores) -> None:
    store, clock = stores.open(ExpirySettings()), stores.clock
    store.enrol(DOMAIN, "alice", recording(1))
    store.enrol("bank", "alice", recording(2))
    clock.turn(20)
    assert store.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    strict = stores.open(ExpirySettings(age_days=10, age_days_of=("bank=30",)))
    assert strict.state(DOMAIN, "alice") is SpeakerState.EXPIRED
    assert [domain for domain, _ in strict.index.shelves] == ["bank"]
    assert strict.search(DOMAIN, MODEL, vector(1), 1).compared == 0
    assert strict.state("bank", "alice") is SpeakerState.ENROLLED
    assert strict.speaker("bank", "alice").expires_unix_s == BEGIN + 30 * DAY_S
    never = stores.open(ExpirySettings(age_days=10, age_days_of=(f"{DOMAIN}=0", "bank=0")))
    assert never.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    assert never.speaker(DOMAIN, "alice").expires_unix_s is None


def test_an_expired_speaker_can_be_changed_deleted_and_opt_out(stores: Stores) -> None:
    store, clock = stores.open(AGED), stores.clock
    for speaker_id in "abc":
        store.enrol(DOMAIN, speaker_id, recording(1))
        store.enrol(DOMAIN, speaker_id, recording(2))
    clock.turn(11)
    assert store.search(DOMAIN, MODEL, vector(1), 1).compared == 0
    first = store.speaker(DOMAIN, "a").recordings[0].recording_id
    assert store.update(DOMAIN, "a", "A", [first]).state is SpeakerState.EXPIRED
    assert store.state(DOMAIN, "a") is SpeakerState.EXPIRED
    assert store.search(DOMAIN, MODEL, vector(1), 1).compared == 0
    assert store.delete(DOMAIN, "b") == 2
    assert store.opt_out(DOMAIN, "c").recordings_erased == 2
    assert store.state(DOMAIN, "c") is SpeakerState.OPTED_OUT
    assert store.speaker(DOMAIN, "c").expires_unix_s is None


def test_consent_is_kept_replaced_and_erased(stores: Stores) -> None:
    store = stores.open(ExpirySettings())
    store.enrol(DOMAIN, "alice", recording(1), consent_unix_s=1e9)
    store.enrol(DOMAIN, "alice", recording(2))
    assert store.speaker(DOMAIN, "alice").consent_unix_s == 1e9
    assert store.update(DOMAIN, "alice", None, [], 2e9).consent_unix_s == 2e9
    store.opt_out(DOMAIN, "alice")
    assert store.allow(DOMAIN, "alice").consent_unix_s is None


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (ExpirySettings(age_days_of=("nowhere=3",)), "is none of calls.domains"),
        (ExpirySettings(unused_days_of=("bank=3", "bank=4")), "is set twice"),
    ],
)
def test_an_expiry_of_a_domain_that_is_none_stops_the_start(
    stores: Stores, settings: ExpirySettings, problem: str
) -> None:
    with pytest.raises(SettingInvalid, match=problem):
        stores.open(settings)
