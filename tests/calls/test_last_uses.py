from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.calls.last_uses import LastUses
from speakerd_server.errors import StoreBusy
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from support.recordings import DOMAIN, recording


class Counting(LocalEnrolments):
    """Real enrolments that count what is noted, and can be without room."""

    def __init__(self, store: EnrolmentStore) -> None:
        super().__init__(store, 16)
        self.asked: list[str] = []
        self.busy = self.broken = False

    async def used(self, domain: str, speaker_id: str) -> None:
        self.asked.append(speaker_id)
        if self.busy:
            raise StoreBusy(16)
        if self.broken:
            raise RuntimeError("planted")
        await super().used(domain, speaker_id)


async def test_each_speaker_is_noted_once_an_hour_and_on_disk_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EnrolmentStore(StoreSettings(tmp_path / "x.db"), [DOMAIN])
    store.enrol(DOMAIN, "alice", recording(1))
    enrolments = Counting(store)
    uses = LastUses(enrolments)
    for _ in range(5):
        uses.note(DOMAIN, "alice")
        await asyncio.sleep(0)
    uses.note(DOMAIN, "bob")
    await uses.close()
    assert enrolments.asked == ["alice", "bob"]
    noted = store.speaker(DOMAIN, "alice").last_used_unix_s
    assert noted is not None
    assert 0 <= time.time() - noted <= 7200
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    uses.note(DOMAIN, "alice")
    await uses.close()
    assert enrolments.asked == ["alice", "bob", "alice"]
    await enrolments.close()


async def test_a_note_that_fails_without_a_name_is_logged_and_lets_the_store_be_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EnrolmentStore(StoreSettings(tmp_path / "x.db"), [DOMAIN])
    enrolments = Counting(store)
    uses = LastUses(enrolments)
    enrolments.broken = True
    uses.note(DOMAIN, "alice")
    await uses.close()
    await enrolments.close()
    (logged,) = caplog.records
    assert logged.exc_info is not None
    assert "planted" in str(logged.exc_info[1])


async def test_what_cannot_be_noted_is_tried_again_and_harms_nobody(tmp_path: Path) -> None:
    store = EnrolmentStore(StoreSettings(tmp_path / "x.db"), [DOMAIN])
    store.enrol(DOMAIN, "alice", recording(1))
    enrolments = Counting(store)
    uses = LastUses(enrolments)
    enrolments.busy = True
    uses.note(DOMAIN, "alice")
    await uses.close()
    enrolments.busy = False
    uses.note(DOMAIN, "alice")
    await uses.close()
    assert enrolments.asked == ["alice", "alice"]
    assert store.speaker(DOMAIN, "alice").last_used_unix_s is not None
    await enrolments.close()


async def test_notes_under_way_are_bounded(tmp_path: Path) -> None:
    store = EnrolmentStore(StoreSettings(tmp_path / "x.db"), [DOMAIN])
    enrolments = Counting(store)
    uses = LastUses(enrolments)
    for number in range(500):
        uses.note(DOMAIN, f"p{number}")
    await uses.close()
    assert len(enrolments.asked) == 64
    await enrolments.close()
