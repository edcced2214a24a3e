"""The store as calls see it; a test holds the disk by the lock that the store's changes take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.errors import (
    DomainUnknown,
    ModelMismatch,
    SpeakerUnknown,
    StoreBusy,
    StoreUnavailable,
)
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, MODEL, OTHER_MODEL, recording, vector

PENDING = 3


class Opened:
    """A store, its enrolments, and the lock that holds its disk."""

    def __init__(self, path: Path) -> None:
        self.store = EnrolmentStore(StoreSettings(path), [DOMAIN, "other"])
        self.enrolments = LocalEnrolments(self.store, PENDING)
        self.disk = self.store._record_lock


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    made = Opened(tmp_path / "x.db")
    yield made
    await made.enrolments.close()


async def test_what_was_enrolled_is_seen_by_every_question(opened: Opened) -> None:
    calls = opened.enrolments
    first = await calls.enrol(DOMAIN, "alice", recording(1), "Alice")
    assert first.consistency is None
    await calls.enrol("other", "alice", recording(2), None)
    await calls.enrol(DOMAIN, "bob", recording(3), None)
    assert await calls.count() == 3
    assert await calls.is_anyone(DOMAIN, MODEL)
    assert await calls.state(DOMAIN, "alice") is SpeakerState.ENROLLED
    assert await calls.state(DOMAIN, "carol") is None
    assert await calls.speaker(DOMAIN, "alice") == first.speaker
    listed = await calls.speakers(DOMAIN, "alice", 10)
    assert [one.speaker_id for one in listed] == ["bob"]
    found = await calls.search(DOMAIN, MODEL, vector(3), 1)
    assert (found.hits[0][0], found.compared) == ("bob", 2)
    voiceprint = await calls.voiceprint(DOMAIN, "bob", MODEL)
    assert voiceprint is not None
    with pytest.raises(ModelMismatch):
        await calls.voiceprint(DOMAIN, "bob", OTHER_MODEL)


async def test_changes_are_seen_as_soon_as_they_are_answered(opened: Opened) -> None:
    calls = opened.enrolments
    enrolled = await calls.enrol(DOMAIN, "alice", recording(1), None)
    renamed = await calls.update(DOMAIN, "alice", "Alice", [])
    assert (renamed.display_name, renamed.state) == ("Alice", SpeakerState.ENROLLED)
    await calls.update(DOMAIN, "alice", None, [enrolled.recording_id])
    assert await calls.state(DOMAIN, "alice") is SpeakerState.PENDING
    assert await calls.voiceprint(DOMAIN, "alice", MODEL) is None
    assert await calls.delete(DOMAIN, "alice") == 0
    with pytest.raises(SpeakerUnknown):
        await calls.speaker(DOMAIN, "alice")


async def test_what_is_in_memory_never_waits_for_the_disk(opened: Opened) -> None:
    calls = opened.enrolments
    await calls.enrol(DOMAIN, "alice", recording(1), None)
    with opened.disk:
        change = asyncio.ensure_future(calls.enrol(DOMAIN, "bob", recording(2), None))
        read = asyncio.ensure_future(calls.speaker(DOMAIN, "alice"))
        async with asyncio.timeout(10):
            assert await calls.voiceprint(DOMAIN, "alice", MODEL) is not None
            assert await calls.state(DOMAIN, "bob") is None
            assert await calls.count() == 1
            assert (await calls.search(DOMAIN, MODEL, vector(1), 1)).compared == 1
        assert not change.done()
        assert not read.done()
    await asyncio.gather(change, read)


async def test_more_changes_than_may_wait_are_refused_at_once_and_reads_are_not(
    opened: Opened,
) -> None:
    calls = opened.enrolments
    await calls.enrol(DOMAIN, "alice", recording(0), None)
    with opened.disk:
        waiting = [
            asyncio.ensure_future(calls.enrol(DOMAIN, f"{number}", recording(number), None))
            for number in range(PENDING)
        ]
        await asyncio.sleep(0)
        for refused in (
            calls.enrol(DOMAIN, "late", recording(9), None),
            calls.update(DOMAIN, "alice", "A", []),
            calls.delete(DOMAIN, "alice"),
        ):
            with pytest.raises(StoreBusy):
                await refused
        read = asyncio.ensure_future(calls.speakers(DOMAIN, None, 10))
        await asyncio.sleep(0.01)
        assert not read.done()
    await asyncio.gather(*waiting, read)
    await calls.enrol(DOMAIN, "late", recording(9), None)
    assert await calls.count() == PENDING + 2


async def test_more_reads_than_may_wait_are_refused_at_once_and_changes_are_not(
    opened: Opened,
) -> None:
    calls = opened.enrolments
    with opened.disk:
        waiting = [asyncio.ensure_future(calls.speakers(DOMAIN, None, 10)) for _ in range(PENDING)]
        await asyncio.sleep(0)
        for refused in (calls.speakers(DOMAIN, None, 10), calls.speaker(DOMAIN, "alice")):
            with pytest.raises(StoreBusy):
                await refused
        change = asyncio.ensure_future(calls.enrol(DOMAIN, "alice", recording(1), None))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting, change)
    assert (await calls.speaker(DOMAIN, "alice")).speaker_id == "alice"


async def test_a_change_that_was_begun_is_finished_though_its_call_is_gone(
    opened: Opened,
) -> None:
    calls = opened.enrolments
    with opened.disk:
        change = asyncio.ensure_future(calls.enrol(DOMAIN, "alice", recording(1), None))
        fails = asyncio.ensure_future(calls.delete(DOMAIN, "nobody"))
        await asyncio.sleep(0.01)
        for one in (change, fails):
            one.cancel()
        await asyncio.wait([change, fails])
    # One writing thread: what is answered now comes after what was begun.
    await calls.enrol(DOMAIN, "bob", recording(2), None)
    assert await calls.state(DOMAIN, "alice") is SpeakerState.ENROLLED


async def test_changes_that_fail_make_room_like_others(opened: Opened) -> None:
    for _ in range(2 * PENDING):
        with pytest.raises(SpeakerUnknown):
            await opened.enrolments.delete(DOMAIN, "nobody")
        with pytest.raises(DomainUnknown):
            await opened.enrolments.speakers("nosuch", None, 10)


async def test_closing_finishes_the_changes_that_were_begun(opened: Opened, tmp_path: Path) -> None:
    calls = opened.enrolments
    with opened.disk:
        change = asyncio.ensure_future(calls.enrol(DOMAIN, "alice", recording(1), None))
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(calls.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
    await asyncio.gather(change, closing)
    with pytest.raises(StoreUnavailable):
        opened.store.enrol(DOMAIN, "late", recording(2))
    again = Opened(tmp_path / "x.db")
    assert await again.enrolments.count() == 1
    await again.enrolments.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("store-")]
