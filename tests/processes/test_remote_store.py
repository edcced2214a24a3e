from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import (
    GroupExists,
    GroupUnknown,
    SpeakerOptedOut,
    SpeakerUnknown,
    StoreBusy,
    StoreInterrupted,
    StoreUnavailable,
)
from speakerd_server.processes import remote_store
from speakerd_server.processes.remote_store import RemoteEnrolments
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, MODEL, recording, vector
from support.shared_ends import until
from support.store_over_link import PENDING, asking, served_store


async def enrol(remote: RemoteEnrolments, speaker_id: str = "anna", seed: int = 1) -> None:
    await remote.enrol(DOMAIN, speaker_id, recording(seed), None)


async def is_known(remote: RemoteEnrolments, speaker_id: str = "anna") -> bool:
    return await remote.voiceprint(DOMAIN, speaker_id, MODEL) is not None


async def test_every_question_is_answered_as_in_one_process(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (local, path), asking(path) as remote:
        await remote.ready()
        enrolled = await remote.enrol(DOMAIN, "anna", recording(1), "Anna")
        assert enrolled.speaker == await local.speaker(DOMAIN, "anna")
        assert await remote.state(DOMAIN, "anna") is SpeakerState.ENROLLED
        assert await remote.count() == await remote.is_anyone(DOMAIN, MODEL) == 1
        assert await remote.speaker(DOMAIN, "anna") == enrolled.speaker
        assert await remote.speakers(DOMAIN, None, 5) == [enrolled.speaker]
        search = await remote.search(DOMAIN, MODEL, vector(1), 1)
        assert search == await local.search(DOMAIN, MODEL, vector(1), 1)
        renamed = await remote.update(DOMAIN, "anna", "Berta", [enrolled.recording_id])
        assert (renamed.display_name, renamed.state) == ("Berta", SpeakerState.PENDING)
        assert await remote.delete(DOMAIN, "anna") == 0
        with pytest.raises(SpeakerUnknown):
            await remote.speaker(DOMAIN, "anna")


async def test_a_voiceprint_is_asked_for_once_and_so_is_its_absence(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (local, path), asking(path) as remote:
        await remote.ready()
        await enrol(remote)
        for _ in range(5):
            assert await is_known(remote)
            assert not await is_known(remote, "nobody")
        assert local.voiceprints_asked == 2


async def test_what_one_process_changed_every_other_sees_when_it_is_answered(
    tmp_path: Path,
) -> None:
    async with served_store(tmp_path) as (_, path), asking(path) as one, asking(path) as other:
        await one.ready()
        await other.ready()
        assert not await is_known(other)
        await enrol(one, seed=1)
        assert await is_known(other)
        before = await other.voiceprint(DOMAIN, "anna", MODEL)
        await enrol(one, seed=2)
        after = await other.voiceprint(DOMAIN, "anna", MODEL)
        assert before is not None
        assert after is not None
        assert not np.array_equal(before.vector, after.vector)
        await other.delete(DOMAIN, "anna")
        assert not await is_known(one)


async def test_an_opt_out_and_its_end_are_seen_by_every_process_when_they_are_answered(
    tmp_path: Path,
) -> None:
    async with served_store(tmp_path) as (_, path), asking(path) as one, asking(path) as other:
        await one.ready()
        await other.ready()
        await enrol(one)
        assert await is_known(other)
        opted_out = await one.opt_out(DOMAIN, "anna")
        assert opted_out.recordings_erased == 1
        assert not await is_known(other)
        assert await other.state(DOMAIN, "anna") is SpeakerState.OPTED_OUT
        with pytest.raises(SpeakerOptedOut) as refused:
            await enrol(other)
        assert refused.value.speaker_id == "anna"
        assert (await other.allow(DOMAIN, "anna")).state is SpeakerState.PENDING
        await enrol(other)
        assert await is_known(one)


async def test_a_deletion_whose_process_died_is_seen_by_the_others(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (local, path), asking(path) as living:
        await living.ready()
        await enrol(living)
        assert await is_known(living)
        async with asking(path) as dying:
            await dying.ready()
            local.gate.clear()
            deletion = asyncio.create_task(dying.delete(DOMAIN, "anna"))
            await local.begun.wait()
        with pytest.raises(StoreInterrupted):
            await deletion
        local.gate.set()
        async with asyncio.timeout(5):
            while await is_known(living):  # noqa: ASYNC110 - nobody tells when it was done
                await asyncio.sleep(0.001)


async def test_what_was_asked_before_a_change_is_not_kept_after_it(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (_, path), asking(path) as one, asking(path) as other:
        await one.ready()
        await other.ready()
        for seed in range(20):
            reads = [asyncio.create_task(is_known(other)) for _ in range(seed)]
            await enrol(one, seed=seed)
            assert await is_known(other)
            reads += [asyncio.create_task(is_known(other)) for _ in range(seed)]
            await one.delete(DOMAIN, "anna")
            assert not await is_known(other)
            await asyncio.gather(*reads)


async def test_whatever_is_changed_and_read_at_once_all_agree_on_what_was_answered(
    tmp_path: Path,
) -> None:
    rng, enrolled = random.Random(7), set[str]()
    async with served_store(tmp_path) as (_, path), AsyncExitStack() as stack:
        remotes = [await stack.enter_async_context(asking(path)) for _ in range(3)]
        for remote in remotes:
            await remote.ready()
        for step in range(150):
            names = [f"s{number}" for number in range(4)]
            name, remote = rng.choice(names), rng.choice(remotes)
            noise = [is_known(rng.choice(remotes), rng.choice(names)) for _ in range(6)]
            reading = asyncio.gather(*noise)
            if name in enrolled:
                await remote.delete(DOMAIN, name)
                enrolled.discard(name)
            else:
                await enrol(remote, name, step)
                enrolled.add(name)
            for every in remotes:
                assert await is_known(every, name) == (name in enrolled)
            await reading


async def test_a_store_that_is_not_there_is_named_and_waited_for(tmp_path: Path) -> None:
    async with asking(tmp_path / "store") as remote:
        with pytest.raises(StoreUnavailable, match="started again"):
            await remote.count()
        with pytest.raises(StoreUnavailable):
            await remote.enrol(DOMAIN, "anna", recording(1), None)
        async with served_store(tmp_path):
            async with asyncio.timeout(5):
                await remote.ready()
            assert await remote.count() == 0


async def test_questions_to_a_store_that_dies_end_by_name(tmp_path: Path) -> None:
    async with asking(tmp_path / "store") as remote:
        async with served_store(tmp_path) as (local, _):
            await remote.ready()
            local.gate.clear()
            asked = [asyncio.create_task(remote.speaker(DOMAIN, "anna")) for _ in range(3)]
            await asyncio.sleep(0.01)
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
        with pytest.raises(StoreUnavailable):
            await remote.count()


async def test_what_was_known_is_forgotten_with_the_store_that_said_it(tmp_path: Path) -> None:
    async with asking(tmp_path / "store") as remote:
        async with served_store(tmp_path):
            await remote.ready()
            await enrol(remote)
            assert await is_known(remote)
        await until(lambda: remote._link is None)
        with pytest.raises(StoreUnavailable):
            await is_known(remote)
        async with served_store(tmp_path) as (local, _):
            await local.delete(DOMAIN, "anna")
            await remote.ready()
            assert not await is_known(remote)


async def test_more_than_may_wait_for_the_disk_are_refused_and_live_calls_are_not(
    tmp_path: Path,
) -> None:
    async with served_store(tmp_path) as (local, path), asking(path, pending=2) as remote:
        await remote.ready()
        local.gate.clear()
        asked = [asyncio.create_task(remote.speaker(DOMAIN, "anna")) for _ in range(2)]
        await asyncio.sleep(0)
        for disk in (
            remote.speaker(DOMAIN, "anna"),
            remote.speakers(DOMAIN, None, 1),
            remote.delete(DOMAIN, "anna"),
            remote.update(DOMAIN, "anna", "Anna", ()),
        ):
            with pytest.raises(StoreBusy) as refused:
                await disk
            assert refused.value.limit == 2
        assert not await is_known(remote)
        assert not await remote.is_anyone(DOMAIN, MODEL)
        assert (await remote.search(DOMAIN, MODEL, vector(1), 1)).hits == ()
        local.gate.set()
        await asyncio.gather(*asked, return_exceptions=True)
        await enrol(remote)


async def test_a_change_is_made_though_its_caller_is_gone_and_leaves_room(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (local, path), asking(path) as remote:
        await remote.ready()
        for number in range(2 * PENDING):
            change = asyncio.create_task(enrol(remote, f"s{number}", number))
            await asyncio.sleep(0)
            change.cancel()
            with pytest.raises(asyncio.CancelledError):
                await change
            async with asyncio.timeout(5):
                while await local.count() <= number:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        await until(lambda: remote._pending == 0)


async def test_no_more_speakers_are_kept_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_store, "_KEPT", 3)
    async with served_store(tmp_path) as (local, path), asking(path) as remote:
        await remote.ready()
        for number in range(10):
            await is_known(remote, f"s{number}")
        assert len(remote._kept) == 3
        asked = local.voiceprints_asked
        await is_known(remote, "s9")
        assert local.voiceprints_asked == asked
        await is_known(remote, "s0")
        assert local.voiceprints_asked == asked + 1


async def test_a_process_that_closes_before_the_store_came_asks_no_more(tmp_path: Path) -> None:
    async with asking(tmp_path / "store") as remote:
        await asyncio.sleep(0.01)
    async with served_store(tmp_path):
        await asyncio.sleep(0.1)
        with pytest.raises(StoreUnavailable):
            await remote.count()


async def test_groups_are_those_of_the_store_in_every_process(tmp_path: Path) -> None:
    async with served_store(tmp_path) as (local, path), asking(path) as one, asking(path) as other:
        await one.ready()
        await other.ready()
        await enrol(one)
        await one.create_group(DOMAIN, "fraud")
        group = await one.update_group(DOMAIN, "fraud", ["anna"], [])
        assert group.speaker_ids == ("anna",)
        assert await other.group(DOMAIN, "fraud") == await local.group(DOMAIN, "fraud") == group
        (listed,) = await other.groups(DOMAIN, None, 9)
        assert listed == replace(group, speaker_ids=())
        found = await other.search(DOMAIN, MODEL, vector(1), 3, "fraud")
        assert [speaker_id for speaker_id, _ in found.hits] == ["anna"]
        assert await other.is_anyone(DOMAIN, MODEL, "fraud")
        with pytest.raises(GroupExists):
            await other.create_group(DOMAIN, "fraud")
        assert await other.delete_group(DOMAIN, "fraud") == 1
        with pytest.raises(GroupUnknown) as unknown:
            await one.search(DOMAIN, MODEL, vector(1), 3, "fraud")
        assert unknown.value.name == "fraud"
