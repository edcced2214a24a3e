from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.statistics import Tally
from speakerd_server.errors import BatchFailed, Draining, EngineDead, EngineQueueFull
from speakerd_server.processes.windows_shared import (
    EMBEDDED,
    RELEASED,
    SUBMIT,
    Record,
)
from speakerd_server.values import Window
from support.batching import Dying, Gated
from support.front_ends import embeds, front_end
from support.shared_ends import NUMBER, BareFrontEnd, ported, until
from support.sounds import DIM, fake_embedding, window


def loud(seed: int) -> Window:
    one = window(20, seed)
    return Window(0, one.pcm * 1000, one.rows, 0)


async def test_a_window_is_embedded_where_it_lies(path: Path) -> None:
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as front:
            await front.greet()
            assert await embeds(front, 0)
            assert await embeds(front, 7, seed=2)


async def test_front_ends_with_the_same_numbers_are_not_mixed_up(path: Path) -> None:
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as one, front_end(path) as other:
            await one.greet()
            await other.greet()
            windows = window(20, 1), window(20, 2)
            for job in range(4):
                one.submit(job, windows[0])
                other.submit(job, windows[1])
            for front, expected in zip((one, other), map(fake_embedding, windows), strict=True):
                answers = [await front.heard() for _ in range(4)]
                assert sorted(record.job for record, _ in answers) == [0, 1, 2, 3]
                for _, embedding in answers:
                    np.testing.assert_array_equal(np.asarray(embedding), expected)


async def test_records_may_come_in_any_pieces(path: Path) -> None:
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as front:
            await front.greet()
            content = b"".join(front.lay(job, window(20, job)).packed() for job in range(3))
            for at in range(len(content)):
                await asyncio.to_thread(front.say, content[at : at + 1])
            answers = [await front.heard() for _ in range(3)]
            assert {record.kind for record, _ in answers} == {EMBEDDED}


async def test_a_window_that_cannot_be_embedded_is_refused_alone(path: Path) -> None:
    async with ported(path, FakeBackend(DIM, lambda pcm: bool(np.abs(pcm).max() > 10))):
        with front_end(path) as front:
            await front.greet()
            front.say(*(front.lay(job, loud(job) if job == 1 else window(20)) for job in range(4)))
            answers = {
                record.job: answer for record, answer in [await front.heard() for _ in "abcd"]
            }
            assert isinstance(answers.pop(1), BatchFailed)
            assert all(isinstance(answer, np.ndarray) for answer in answers.values())


async def test_rows_that_the_audio_does_not_have_harm_their_own_window_alone(path: Path) -> None:
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as front:
            await front.greet()
            wild = Window(0, window(20).pcm, np.full(20, 1 << 60), 0)
            front.say(front.lay(0, window(20)), front.lay(1, wild), front.lay(2, window(20)))
            answers = {
                record.job: answer for record, answer in [await front.heard() for _ in "abc"]
            }
            assert isinstance(answers[1], BatchFailed)
            assert isinstance(answers[0], np.ndarray)
            assert isinstance(answers[2], np.ndarray)


async def test_a_queue_that_is_full_refuses_by_name_at_once(path: Path) -> None:
    backend = Gated()
    async with ported(path, backend, settings=EngineSettings(queue_windows=2)):
        with front_end(path) as front:
            await front.greet()
            front.submit(0, window(20))
            await backend.wait_until_busy()
            for job in (1, 2, 3):
                front.submit(job, window(20))
            record, error = await front.heard()
            assert record.job == 3
            assert isinstance(error, EngineQueueFull)
            assert error.limit == 2


async def test_a_model_that_is_not_here_is_refused_by_name(path: Path) -> None:
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as front:
            await front.greet()
            for wrong in (0, NUMBER + 1, 2**32 - 1):
                known = front.lay(wrong % 8, window(20))
                front.say(Record(SUBMIT, 99, wrong, True, known.offset, known.samples, 20))
                record, error = await front.heard()
                assert record.job == 99
                assert isinstance(error, Draining)
            assert await embeds(front, 0)


async def test_a_window_that_waits_is_let_go_of_at_once_and_never_computed(path: Path) -> None:
    backend = Gated()
    async with ported(path, backend) as port:
        with front_end(path) as front:
            await front.greet()
            front.submit(0, window(20))
            await backend.wait_until_busy()
            front.submit(1, window(20, 1))
            front.submit(2, window(20, 2))
            front.cancel(1)
            record, _ = await front.heard()
            assert (record.kind, record.job) == (RELEASED, 1)
            backend.gate.release(10)
            assert [(await front.heard())[0].job for _ in range(2)] == [0, 2]
            assert sum(windows for windows, _ in backend.batches) == 2
            assert port.windows == 0


