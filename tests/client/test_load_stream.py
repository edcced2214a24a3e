"""One paced stream against servers that end, lie or fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest
from speakerd.v1 import verification_pb2 as pb
from speakerd_client.load import stream as streams
from speakerd_client.load.course import Course, Wire, wire_of
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.sound import tracks_of
from speakerd_client.load.stream import STREAM_VERIFY, LiveStream
from speakerd_client.load.tally import LiveTally
from support.answering import answer
from support.scripted import FINAL, OPENED, Answers, Requests, Script, details, scripted

Raw = AsyncIterator[bytes]


@pytest.fixture(scope="module")
def wire() -> Wire:
    (track,) = tracks_of([], synthetic_s=0.35)
    return wire_of(track, LivePlan("127.0.0.1:1"))


@asynccontextmanager
async def raw_server(script: Any) -> AsyncIterator[str]:
    """Serve StreamVerify with bytes in and bytes out."""
    server = grpc.aio.server()
    method: Any = grpc.stream_stream_rpc_method_handler(script)
    service, _, name = STREAM_VERIFY[1:].partition("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def ran(address: str, wire: Wire, messages: int, jitter_s: float = 0.0) -> LiveTally:
    """Run one stream of messages of 10 ms, ten times the pace of its audio."""
    tally = LiveTally()
    course = Course(address, messages, 0.01, jitter_s, 0.0, 0.0, 1e12, 1e12)
    async with grpc.aio.insecure_channel(address) as channel:
        await LiveStream(channel, wire, course, tally).run(0, Random(0))
    return tally


def failures(tally: LiveTally) -> list[tuple[str, str]]:
    return [(row.reason, row.message) for row in tally.failures.rows(1)]


async def test_every_message_is_sent_in_turn_and_every_window_is_answered(wire: Wire) -> None:
    heard: list[bytes] = []

    async def listening(requests: Raw, context: Any) -> AsyncIterator[bytes]:
        async def noted() -> Raw:
            async for request in requests:
                heard.append(request)
                yield request

        async for response in answer(noted()):
            yield response

    async with raw_server(listening) as address:
        tally = await ran(address, wire, 42, jitter_s=0.01)
    assert heard[0] == wire.config
    assert len(wire.messages) == 3
    assert heard[1:] == [*wire.messages] * 14
    assert (tally.asked, tally.opened, tally.finished, len(tally.failures)) == (1, 1, 1, 0)
    assert tally.messages == 42
    assert tally.audio_s == pytest.approx(0.42)
    assert (tally.windows_due, tally.windows_answered, tally.unforeseen) == (2, 2, 0)
    assert [len(each) for each in (tally.connect, tally.lag, tally.finish)] == [1, 2, 1]
    assert len(tally.lateness) == 42


async def test_it_begins_where_it_is_told_to(wire: Wire) -> None:
    heard: list[bytes] = []

    async def listening(requests: Raw, context: Any) -> AsyncIterator[bytes]:
        yield OPENED.SerializeToString()
        heard.extend([request async for request in requests])
        yield FINAL.SerializeToString()

    async with raw_server(listening) as address, grpc.aio.insecure_channel(address) as channel:
        course = Course(address, 2, 0.01, 0.0, 0.0, 0.0, 1e12, 1e12)
        await LiveStream(channel, wire, course, LiveTally()).run(2, Random(0))
    assert heard[1:] == [wire.messages[2], wire.messages[0]]


async def refused(requests: Requests, context: Any) -> Answers:
    trailers = details("TOO_MANY_STREAMS", retry_after_s=1)
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no place", trailers)
    yield FINAL


async def failing(requests: Requests, context: Any) -> Answers:
    yield OPENED
    await anext(requests), await anext(requests), await anext(requests)
    await context.abort(grpc.StatusCode.INTERNAL, "broken", details("ENGINE_BATCH_FAILED"))


async def without_final(requests: Requests, context: Any) -> Answers:
    yield OPENED
    await anext(requests), await anext(requests)


async def without_anything(requests: Requests, context: Any) -> Answers:
    return
    yield FINAL


async def cancelled(requests: Requests, context: Any) -> Answers:
    yield OPENED
    await context.abort(grpc.StatusCode.CANCELLED, "gone")


async def final_first(requests: Requests, context: Any) -> Answers:
    await anext(requests)
    yield FINAL


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        (refused, "TOO_MANY_STREAMS", "no place"),
        (failing, "ENGINE_BATCH_FAILED", "broken"),
        (without_final, "ServerFailed", "without its final answer"),
        (without_anything, "ServerFailed", "without its final answer"),
        (cancelled, "NotReachable", "broke off the call"),
        (final_first, "ServerFailed", "answered before it opened the call"),
    ],
)
async def test_a_stream_that_ends_badly_is_counted_by_its_reason(
    wire: Wire, script: Script, reason: str, words: str
) -> None:
    async with scripted(script) as address:
        for _ in range(5):
            tally = await ran(address, wire, 50)
            ((found, message),) = failures(tally)
            assert found == reason
            assert words in message
            assert (tally.asked, tally.finished) == (1, 0)


async def test_what_is_no_message_of_ours_is_told_so(wire: Wire) -> None:
    async def babbling(requests: Raw, context: Any) -> AsyncIterator[bytes]:
        await anext(requests)
        yield b"\xff\xff\xff\xff"

    async with raw_server(babbling) as address:
        assert failures(await ran(address, wire, 5)) == [
            ("ServerFailed", "what answers there speaks no speakerd")
        ]


async def test_nobody_there_is_counted_as_well(wire: Wire) -> None:
    ((reason, message),) = failures(await ran("127.0.0.1:1", wire, 5))
    assert reason == "NotReachable"
    assert "no daemon answers at 127.0.0.1:1" in message


async def test_a_decision_that_settles_ends_the_stream_early_and_well(wire: Wire) -> None:
    async def settled(requests: Requests, context: Any) -> Answers:
        yield OPENED
        for _ in range(4):
            await anext(requests)
        yield FINAL

    async with scripted(settled) as address:
        for _ in range(5):
            tally = await ran(address, wire, 500)
            assert (tally.finished, failures(tally)) == (1, [])
            assert 3 <= tally.messages < 400
            assert tally.decisions == {"accept": 1}
            assert len(tally.finish) == 0


@pytest.mark.parametrize(("opens", "words"), [(False, "did not open"), (True, "no final answer")])
async def test_a_silent_server_is_given_up(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, opens: bool, words: str
) -> None:
    async def silent(requests: Requests, context: Any) -> Answers:
        if opens:
            yield OPENED
        await asyncio.sleep(60)
        yield FINAL

    monkeypatch.setattr(streams, "ANSWER_S", 0.3)
    async with scripted(silent) as address:
        ((reason, message),) = failures(await ran(address, wire, 3))
    assert reason == "TooSlow"
    assert words in message


@pytest.mark.parametrize("at_s", [None, 0.0, 0.2])
async def test_a_stream_that_is_stopped_neither_fails_nor_finishes(
    wire: Wire, at_s: float | None
) -> None:
    tally = LiveTally()
    async with raw_server(answer) as address:
        course = Course(address, 1000, 0.01, 0.0, 0.0, 0.0, 1e12, 1e12)
        async with grpc.aio.insecure_channel(address) as channel:
            stream = LiveStream(channel, wire, course, tally)
            if at_s is None:
                stream.stop()
            else:
                asyncio.get_running_loop().call_later(at_s, stream.stop)
            await stream.run(0, Random(0))
    assert (tally.finished, failures(tally)) == (0, [])
    assert tally.asked == (0 if at_s is None else 1)


async def test_cancelling_the_task_cancels_and_counts_nothing(wire: Wire) -> None:
    async with raw_server(answer) as address:
        task = asyncio.create_task(ran(address, wire, 1000))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_updates_without_a_window_do_no_harm(wire: Wire) -> None:
    async def lying(requests: Requests, context: Any) -> Answers:
        yield OPENED
        for committed in (0, 7, 31_680, 2**60):
            result = pb.VerificationResult(committed_samples=committed)
            yield pb.StreamVerifyResponse(update=result)
        async for _ in requests:
            pass
        yield FINAL

    async with scripted(lying) as address:
        tally = await ran(address, wire, 10)
    assert (tally.unforeseen, tally.finished, len(tally.lag)) == (4, 1, 0)
