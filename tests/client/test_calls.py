"""Streams against servers that end, lie, or fall silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from speakerd.v1 import verification_pb2 as v1
from speakerd_client import (
    AsyncClient,
    AudioFormat,
    CallEnded,
    Decision,
    InvalidRequest,
    NotReachable,
    ServerFailed,
    TooSlow,
    Verification,
    VerificationCall,
)
from speakerd_client.stream_call import KEPT_UPDATES
from support.scripted import FINAL, OPENED, UPDATE, Answers, Requests, details, scripted

FORMAT = AudioFormat()


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(64_000)


async def collect(updates: AsyncIterator[Verification]) -> list[Verification]:
    return [update async for update in updates]


async def send_for_ever(call: VerificationCall) -> None:
    while True:
        await call.send(bytes(3200))


async def early_error(requests: Requests, context: Any) -> Answers:
    yield OPENED
    await anext(requests), await anext(requests), await anext(requests)
    for _ in range(20):
        yield UPDATE
    trailers = details("AUDIO_NOT_FINITE", field="audio", request_id="call-7")
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "sample 3 is NaN", trailers)


async def early_final(requests: Requests, context: Any) -> Answers:
    yield OPENED
    await anext(requests), await anext(requests), await anext(requests)
    for _ in range(20):
        yield UPDATE
    yield FINAL


async def test_an_error_reaches_a_client_that_is_still_sending() -> None:
    async with scripted(early_error) as address, AsyncClient(address) as client:
        for _ in range(20):
            with pytest.raises(InvalidRequest) as caught:
                await collect(client.verify_stream("alice", endless(), FORMAT))
            assert caught.value.reason == "AUDIO_NOT_FINITE"
            assert caught.value.field_violations[0].field == "audio"
            assert caught.value.request_id == "call-7"


async def test_an_error_reaches_a_client_that_only_sends() -> None:
    async with scripted(early_error) as address, AsyncClient(address) as client:
        for _ in range(20):
            async with client.stream_verify("alice", FORMAT) as call:
                with pytest.raises(InvalidRequest, match="sample 3 is NaN"):
                    await send_for_ever(call)


async def test_a_final_reaches_a_client_that_is_still_sending_with_every_update() -> None:
    async with scripted(early_final) as address, AsyncClient(address) as client:
        for _ in range(20):
            updates = await collect(client.verify_stream("alice", endless(), FORMAT))
            assert [update.is_final for update in updates] == [False] * 20 + [True]
            assert updates[-1].decision is Decision.ACCEPT


async def test_sending_after_an_early_final_does_nothing() -> None:
    async with (
        scripted(early_final) as address,
        AsyncClient(address) as client,
        client.stream_verify("alice", FORMAT) as call,
    ):
        while not call.finished:
            await call.send(bytes(3200))
        await call.send(bytes(3200))
        assert (await call.finish()).is_final


async def test_audio_of_any_size_travels_in_messages_below_one_mebibyte() -> None:
    sizes: list[int] = []

    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        sizes.extend([len(request.audio) async for request in requests])
        yield FINAL

    async with scripted(script) as address, AsyncClient(address) as client:
        await collect(client.verify_stream("alice", bytes(3_000_001), FORMAT))
    assert sizes[0] == 0
    assert sum(sizes) == 3_000_001
    assert max(sizes) < 1024 * 1024


async def test_unread_updates_are_bounded_and_the_newest_are_kept() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        async for _ in requests:
            pass
        for number in range(KEPT_UPDATES + 5):
            yield v1.StreamVerifyResponse(update=v1.VerificationResult(window_count=number))
        yield FINAL

    async with (
        scripted(script) as address,
        AsyncClient(address) as client,
        client.stream_verify("alice", FORMAT) as call,
    ):
        await call.finish()
        counts = [update.window_count async for update in call]
    assert counts == list(range(5, KEPT_UPDATES + 5))


async def test_a_call_that_ends_without_a_final_is_an_error() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED

    async with scripted(script) as address, AsyncClient(address) as client:
        with pytest.raises(ServerFailed, match="without its final"):
            await collect(client.verify_stream("alice", [b"ab"], FORMAT))


async def test_a_cancelled_status_is_an_error_and_not_a_cancelled_task() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        await context.abort(grpc.StatusCode.CANCELLED, "gone")

    async with scripted(script) as address, AsyncClient(address) as client:
        with pytest.raises(NotReachable, match=address):
            await collect(client.verify_stream("alice", endless(), FORMAT))


async def test_a_server_that_says_nothing_is_too_slow() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        await asyncio.sleep(5)
        yield OPENED

    async with scripted(script) as address, AsyncClient(address, timeout_s=0.2) as client:
        started_s = time.monotonic()
        with pytest.raises(TooSlow, match=r"said nothing for 0\.2 s"):
            await collect(client.verify_stream("alice", [b"ab"], FORMAT))
        assert time.monotonic() - started_s < 3


async def test_a_failing_source_reaches_the_reader_and_ends_the_call() -> None:
    ended = asyncio.Event()

    async def script(requests: Requests, context: Any) -> Answers:
        try:
            yield OPENED
            async for _ in requests:
                pass
        finally:
            ended.set()

    def broken() -> Iterator[bytes]:
        yield bytes(3200)
        raise OSError("the microphone is gone")

    async with scripted(script) as address, AsyncClient(address) as client:
        with pytest.raises(OSError, match="the microphone is gone"):
            await collect(client.verify_stream("alice", broken(), FORMAT))
        await asyncio.wait_for(ended.wait(), 5)


async def test_leaving_the_block_tells_the_daemon_at_once() -> None:
    ended = asyncio.Event()

    async def script(requests: Requests, context: Any) -> Answers:
        try:
            yield OPENED
            async for _ in requests:
                yield UPDATE
        finally:
            ended.set()

    async with scripted(script) as address, AsyncClient(address) as client:
        async with client.stream_verify("alice", FORMAT) as call:
            await call.send(bytes(3200))
            await anext(call)
        await asyncio.wait_for(ended.wait(), 5)
        with pytest.raises(CallEnded):
            await call.finish()


async def test_a_silent_source_does_not_stop_the_answers() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        await anext(requests), await anext(requests)
        yield UPDATE
        yield FINAL

    def stalls() -> Iterator[bytes]:
        yield bytes(3200)
        time.sleep(2)
        yield bytes(3200)

    async with scripted(script) as address, AsyncClient(address) as client:
        started_s = time.monotonic()
        updates = await collect(client.verify_stream("alice", stalls(), FORMAT))
        assert len(updates) == 2
        assert time.monotonic() - started_s < 1.5


async def test_a_decision_newer_than_this_client_is_other_and_never_an_acceptance() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        result = v1.VerificationResult()
        result.ParseFromString(b"\x38\x63")  # decision = 99
        yield v1.StreamVerifyResponse(final=result)

    async with scripted(script) as address, AsyncClient(address) as client:
        (final,) = await collect(client.verify_stream("alice", [b"ab"], FORMAT))
    assert final.decision is Decision.OTHER
    assert not final.accepted


async def test_sending_after_finish_is_refused_by_name() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        async for _ in requests:
            pass
        yield FINAL

    async with (
        scripted(script) as address,
        AsyncClient(address) as client,
        client.stream_verify("alice", FORMAT) as call,
    ):
        await call.finish()
        with pytest.raises(CallEnded, match="open a new call"):
            await call.send(b"ab")


async def test_a_daemon_that_freezes_after_the_audio_is_too_slow() -> None:
    patience_s = 0.3

    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        async for _ in requests:
            pass
        await asyncio.sleep(10)
        yield FINAL

    def late() -> Iterator[bytes]:
        yield bytes(3200)
        time.sleep(2 * patience_s)  # longer than the patience: a silent source is no silent daemon

    async with scripted(script) as address, AsyncClient(address, timeout_s=patience_s) as client:
        started_s = time.monotonic()
        with pytest.raises(TooSlow, match=r"said nothing for 0\.3 s"):
            await collect(client.verify_stream("alice", late(), FORMAT))
        assert 2.9 * patience_s < time.monotonic() - started_s < 5


async def test_a_call_is_entered_once() -> None:
    async with (
        scripted(early_final) as address,
        AsyncClient(address) as client,
        client.stream_verify("alice", FORMAT) as call,
    ):
        with pytest.raises(ValueError, match="entered once"):
            await call.__aenter__()
