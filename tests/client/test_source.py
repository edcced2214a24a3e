"""Any source of audio is read without blocking, and paced like a call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from speakerd_client import AudioFormat, pace
from speakerd_client.source import AudioSource, each

PIECES = [b"a", b"", b"bc"]


async def asynchronous() -> AsyncIterator[bytes]:
    for piece in PIECES:
        yield piece


@pytest.mark.parametrize(
    "source", [PIECES, tuple(PIECES), iter(PIECES), (piece for piece in PIECES), asynchronous()]
)
async def test_every_kind_of_source_gives_its_pieces(source: AudioSource) -> None:
    assert [piece async for piece in each(source)] == PIECES


@pytest.mark.parametrize("whole", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
async def test_bytes_are_one_piece(whole: bytes) -> None:
    assert [piece async for piece in each(whole)] == [b"abc"]


async def test_a_slow_iterable_does_not_hold_the_event_loop() -> None:
    def slow() -> Iterator[bytes]:
        time.sleep(0.3)
        yield b"a"

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert [piece async for piece in each(slow())] == [b"a"]
    ticking.cancel()
    assert ticks >= 5


async def test_the_error_of_a_source_comes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        _ = [piece async for piece in each(broken())]


def test_pieces_come_no_earlier_than_in_a_call() -> None:
    wire_format = AudioFormat()
    started_s = time.monotonic()
    arrivals_s = [
        time.monotonic() - started_s for _ in pace([bytes(3200)] * 4, wire_format, speed=2.0)
    ]
    for number, arrival_s in enumerate(arrivals_s, start=1):
        assert arrival_s >= number * 0.05 - 1e-3


@pytest.mark.parametrize("speed", [0, -1.0, float("nan")])
def test_a_pace_that_is_none_is_refused_at_once(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be above 0"):
        pace([b"a"], AudioFormat(), speed)


async def nothing_asynchronous() -> AsyncIterator[Any]:
    yield None


@pytest.mark.parametrize(
    "source",
    [[None], iter([None]), iter(["text"]), nothing_asynchronous(), "text", 7, None, {"a": 1}],
)
async def test_what_is_no_audio_is_a_type_error(source: Any) -> None:
    with pytest.raises(TypeError, match="must be bytes"):
        _ = [piece async for piece in each(source)]


async def test_an_iterable_is_read_by_one_thread_that_ends_with_it() -> None:
    names: set[int] = set()

    def recorded() -> Iterator[bytes]:
        for _ in range(50):
            names.add(threading.get_ident())
            yield b"a"

    assert len([piece async for piece in each(recorded())]) == 50
    assert len(names) == 1
    async with aclosing(each(recorded())) as pieces:
        await anext(pieces)
    deadline_s = time.monotonic() + 5
    while "speakerd-source" in [thread.name for thread in threading.enumerate()]:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)
