"""Groups of a store: made, filled, searched, erased from, kept over a restart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speakerd_server.errors import (
    DomainUnknown,
    GroupExists,
    GroupNameInvalid,
    GroupUnknown,
    PageTokenInvalid,
    SpeakerOptedOut,
    SpeakerUnknown,
    TooManyGroups,
    TooManyMembers,
    TooManyMemberships,
)
from speakerd_server.store import groups
from speakerd_server.store.enrolment import EnrolmentStore
from support.recordings import DOMAIN, MODEL, OTHER_MODEL, Opener, recording, vector

PEOPLE = [f"p{number}" for number in range(8)]


@pytest.fixture
def filled(store: EnrolmentStore) -> EnrolmentStore:
    for seed, speaker_id in enumerate(PEOPLE):
        store.enrol(DOMAIN, speaker_id, recording(seed))
    store.groups.create(DOMAIN, "fraud")
    return store


def found(store: EnrolmentStore, group: str | None, seed: int = 0) -> list[str]:
    result = store.search(DOMAIN, MODEL, vector(seed), 100, group)
    assert result.compared == len(result.hits)
    assert store.is_anyone(DOMAIN, MODEL, group) == bool(result.compared)
    return [speaker_id for speaker_id, _ in result.hits]


def test_a_search_among_a_group_sees_its_members_with_the_same_cosines(
    filled: EnrolmentStore,
) -> None:
    filled.groups.update(DOMAIN, "fraud", ["p2", "p5", "p3"], [])
    everyone = dict(filled.search(DOMAIN, MODEL, vector(5), 8).hits)
    result = filled.search(DOMAIN, MODEL, vector(5), 2, "fraud")
    assert result.compared == 3
    ranked = sorted(("p2", "p3", "p5"), key=lambda one: -everyone[one])
    assert [speaker_id for speaker_id, _ in result.hits] == ranked[:2]
    assert dict(result.hits) == {one: everyone[one] for one in ranked[:2]}


def test_members_come_and_go(filled: EnrolmentStore) -> None:
    assert found(filled, "fraud") == []
    group = filled.groups.update(DOMAIN, "fraud", ["p4", "p1"], [])
    assert group.speaker_ids == ("p1", "p4")
    assert group == filled.groups.group(DOMAIN, "fraud")
    assert sorted(found(filled, "fraud")) == ["p1", "p4"]
    again = filled.groups.update(DOMAIN, "fraud", ["p1", "p7"], ["p4", "p0", "stranger"])
    assert again.speaker_ids == ("p1", "p7")
    assert sorted(found(filled, "fraud")) == ["p1", "p7"]
    assert filled.groups.update(DOMAIN, "fraud", ["p2"], ["p2"]).speaker_ids == ("p1", "p7")


def test_a_speaker_says_in_which_groups_it_is(filled: EnrolmentStore) -> None:
    filled.groups.create(DOMAIN, "a.household")
    filled.groups.update(DOMAIN, "fraud", ["p1"], [])
    filled.groups.update(DOMAIN, "a.household", ["p1", "p2"], [])
    assert filled.speaker(DOMAIN, "p1").groups == ("a.household", "fraud")
    assert [one.groups for one in filled.speakers(DOMAIN, "p1", 2)] == [("a.household",), ()]


def test_who_is_deleted_or_opts_out_leaves_every_group(
    filled: EnrolmentStore, store_path: Path
) -> None:
    filled.groups.update(DOMAIN, "fraud", ["p1", "p2", "p3"], [])
    filled.delete(DOMAIN, "p1")
    filled.opt_out(DOMAIN, "p2")
    assert filled.groups.group(DOMAIN, "fraud").speaker_ids == ("p3",)
    assert found(filled, "fraud") == ["p3"]
    filled.allow(DOMAIN, "p2")
    assert filled.speaker(DOMAIN, "p2").groups == ()
    filled.enrol(DOMAIN, "p1", recording(1))
    filled.enrol(DOMAIN, "p2", recording(2))
    assert found(filled, "fraud") == ["p3"]
    filled.close()
    with closing(sqlite3.connect(store_path)) as connection:
        assert connection.execute("SELECT count(*) FROM members").fetchone() == (1,)


def test_a_member_without_recordings_stays_one_and_is_found_once_enrolled(
    filled: EnrolmentStore,
) -> None:
    recording_id = filled.speaker(DOMAIN, "p1").recordings[0].recording_id
    filled.groups.update(DOMAIN, "fraud", ["p1"], [])
    filled.update(DOMAIN, "p1", None, [recording_id])
    assert (found(filled, "fraud"), filled.speaker(DOMAIN, "p1").groups) == ([], ("fraud",))
    filled.enrol(DOMAIN, "p1", recording(1))
    assert found(filled, "fraud") == ["p1"]


def test_members_enrolled_with_another_model_are_not_compared(filled: EnrolmentStore) -> None:
    filled.enrol(DOMAIN, "other", recording(20, model=OTHER_MODEL))
    filled.groups.update(DOMAIN, "fraud", ["other", "p1"], [])
    assert found(filled, "fraud") == ["p1"]
    assert filled.is_anyone(DOMAIN, OTHER_MODEL, "fraud")


def test_a_deleted_group_leaves_its_members_enrolled(filled: EnrolmentStore) -> None:
    filled.groups.update(DOMAIN, "fraud", ["p1", "p2"], [])
    assert filled.groups.delete(DOMAIN, "fraud") == 2
    for call in (filled.groups.group, filled.groups.delete):
        with pytest.raises(GroupUnknown, match="CreateGroup"):
            call(DOMAIN, "fraud")
    with pytest.raises(GroupUnknown):
        filled.search(DOMAIN, MODEL, vector(1), 1, "fraud")
    with pytest.raises(GroupUnknown):
        filled.is_anyone(DOMAIN, MODEL, "fraud")
    assert filled.speaker(DOMAIN, "p1").groups == ()
    assert filled.count() == len(PEOPLE)
    filled.groups.create(DOMAIN, "fraud")
    assert found(filled, "fraud") == []


def test_what_cannot_be_done_is_named_and_changes_nothing(filled: EnrolmentStore) -> None:
    filled.opt_out(DOMAIN, "p0")
    before = filled.groups.update(DOMAIN, "fraud", ["p1"], [])
    with pytest.raises(GroupExists, match="has a group 'fraud' already"):
        filled.groups.create(DOMAIN, "fraud")
    with pytest.raises(SpeakerUnknown, match="'stranger'"):
        filled.groups.update(DOMAIN, "fraud", ["p2", "stranger"], ["p1"])
    with pytest.raises(SpeakerOptedOut):
        filled.groups.update(DOMAIN, "fraud", ["p0"], [])
    with pytest.raises(GroupUnknown):
        filled.groups.update(DOMAIN, "nobody", ["p1"], [])
    with pytest.raises(PageTokenInvalid):
        filled.groups.groups(DOMAIN, "\ud800", 1)
    with pytest.raises(DomainUnknown):
        filled.groups.create("nowhere", "fraud")
    with pytest.raises(DomainUnknown):
        filled.groups.groups("nowhere", None, 1)
    assert filled.groups.groups(DOMAIN, None, 5) == [replace(before, speaker_ids=())]
    assert filled.groups.group(DOMAIN, "fraud") == before


@pytest.mark.parametrize("name", ["", ".x", "-x", "a b", "a/b", "ä", "x" * 65, "a\n"])
def test_names_that_cannot_be_are_refused(store: EnrolmentStore, name: str) -> None:
    with pytest.raises(GroupNameInvalid, match="letters, digits"):
        store.groups.create(DOMAIN, name)


def test_groups_and_members_are_bounded(
    filled: EnrolmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAXIMUM_MEMBERS", 3)
    monkeypatch.setattr(groups, "MAXIMUM_GROUPS", 2)
    filled.groups.update(DOMAIN, "fraud", ["p1", "p2", "p3"], [])
    with pytest.raises(TooManyMembers, match="more than 3 members"):
        filled.groups.update(DOMAIN, "fraud", ["p4"], [])
    assert len(filled.groups.update(DOMAIN, "fraud", ["p4"], ["p1"]).speaker_ids) == 3
    filled.groups.create(DOMAIN, "second")
    with pytest.raises(TooManyGroups, match="has 2 groups"):
        filled.groups.create(DOMAIN, "third")
    filled.groups.create("other", "third")
    monkeypatch.setattr(groups, "MAXIMUM_MEMBERSHIPS", 1)
    with pytest.raises(TooManyMemberships, match="'p2' is in 1 groups"):
        filled.groups.update(DOMAIN, "second", ["p2"], [])
    with pytest.raises(TooManyMemberships):
        filled.enrol(DOMAIN, "p2", recording(2), group="second")
    filled.groups.update(DOMAIN, "fraud", ["p2"], [])
    filled.enrol(DOMAIN, "p2", recording(2), group="fraud")
    filled.enrol(DOMAIN, "p2", recording(2))


def test_groups_are_listed_by_name_page_by_page_and_per_domain(store: EnrolmentStore) -> None:
    for name in ("b", "B", "a", "c"):
        store.groups.create(DOMAIN, name)
    store.groups.create("other", "a")
    assert [one.name for one in store.groups.groups(DOMAIN, None, 9)] == ["B", "a", "b", "c"]
    assert [one.name for one in store.groups.groups(DOMAIN, "a", 1)] == ["b"]
    assert store.groups.group("other", "a").domain == "other"
    store.enrol(DOMAIN, "alice", recording(1))
    assert store.groups.update(DOMAIN, "c", ["alice"], []).member_count == 1
    (listed,) = store.groups.groups(DOMAIN, "b", 9)
    assert (listed.name, listed.member_count, listed.speaker_ids) == ("c", 1, ())
    with pytest.raises(ValueError, match="limit is 0"):
        store.groups.groups(DOMAIN, None, 0)


def test_a_restart_knows_the_groups(open_store: Opener) -> None:
    first = open_store()
    for seed, speaker_id in enumerate(PEOPLE):
        first.enrol(DOMAIN, speaker_id, recording(seed))
    first.groups.create(DOMAIN, "fraud")
    first.groups.create(DOMAIN, "empty")
    first.groups.update(DOMAIN, "fraud", ["p6", "p1"], [])
    before = first.groups.groups(DOMAIN, None, 9)
    first.close()
    second = open_store()
    assert second.groups.groups(DOMAIN, None, 9) == before
    assert sorted(found(second, "fraud")) == ["p1", "p6"]
    assert found(second, "empty") == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "enrol", "delete", "search"]), st.sampled_from(PEOPLE)
    ),
    max_size=25,
)


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_whatever_changes_a_search_sees_who_is_enrolled_and_a_member(
    filled: EnrolmentStore, steps: list[tuple[str, str]]
) -> None:
    enrolled = {one.speaker_id for one in filled.speakers(DOMAIN, None, 100)}
    members = set(filled.groups.group(DOMAIN, "fraud").speaker_ids)
    for step, who in steps:
        if step == "enrol":
            filled.enrol(DOMAIN, who, recording(len(who)))
            enrolled.add(who)
        elif step == "delete" and who in enrolled:
            filled.delete(DOMAIN, who)
            enrolled.discard(who)
            members.discard(who)
        elif step == "add" and who in enrolled:
            filled.groups.update(DOMAIN, "fraud", [who], [])
            members.add(who)
        elif step == "remove":
            filled.groups.update(DOMAIN, "fraud", [], [who])
            members.discard(who)
        assert set(found(filled, "fraud")) == members
        assert set(filled.groups.group(DOMAIN, "fraud").speaker_ids) == members


def test_the_cosines_among_a_group_are_those_of_the_definition(filled: EnrolmentStore) -> None:
    filled.groups.update(DOMAIN, "fraud", PEOPLE, [])
    query = vector(99)
    for speaker_id, cosine in filled.search(DOMAIN, MODEL, query, 8, "fraud").hits:
        other = vector(PEOPLE.index(speaker_id))
        expected = query @ other / np.linalg.norm(query) / np.linalg.norm(other)
        assert cosine == pytest.approx(expected, abs=1e-6)
