"""Speakers who have opted out of the store: erased, kept out, let in again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from speakerd_server.errors import (
    DomainUnknown,
    SpeakerIdInvalid,
    SpeakerNotOptedOut,
    SpeakerOptedOut,
    SpeakerUnknown,
)
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, MODEL, OTHER_MODEL, Opener, recording, vector


def test_an_opt_out_erases_and_refuses_until_it_is_lifted(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1), "Alice")
    store.enrol(DOMAIN, "alice", recording(2))
    opted_out = store.opt_out(DOMAIN, "alice")
    assert opted_out.recordings_erased == 2
    assert opted_out.speaker == store.speaker(DOMAIN, "alice")
    assert opted_out.speaker.state is SpeakerState.OPTED_OUT
    assert (opted_out.speaker.recordings, opted_out.speaker.display_name) == ((), "")
    with pytest.raises(SpeakerOptedOut, match="AllowSpeaker lifts it"):
        store.enrol(DOMAIN, "alice", recording(3), "Alice")
    assert store.speaker(DOMAIN, "alice") == opted_out.speaker
    allowed = store.allow(DOMAIN, "alice")
    assert (allowed.state, allowed.opted_out_unix_s) == (SpeakerState.PENDING, None)
    assert store.state(DOMAIN, "alice") is SpeakerState.PENDING
    again = store.enrol(DOMAIN, "alice", recording(3, model=OTHER_MODEL))
    assert (again.consistency, len(again.speaker.recordings)) == (None, 1)
    assert again.speaker.created_unix_s == opted_out.speaker.created_unix_s


def test_who_has_opted_out_is_found_by_no_search_and_has_no_voiceprint(
    store: EnrolmentStore,
) -> None:
    for seed, speaker_id in enumerate("abc"):
        store.enrol(DOMAIN, speaker_id, recording(seed))
    store.opt_out(DOMAIN, "b")
    found = store.search(DOMAIN, MODEL, vector(1), 10)
    assert sorted(speaker_id for speaker_id, _ in found.hits) == ["a", "c"]
    assert found.compared == 2
    assert store.is_anyone(DOMAIN, MODEL)
    assert store.voiceprint(DOMAIN, "b", MODEL) is None
    assert store.voiceprint(DOMAIN, "b", OTHER_MODEL) is None
    assert store.count() == 3


def test_an_id_that_was_never_enrolled_can_opt_out_in_its_domain(store: EnrolmentStore) -> None:
    assert store.opt_out(DOMAIN, "stranger").recordings_erased == 0
    with pytest.raises(SpeakerOptedOut):
        store.enrol(DOMAIN, "stranger", recording(1))
    store.enrol("other", "stranger", recording(1))
    assert [one.speaker_id for one in store.speakers(DOMAIN, None, 5)] == ["stranger"]


def test_opting_out_again_changes_nothing(store: EnrolmentStore) -> None:
    first = store.opt_out(DOMAIN, "alice")
    second = store.opt_out(DOMAIN, "alice")
    assert (second.speaker, second.recordings_erased) == (first.speaker, 0)


def test_a_deletion_does_not_forget_an_opt_out(store: EnrolmentStore) -> None:
    store.opt_out(DOMAIN, "alice")
    with pytest.raises(SpeakerOptedOut, match="not forgotten by a deletion"):
        store.delete(DOMAIN, "alice")
    assert store.state(DOMAIN, "alice") is SpeakerState.OPTED_OUT
    store.allow(DOMAIN, "alice")
    assert store.delete(DOMAIN, "alice") == 0
    assert store.state(DOMAIN, "alice") is None


def test_nothing_is_written_of_who_has_opted_out(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1), "Alice", consent_unix_s=1e9)
    store.used(DOMAIN, "alice")
    out = store.opt_out(DOMAIN, "alice").speaker
    assert (out.consent_unix_s, out.last_used_unix_s, out.display_name) == (None, None, "")
    store.used(DOMAIN, "alice")
    for change in ({"display_name": "Alice"}, {"consent_unix_s": 2e9}):
        wanted: dict[str, Any] = {"display_name": None, "remove_recording_ids": []} | change
        with pytest.raises(SpeakerOptedOut):
            store.update(DOMAIN, "alice", **wanted)
    assert store.update(DOMAIN, "alice", None, []) == store.speaker(DOMAIN, "alice") == out


def test_what_cannot_be_lifted_or_opted_out_is_named(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    with pytest.raises(SpeakerNotOptedOut, match="'alice' has not opted out"):
        store.allow(DOMAIN, "alice")
    with pytest.raises(SpeakerUnknown):
        store.allow(DOMAIN, "nobody")
    with pytest.raises(SpeakerIdInvalid):
        store.opt_out(DOMAIN, "a/b")
    for call in (store.opt_out, store.allow):
        with pytest.raises(DomainUnknown):
            call("nowhere", "alice")
    assert store.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    assert store.count() == 1


def test_a_restart_knows_who_has_opted_out(open_store: Opener) -> None:
    first = open_store()
    first.enrol(DOMAIN, "alice", recording(1))
    first.enrol(DOMAIN, "bob", recording(2))
    before = first.opt_out(DOMAIN, "alice").speaker
    first.opt_out(DOMAIN, "lifted")
    first.allow(DOMAIN, "lifted")
    first.close()
    second = open_store()
    assert second.speaker(DOMAIN, "alice") == before
    assert second.state(DOMAIN, "alice") is SpeakerState.OPTED_OUT
    assert second.state(DOMAIN, "bob") is SpeakerState.ENROLLED
    assert second.state(DOMAIN, "lifted") is SpeakerState.PENDING
    with pytest.raises(SpeakerOptedOut):
        second.enrol(DOMAIN, "alice", recording(3))


def test_a_recording_that_a_damaged_file_has_of_someone_opted_out_is_not_served(
    open_store: Opener, store_path: Path
) -> None:
    store = open_store()
    store.enrol(DOMAIN, "alice", recording(1))
    store.close()
    with closing(sqlite3.connect(store_path, isolation_level=None)) as connection:
        connection.execute("UPDATE speakers SET opted_out_unix_s = 1.0")
    again = open_store()
    assert again.speaker(DOMAIN, "alice").state is SpeakerState.OPTED_OUT
    assert again.voiceprint(DOMAIN, "alice", MODEL) is None
    assert again.search(DOMAIN, MODEL, vector(1), 1).hits == ()
