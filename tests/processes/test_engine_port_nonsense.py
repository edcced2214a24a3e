from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.processes.arena import shared_file
from speakerd_server.processes.windows_shared import (
    EMBEDDED,
    HELLO,
    SUBMIT,
    Record,
)
from support.batching import Gated
from support.front_ends import embeds, front_end
from support.shared_ends import NUMBER, BareFrontEnd, ported, until
from support.sounds import DIM, window


def without_memory(front: BareFrontEnd) -> None:
    front.say(HELLO)


def with_another_word(front: BareFrontEnd) -> None:
    socket.send_fds(front.socket, [b"speakerd engine 9"], [front.descriptor])


def with_half_a_word(front: BareFrontEnd) -> None:
    socket.send_fds(front.socket, [HELLO[:5]], [front.descriptor])


def with_no_room(front: BareFrontEnd) -> None:
    empty = shared_file(0)
    socket.send_fds(front.socket, [HELLO], [empty])
    os.close(empty)


def with_what_is_no_memory(front: BareFrontEnd) -> None:
    ends = os.pipe()
    socket.send_fds(front.socket, [HELLO], ends[:1])
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(
    "greet",
    [
        without_memory,
        with_another_word,
        with_half_a_word,
        with_no_room,
        with_what_is_no_memory,
    ],
    ids=lambda greet: greet.__name__,
)
async def test_who_does_not_greet_as_a_front_end_is_hung_up_on_and_costs_nothing(
    greet: Callable[[BareFrontEnd], None], path: Path
) -> None:
    async with ported(path, FakeBackend(DIM)):
        with front_end(path) as good:
            await good.greet()
            open_files: list[int] = []
            for _ in range(3):
                with front_end(path) as bad:
                    greet(bad)
                    assert await bad.is_hung_up()
                open_files.append(len(os.listdir("/proc/self/fd")))
            assert open_files[2] <= open_files[0] + 1  # other threads open and close files as well
            assert await embeds(good, 0)


GARBAGE = {
    "of no kind": Record(0, 5).packed(),
    "of an answer's kind": Record(EMBEDDED, 5, samples=5).packed(),
    "beyond the memory": Record(SUBMIT, 5, NUMBER, True, 1 << 40, 3440, 20).packed(),
    "across the end": Record(SUBMIT, 5, NUMBER, True, (1 << 20) - 64, 3440, 20).packed(),
    "without a frame": Record(SUBMIT, 5, NUMBER, True, 0, 3440, 0).packed(),
    "without audio": Record(SUBMIT, 5, NUMBER, True, 0, 0, 20).packed(),
    "of all ones": b"\xff" * 32,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_front_end_that_says_nonsense_is_hung_up_on_and_no_other(
    content: bytes, path: Path
) -> None:
    async with ported(path, FakeBackend(DIM)) as port:
        with front_end(path) as good, front_end(path) as bad:
            await good.greet()
            await bad.greet()
            bad.say(content)
            assert await bad.is_hung_up()
            assert await embeds(good, 0)
            assert port.windows == 0


async def test_a_window_that_was_submitted_twice_ends_its_front_end_and_nothing_is_left(
    path: Path,
) -> None:
    backend = Gated()
    async with ported(path, backend) as port:
        with front_end(path) as front:
            await front.greet()
            front.submit(0, window(20))
            await backend.wait_until_busy()
            front.say(front.lay(1, window(20)), front.lay(1, window(20)))
            assert await front.is_hung_up()
            await until(lambda: port.windows == 0)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=150))
def test_no_bytes_of_one_front_end_harm_another(content: bytes) -> None:
    async def attacked(path: Path) -> None:
        async with ported(path, FakeBackend(DIM)) as port:
            with front_end(path) as good:
                await good.greet()
                with front_end(path) as bad:
                    await bad.greet()
                    bad.say(content)
                assert await embeds(good, 0)
                await until(lambda: port.windows == 0)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(attacked(Path(folder) / "engine-0"))
