from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speakerd_server.calls.enrolments import Enrolments
from speakerd_server.errors import (
    ErasureIncomplete,
    ModelMismatch,
    RecordingUnknown,
    SpeakerUnknown,
    StoreBusy,
)
from speakerd_server.processes import store_port
from speakerd_server.processes.link import Link, LinkLost
from speakerd_server.processes.store_port import CHANGES, READS, Forget, StoreCall
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, MODEL, OTHER_MODEL, recording, vector
from support.shared_ends import until
from support.store_over_link import PENDING, Hearing, linked, served_store

ANNA = Forget(DOMAIN, "anna")


async def ask(link: Link, method: str, *arguments: Any) -> Any:
    async with asyncio.timeout(5):
        return await link.ask(StoreCall(method, arguments))


async def enrol(link: Link, speaker_id: str = "anna", seed: int = 1) -> Any:
    return await ask(link, "enrol", DOMAIN, speaker_id, recording(seed), None)


def test_everything_that_a_store_does_can_be_asked_for() -> None:
    public = {name for name in vars(Enrolments) if not name.startswith("_")}
    assert public - {"close"} == {*READS, *CHANGES}
    assert not set(READS) & set(CHANGES)


async def test_another_process_is_answered_as_this_one_would_be(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (enrolments, path):
        link = await linked(path, Hearing())
        enrolled = await enrol(link)
        assert enrolled.speaker == await enrolments.speaker(DOMAIN, "anna")
        assert await ask(link, "count") == 1
        assert await ask(link, "is_anyone", DOMAIN, MODEL)
        assert await ask(link, "state", DOMAIN, "anna") is SpeakerState.ENROLLED
        found = await ask(link, "search", DOMAIN, MODEL, vector(1), 3)
        assert found.hits[0][0] == "anna"
        voiceprint = await ask(link, "voiceprint", DOMAIN, "anna", MODEL)
        local = await enrolments.voiceprint(DOMAIN, "anna", MODEL)
        assert local is not None
        np.testing.assert_array_equal(voiceprint.vector, local.vector)
        assert await ask(link, "speakers", DOMAIN, None, 9) == [enrolled.speaker]
        assert (await ask(link, "update", DOMAIN, "anna", "Anna", ())).display_name == "Anna"
        assert await ask(link, "delete", DOMAIN, "anna") == 1
        assert await ask(link, "voiceprint", DOMAIN, "anna", MODEL) is None
        await link.close()


async def test_named_failures_come_through_with_their_numbers(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path):
        link = await linked(path, Hearing())
        await enrol(link)
        with pytest.raises(ModelMismatch):
            await ask(link, "voiceprint", DOMAIN, "anna", OTHER_MODEL)
        with pytest.raises(RecordingUnknown) as unknown:
            await ask(link, "update", DOMAIN, "anna", None, ("no-such",))
        assert unknown.value.recording_id == "no-such"
        with pytest.raises(SpeakerUnknown):
            await ask(link, "delete", DOMAIN, "berta")
        await link.close()


@pytest.mark.parametrize("method", ["close", "_change", "__init__", "gate", "", "Speaker"])
async def test_nothing_else_can_be_asked_for(method: str, tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path):
        link = await linked(path, Hearing())
        with pytest.raises(RuntimeError, match="nothing that a store does"):
            await ask(link, method)
        await link.close()


async def test_a_change_is_answered_once_every_process_has_forgotten(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path):
        asker, slow, quick = Hearing(), Hearing(), Hearing()
        links = [await linked(path, one) for one in (asker, slow, quick)]
        slow.gate.clear()
        change = asyncio.create_task(enrol(links[0]))
        await slow.told.wait()
        await until(lambda: asker.heard == quick.heard == [ANNA])
        assert not change.done()
        slow.gate.set()
        assert (await change).speaker.speaker_id == "anna"
        assert slow.heard == [ANNA]
        for link in links:
            await link.close()


async def test_a_process_that_does_not_answer_is_let_go_of_and_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_port, "_PATIENCE_S", 0.05)
    async with served_store(tmp_path) as (_, path):
        stuck = Hearing()
        stuck.gate.clear()
        links = [await linked(path, one) for one in (Hearing(), stuck)]
        await enrol(links[0])
        with pytest.raises(LinkLost):
            await ask(links[1], "count")
        assert await ask(links[0], "count") == 1
        for link in links:
            await link.close()


async def test_a_process_that_dies_while_it_is_told_holds_up_nobody(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path):
        dying = Hearing()
        dying.gate.clear()
        links = [await linked(path, one) for one in (Hearing(), dying)]
        change = asyncio.create_task(enrol(links[0]))
        await dying.told.wait()
        await links[1].close()
        await change
        await links[0].close()


async def test_everyone_hears_of_a_change_whose_asker_died(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (enrolments, path):
        other = Hearing()
        dying, living = await linked(path, Hearing()), await linked(path, other)
        await enrol(living)
        other.heard.clear()
        enrolments.gate.clear()
        change = asyncio.create_task(ask(dying, "delete", DOMAIN, "anna"))
        await enrolments.begun.wait()
        await dying.close()
        with pytest.raises(LinkLost):
            await change
        enrolments.gate.set()
        await until(lambda: other.heard == [ANNA])
        assert await ask(living, "voiceprint", DOMAIN, "anna", MODEL) is None
        await living.close()


@pytest.mark.parametrize("failure", [ErasureIncomplete("the disk is full"), OSError("odd")])
async def test_everyone_hears_of_a_change_that_failed_half_way(
    failure: Exception, tmp_path: Path
) -> None:
    async with served_store(tmp_path) as (enrolments, path):
        other = Hearing()
        links = [await linked(path, one) for one in (Hearing(), other)]
        await enrol(links[0])
        other.heard.clear()
        enrolments.failure = failure
        with pytest.raises((ErasureIncomplete, RuntimeError)):
            await ask(links[0], "delete", DOMAIN, "anna")
        assert other.heard == [ANNA]
        for link in links:
            await link.close()


async def test_a_change_that_was_never_begun_disturbs_nobody(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path):
        other = Hearing()
        links = [await linked(path, one) for one in (Hearing(), other)]
        changes = [enrol(links[0], f"speaker-{n}", n) for n in range(3 * PENDING)]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, StoreBusy)]
        assert refused
        assert len(other.heard) == 3 * PENDING - len(refused)
        for link in links:
            await link.close()


async def test_a_peer_that_talks_nonsense_harms_nobody_else(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path):
        link = await linked(path, Hearing())
        with socket.socket(socket.AF_UNIX) as bad:
            bad.connect(str(path))
            bad.sendall(b"\xff" * 50)
            await asyncio.sleep(0.01)
            await enrol(link)
            assert bad.recv(100) == b""
        await link.close()


async def test_the_socket_of_a_store_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "store"))
    async with served_store(tmp_path) as (_, path):
        link = await linked(path, Hearing())
        assert await ask(link, "count") == 0
        await link.close()


async def test_a_store_that_closes_lets_go_of_everyone_and_listens_no_more(
    tmp_path: Path,
) -> None:
    async with served_store(tmp_path) as (_, path):
        link = await linked(path, Hearing())
        await ask(link, "count")
    with pytest.raises(LinkLost):
        await ask(link, "count")
    with pytest.raises(OSError, match=r"refused|No such"):
        await linked(path, Hearing())
    await link.close()
