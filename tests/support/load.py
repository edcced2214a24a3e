"""Load: paced live streams and closed loops, from one process, with its own CPU counted."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from speakerd.v1 import verification_pb2 as pb
from speakerd.v1 import verification_pb2_grpc

STREAM_VERIFY = "/speakerd.v1.VerificationService/StreamVerify"


@dataclass
class Load:
    """What came of a load."""

    latencies_s: list[float] = field(default_factory=list)
    messages: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    generator_cpu_s: float = 0.0
    wall_s: float = 0.0

    def failed(self, error: grpc.aio.AioRpcError) -> None:
        """Count an error."""
        name = f"{error.code().name}: {error.details()}"
        self.errors[name] = self.errors.get(name, 0) + 1

    def percentile_ms(self, percent: float) -> float | None:
        """Give a percentile of the latencies; None without any."""
        if not self.latencies_s:
            return None
        return round(1000 * float(np.percentile(self.latencies_s, percent)), 1)


@dataclass(frozen=True)
class Pace:
    """How live streams send."""

    messages: Sequence[bytes]
    """Audio of the messages, which are sent in turns; streams begin at different ones."""
    message_s: float
    """Seconds of audio in each."""
    config: pb.VerificationConfig
    """First request of every stream."""
    last_message_of_window: Callable[[int], int]
    """Number of the message that completes window k, from 0."""
    window_s: float
    """Over which the start phases are spread evenly."""
    completions: Callable[[int], Sequence[int]] | None = None
    """Of a stream that begins with this one of `messages`: number of the message that completes
    each window; `last_message_of_window` is then not asked."""


async def paced_streams(
    address: str, pace: Pace, *, streams: int, seconds: float, settle_s: float
) -> Load:
    """Keep so many live streams going; latencies are decision lags seen by the client.

    Only lags of windows sent after `settle_s` and before `seconds` count: later, streams end, and
    their tail windows are load that a call that goes on does not make.
    """
    load = Load()
    begin_cpu, begin = _cpu_s(), time.perf_counter()
    counted = (begin + settle_s, begin + seconds - 0.5)
    channels = [_channel(address, number) for number in range(4)]
    try:
        await asyncio.gather(
            *(
                _live(channels[i % 4], pace, load, i / streams, seconds, counted)
                for i in range(streams)
            )
        )
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    load.generator_cpu_s = _cpu_s() - begin_cpu
    load.wall_s = time.perf_counter() - begin
    return load


async def _live(
    channel: grpc.aio.Channel,
    pace: Pace,
    load: Load,
    phase: float,
    seconds: float,
    counted: tuple[float, float],
) -> None:
    await asyncio.sleep(phase * pace.window_s)
    call = channel.stream_stream(
        STREAM_VERIFY,
        request_serializer=pb.StreamVerifyRequest.SerializeToString,
        response_deserializer=pb.StreamVerifyResponse.FromString,
    )()
    sent_at: list[float] = []
    requests = [pb.StreamVerifyRequest(audio=message) for message in pace.messages]
    first = round(phase * len(requests)) % len(requests)
    completed = None if pace.completions is None else pace.completions(first)
    reader = asyncio.create_task(_read(call, pace, completed, load, sent_at, counted))
    try:
        await call.write(pb.StreamVerifyRequest(config=pace.config))
        begin = time.perf_counter()
        for number in range(round(seconds / pace.message_s)):
            wait_s = begin + number * pace.message_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            sent_at.append(time.perf_counter())
            await call.write(requests[(first + number) % len(requests)])
            load.messages += 1
        await call.done_writing()
        await reader
    except grpc.aio.AioRpcError as error:
        load.failed(error)
    except asyncio.InvalidStateError:
        await asyncio.wait([reader])
        cause = reader.exception()
        if isinstance(cause, grpc.aio.AioRpcError):
            load.failed(cause)
    finally:
        reader.cancel()


async def _read(
    call: Any,
    pace: Pace,
    completed: Sequence[int] | None,
    load: Load,
    sent_at: Sequence[float],
    counted: tuple[float, float],
) -> None:
    windows = 0
    async for response in call:
        if response.WhichOneof("response") != "update":
            continue
        if completed is None:
            message = pace.last_message_of_window(windows)
            windows += 1
        elif response.update.window_count > windows:
            windows = response.update.window_count
            # What ends the audio may complete further ones.
            message = completed[min(windows, len(completed)) - 1]
        else:
            continue
        sent = sent_at[min(message, len(sent_at) - 1)]
        if counted[0] <= sent <= counted[1]:
            load.latencies_s.append(time.perf_counter() - sent)


async def closed_loop(
    address: str, request: pb.EmbedRequest, *, concurrency: int, seconds: float
) -> Load:
    """Keep so many Embed calls open, each followed by the next."""
    load = Load()
    begin_cpu, begin = _cpu_s(), time.perf_counter()

    async def one(stub: verification_pb2_grpc.VerificationServiceAsyncStub) -> None:
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            try:
                await stub.Embed(request)
            except grpc.aio.AioRpcError as error:
                load.failed(error)
                continue
            load.messages += 1
            load.latencies_s.append(time.perf_counter() - start)

    async with _channel(address, 0) as channel:
        stub: Any = verification_pb2_grpc.VerificationServiceStub(channel)
        await asyncio.gather(*(one(stub) for _ in range(concurrency)))
    load.generator_cpu_s = _cpu_s() - begin_cpu
    load.wall_s = time.perf_counter() - begin
    return load


def process_cpu_s(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _channel(address: str, number: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=[("speakerd.channel", number)])
