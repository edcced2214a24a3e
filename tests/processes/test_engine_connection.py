from __future__ import annotations

import asyncio
import os
import pickle
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.errors import BatchFailed, EngineLost, EngineQueueFull
from speakerd_server.processes import engine_connection
from speakerd_server.processes.windows_shared import (
    CANCEL,
    EMBEDDED,
    HELLO,
    REFUSED,
    RELEASED,
    SUBMIT,
    Record,
)
from speakerd_server.values import Window
from support.batching import Gated
from support.front_ends import connected, greeted, settled
from support.shared_ends import NUMBER, BareEngine, ported, until
from support.sounds import DIM, fake_embedding, window

EMBEDDING = np.arange(1, 6, dtype=np.float32)


async def test_windows_come_back_as_an_engine_beside_would_embed_them(path: Path) -> None:
    windows = [window(frames, seed) for seed, frames in enumerate([20, 3, 198, 20])]
    async with ported(path, FakeBackend(DIM)), connected(path) as front:
        await front.is_up()
        for _ in range(3):
            jobs = [front.submit(one) for one in windows]
            for one, embedding in zip(windows, await settled(*jobs), strict=True):
                np.testing.assert_array_equal(np.asarray(embedding), fake_embedding(one))
        assert front.connection.windows == 0


async def test_the_engine_is_told_what_the_window_is(engine: BareEngine, path: Path) -> None:
    async with greeted(engine, path) as front:
        one = window(20)
        for live in (True, False):
            job = front.submit(one, live=live)
            record = await engine.heard()
            assert (record.kind, record.model, record.live) == (SUBMIT, NUMBER, live)
            assert not engine.slot(record).taken
            np.testing.assert_array_equal(engine.slot(record).window().pcm, one.pcm)
            np.testing.assert_array_equal(engine.slot(record).window().rows, one.rows)
            engine.embed(record, EMBEDDING)
            assert (await settled(job))[0] is not None


async def test_more_windows_than_may_be_there_are_refused_by_name_at_once(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path, queue_windows=2) as front:
        jobs = [front.submit(window(20)) for _ in range(2)]
        with pytest.raises(EngineQueueFull) as refused:
            front.submit(window(20))
        assert refused.value.limit == 2
        engine.embed(await engine.heard(), EMBEDDING)
        await settled(jobs[0])
        front.submit(window(20))


async def test_memory_that_is_full_is_a_named_refusal_and_has_room_again(
    engine: BareEngine, path: Path
) -> None:
    long = Window(0, np.zeros(9_600_000, np.float32), np.arange(60_000), 0)
    async with greeted(engine, path) as front:
        job = front.submit(long)
        with pytest.raises(EngineQueueFull):
            front.submit(long)
        short = front.submit(window(20))
        engine.embed(await engine.heard(), EMBEDDING)
        engine.embed(await engine.heard(), EMBEDDING)
        await settled(job, short)
        front.submit(long)


async def test_the_slot_of_a_cancelled_window_is_kept_until_the_engine_has_let_go_of_it(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path, queue_windows=1) as front:
        for answer in (RELEASED, EMBEDDED, REFUSED):
            job = front.submit(window(20))
            submitted = await engine.heard()
            job.future.cancel()
            cancelled = await engine.heard()
            assert (cancelled.kind, cancelled.job) == (CANCEL, submitted.job)
            with pytest.raises(EngineQueueFull):
                front.submit(window(20))
            if answer == EMBEDDED:
                engine.embed(submitted, EMBEDDING)
            elif answer == REFUSED:
                engine.refuse(submitted, BatchFailed("nobody hears this"))
            else:
                engine.say(Record(RELEASED, submitted.job))
            await until(lambda: front.connection.windows == 0)
        assert job.future.cancelled()


async def test_callers_that_give_up_leave_no_slot_behind(path: Path) -> None:
    backend = Gated()
    async with ported(path, backend), connected(path, queue_windows=4) as front:
        await front.is_up()
        front.submit(window(20))
        await backend.wait_until_busy()
        for _ in range(50):
            jobs = [front.submit(window(20)) for _ in range(3)]
            for job in jobs:
                job.future.cancel()
            await until(lambda: front.connection.windows == 1)
        backend.gate.release(100)
        last = front.submit(window(20))
        np.testing.assert_array_equal(
            np.asarray((await settled(last))[0]), fake_embedding(window(20))
        )


