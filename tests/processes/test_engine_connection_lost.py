from __future__ import annotations

import asyncio
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import BatchFailed, EngineLost
from speakerd_server.processes.windows_shared import (
    EMBEDDED,
    REFUSED,
    SUBMIT,
    Record,
)
from support.engine_alone import engine_process
from support.front_ends import NAME, connected, greeted, settled
from support.shared_ends import BareEngine, until
from support.sounds import fake_embedding, window

EMBEDDING = np.arange(1, 6, dtype=np.float32)


async def test_an_engine_that_is_gone_fails_what_it_computed_and_hands_back_the_rest(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        jobs = [front.submit(window(20, seed), live=seed != 2) for seed in range(4)]
        records = [await engine.heard() for _ in jobs]
        engine.slot(records[0]).take(0.0, 1)
        engine.slot(records[3]).take(0.0, 1)
        jobs[1].future.cancel()
        jobs[3].future.cancel()
        engine.hang_up()
        (lost,) = await settled(jobs[0])
        assert isinstance(lost, EngineLost)
        assert lost.name == NAME
        assert front.orphans == [jobs[2]]
        assert not jobs[2].future.done()
        assert front.connection.windows == 0


async def test_an_engine_that_comes_back_gets_windows_again_with_all_the_room(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path, queue_windows=2) as front:
        for times in range(1, 4):
            for _ in range(2):
                front.submit(window(20))
            engine.hang_up()
            await until(lambda: not front.connection.is_up)
            await engine.greet()
            await front.is_up(times + 1)
        job = front.submit(window(20))
        engine.embed(await engine.heard(), EMBEDDING)
        np.testing.assert_array_equal(np.asarray((await settled(job))[0]), EMBEDDING)
        assert len(front.orphans) == 6


async def test_connecting_again_and_again_leaves_nothing_open(
    engine: BareEngine, path: Path
) -> None:
    open_files: list[int] = []
    async with connected(path, engine=engine) as front:
        for times in range(1, 6):
            await engine.greet()
            await front.is_up(times)
            open_files.append(len(os.listdir("/proc/self/fd")))
            engine.hang_up()
            await until(lambda: not front.connection.is_up)
    assert open_files[-1] == open_files[1]


GARBAGE = {
    "an answer of no kind": Record(0, 0).packed(),
    "a question": Record(SUBMIT, 0).packed(),
    "an embedding of nothing": Record(EMBEDDED, 0, samples=0).packed(),
    "an embedding beyond all measure": Record(EMBEDDED, 0, samples=2**32 - 1).packed(),
    "an error beyond all measure": Record(REFUSED, 0, samples=2**32 - 1).packed(),
    "an error that is none": Record(REFUSED, 0, samples=4).packed() + pickle.dumps(7),
    "an error that cannot be read": Record(REFUSED, 0, samples=4).packed() + b"oops",
    "an error of no bytes": Record(REFUSED, 0).packed(),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
async def test_nonsense_ends_the_connection_and_leaves_no_window_behind(
    content: bytes, engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        jobs = [front.submit(window(20)) for _ in range(3)]
        records = [await engine.heard() for _ in jobs]
        engine.slot(records[1]).take(0.0, 1)
        engine.say(content)
        (lost,) = await settled(jobs[1])
        assert isinstance(lost, EngineLost)
        assert front.orphans == [jobs[0], jobs[2]]
        await engine.greet()
        await front.is_up(2)
        front.submit(window(20))
        await engine.heard()


@pytest.mark.parametrize("sent", [1, 31, 33, 40])
async def test_an_engine_that_dies_within_an_answer_has_not_answered(
    sent: int, engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        job = front.submit(window(20))
        record = await engine.heard()
        error = pickle.dumps(BatchFailed("half of it"))
        content = Record(REFUSED, record.job, samples=len(error)).packed() + error
        engine.say(content[:sent])
        engine.hang_up()
        await until(lambda: front.orphans == [job])
        assert not job.future.done()


async def test_windows_still_out_when_the_front_end_lets_go_end_by_name(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        jobs = [front.submit(window(20)) for _ in range(3)]
    for outcome in await settled(*jobs):
        assert isinstance(outcome, EngineLost)
    assert front.orphans == []
    assert not front.connection.is_up


async def test_a_killed_engine_process_leaves_nobody_waiting_and_its_successor_serves(
    path: Path,
) -> None:
    async with connected(path) as front:
        with engine_process(path, delay_s=0.3) as process:
            await front.is_up()
            jobs = [front.submit(window(20, seed)) for seed in range(6)]
            await until(lambda: any(job.slot is not None and job.slot.taken for job in jobs))
            await asyncio.sleep(0.05)
            process.kill()
            await until(lambda: not front.connection.is_up)
        lost = [job for job in jobs if job.future.done()]
        assert lost
        for outcome in await settled(*lost):
            assert isinstance(outcome, EngineLost)
        assert {id(job) for job in front.orphans} == {id(j) for j in jobs} - {id(j) for j in lost}
        with engine_process(path, delay_s=0.0):
            await front.is_up(2)
            job = front.submit(window(20))
            np.testing.assert_array_equal(
                np.asarray((await settled(job))[0]), fake_embedding(window(20))
            )