async def test_a_window_that_is_computed_is_let_go_of_when_that_is_over(path: Path) -> None:
    backend = Gated()
    async with ported(path, backend):
        with front_end(path) as front:
            await front.greet()
            front.submit(0, window(20))
            await backend.wait_until_busy()
            front.cancel(0)
            front.cancel(99)
            await asyncio.sleep(0.02)
            backend.gate.release(10)
            record, _ = await front.heard()
            assert (record.kind, record.job) == (EMBEDDED, 0)
            front.cancel(0)
            assert await embeds(front, 1)


async def test_a_window_is_not_let_go_of_between_the_queue_and_its_batch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_it, may_compute = threading.Event(), threading.Event()
    taken = Tally.taken

    def held(tally: Tally, waited: Sequence[tuple[bool, float]]) -> None:
        has_it.set()
        may_compute.wait(5)
        taken(tally, waited)

    async with ported(path, FakeBackend(DIM)):
        monkeypatch.setattr(Tally, "taken", held)
        with front_end(path) as front:
            await front.greet()
            front.submit(0, window(20))
            await asyncio.to_thread(has_it.wait)
            front.cancel(0)
            await asyncio.sleep(0.02)
            may_compute.set()
            record, embedding = await front.heard()
            assert (record.kind, record.job) == (EMBEDDED, 0)
            np.testing.assert_array_equal(np.asarray(embedding), fake_embedding(window(20)))


async def test_windows_of_a_front_end_that_died_are_forgotten(path: Path) -> None:
    backend = Gated()
    async with ported(path, backend, settings=EngineSettings(queue_windows=3)) as port:
        with front_end(path) as other:
            status = await other.greet()
            with front_end(path) as dying:
                await dying.greet()
                dying.submit(0, window(20))
                await backend.wait_until_busy()
                for job in (1, 2, 3):
                    dying.submit(job, window(20))
                await until(lambda: port.windows == 4)
                assert status.windows == 4
            await until(lambda: port.windows == 0)
            assert status.windows == 0
            other.say(*(other.lay(job, window(20)) for job in range(3)))
            backend.gate.release(20)
            assert {(await other.heard())[0].kind for _ in range(3)} == {EMBEDDED}
            assert sum(windows for windows, _ in backend.batches) == 4


async def test_the_status_page_tells_what_waits_and_for_how_long(path: Path) -> None:
    backend = Gated()
    async with ported(path, backend):
        with front_end(path) as front:
            status = await front.greet()
            assert (status.windows, status.waited_s) == (0, 0.0)
            front.submit(0, window(20))
            await backend.wait_until_busy()
            front.submit(1, window(20))
            await until(lambda: status.windows == 2)
            await until(lambda: status.waited_s > 0.0)
            backend.gate.release(10)
            await until(lambda: (status.windows, status.waited_s) == (0, 0.0))


async def test_an_engine_that_dies_by_itself_tells_everyone_why(path: Path) -> None:
    async with ported(path, Dying(DIM)):
        with front_end(path) as front:
            await front.greet()
            front.submit(0, loud(0))
            front.submit(1, window(20))
            for _ in range(2):
                _, error = await front.heard()
                assert isinstance(error, EngineDead)
                assert "out of luck" in str(error)


async def test_the_socket_of_a_run_that_was_killed_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(ConnectionRefusedError):
        BareFrontEnd(path)
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as front:
            await front.greet()
            assert await embeds(front, 0)


async def test_an_engine_that_is_closed_takes_no_more_front_ends(path: Path) -> None:
    async with ported(path, FakeBackend(DIM)) as port:
        with front_end(path) as front:
            await front.greet()
            port.close()
            assert await front.is_hung_up()
            with pytest.raises(ConnectionRefusedError):
                BareFrontEnd(path)


async def test_front_ends_are_taken_again_once_there_are_descriptors(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as first, front_end(path) as second:
            await first.greet()
            await second.greet()
            with socket.socket(socket.AF_UNIX) as waiting:
                next_free = os.dup(waiting.fileno())
                os.close(next_free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
                waiting.connect(str(path))
                await asyncio.sleep(0.1)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with front_end(path) as late:
                await late.greet()
                assert await embeds(late, 0)