async def test_what_the_engine_refuses_is_raised_with_its_numbers(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        job, other = front.submit(window(20)), front.submit(window(20))
        engine.refuse(await engine.heard(), EngineQueueFull(77))
        engine.embed(await engine.heard(), EMBEDDING)
        error, embedding = await settled(job, other)
        assert isinstance(error, EngineQueueFull)
        assert error.limit == 77
        np.testing.assert_array_equal(np.asarray(embedding), EMBEDDING)


async def test_a_window_let_go_of_while_somebody_waits_is_a_lost_one(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        job = front.submit(window(20))
        engine.say(Record(RELEASED, (await engine.heard()).job))
        assert isinstance((await settled(job))[0], EngineLost)


async def test_answers_may_come_in_any_pieces(engine: BareEngine, path: Path) -> None:
    async with greeted(engine, path) as front:
        job, other = front.submit(window(20)), front.submit(window(20))
        first, second = await engine.heard(), await engine.heard()
        engine.slot(second).write_embedding(EMBEDDING)
        error = pickle.dumps(BatchFailed("a part of it"))
        content = Record(REFUSED, first.job, samples=len(error)).packed() + error
        content += Record(EMBEDDED, second.job, samples=5).packed()
        for at in range(len(content)):
            await asyncio.to_thread(engine.say, content[at : at + 1])
        failed, embedding = await settled(job, other)
        assert isinstance(failed, BatchFailed)
        np.testing.assert_array_equal(np.asarray(embedding), EMBEDDING)


async def test_an_answer_that_nobody_waits_for_is_ignored(engine: BareEngine, path: Path) -> None:
    async with greeted(engine, path) as front:
        engine.say(Record(EMBEDDED, 99, samples=5), Record(RELEASED, 2**64 - 1))
        job = front.submit(window(20))
        record = await engine.heard()
        engine.embed(record, EMBEDDING)
        engine.embed(record, EMBEDDING)
        np.testing.assert_array_equal(np.asarray((await settled(job))[0]), EMBEDDING)
        assert front.connection.windows == 0
        assert front.ups == 1


async def test_an_engine_that_is_not_there_yet_is_waited_for(path: Path) -> None:
    async with connected(path) as front:
        await asyncio.sleep(0.02)
        assert not front.connection.is_up
        assert 0.01 < front.connection.waited_s < 5.0
        async with ported(path, FakeBackend(DIM)):
            await front.is_up()
            assert front.connection.waited_s == 0.0


async def test_a_socket_that_a_killed_engine_left_is_no_engine(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with connected(path) as front:
        await asyncio.sleep(0.02)
        assert not front.connection.is_up
        async with ported(path, FakeBackend(DIM)):
            await front.is_up()


async def test_whoever_does_not_greet_as_an_engine_is_left_for_the_next(
    engine: BareEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_connection, "_PATIENCE_S", 0.1)
    async with connected(path) as front:
        (await engine.accept()).sendall(HELLO)
        connection = await engine.accept()
        socket.send_fds(connection, [b"speakerd engine 9"], [engine.page.descriptor])
        connection = await engine.accept()
        reading, writing = os.pipe()
        socket.send_fds(connection, [HELLO], [reading])
        os.close(reading)
        os.close(writing)
        silent = await engine.accept()
        assert silent.recv(len(HELLO)) == HELLO
        assert front.ups == 0
        await engine.greet()
        await front.is_up()


async def test_how_busy_the_engine_is_counts_the_windows_of_all_front_ends(
    engine: BareEngine, path: Path
) -> None:
    async with greeted(engine, path) as front:
        front.submit(window(20))
        assert front.connection.windows == 1
        engine.page.write(5, 2.0)
        assert front.connection.windows == 5
        assert 2.0 <= front.connection.waited_s < 10.0
        engine.hang_up()
        await until(lambda: not front.connection.is_up)
        assert front.connection.windows == 0
        assert front.connection.waited_s < 2.0


async def test_a_connection_that_is_made_after_the_end_is_let_go_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()

    def slowly(_: object) -> tuple[socket.socket, object]:
        begun.set()
        assert go_on.wait(5)
        return ours, object()

    monkeypatch.setattr(engine_connection.EngineConnection, "_greet", slowly)
    async with connected(path):
        assert await asyncio.to_thread(begun.wait, 5)
    go_on.set()
    await until(lambda: ours.fileno() == -1)
    theirs.close()
