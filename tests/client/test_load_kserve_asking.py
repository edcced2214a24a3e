"""Inference requests of a closed loop, asked of a real daemon and of servers that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from speakerd_client import Audio, AudioFormat
from speakerd_client.call_options import VerifyOptions
from speakerd_client.errors import (
    Exhausted,
    InvalidLoad,
    InvalidRequest,
    NotFound,
    NotReachable,
    ServerFailed,
)
from speakerd_client.load import runs
from speakerd_client.load.asking import KINDS
from speakerd_client.load.kserve import FORMAT, GRPC, HTTP, KSERVE_KINDS
from speakerd_client.load.kserve_asking import HttpAsking
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import Track, tracks_of
from support.daemon import Daemon
from support.raw_server import FORGET, answer, raw_server
from support.speech import VOICES

FILES = [VOICES / "slt-call.flac", VOICES / "rms-call.flac"]
TRACKS = tracks_of(FILES, encoding=FORMAT.encoding, rate_hz=FORMAT.sample_rate_hz)
MODELS = ["", "speaker", "speaker/1", "campplus", "campplus/1"]


def address_of(daemon: Daemon, kind: str) -> str:
    return daemon.http if kind == HTTP else daemon.address


@pytest.mark.parametrize("kind", KSERVE_KINDS)
@pytest.mark.parametrize("model", MODELS)
async def test_each_track_is_embedded_in_turn(daemon: Daemon, kind: str, model: str) -> None:
    plan = ClosedPlan(address_of(daemon, kind), kind, options=VerifyOptions(model=model))
    asking = KINDS[kind](plan, TRACKS)
    await asking.connect(2)
    seconds = await asyncio.gather(*(asking.ask(number) for number in range(2)))
    seconds += [await asking.ask(number) for number in range(2, 4)]
    await asking.close()
    assert seconds == [track.audio.duration_s for track in TRACKS] * 2


@pytest.mark.parametrize("kind", KSERVE_KINDS)
async def test_a_refusal_has_the_daemons_reason(daemon: Daemon, kind: str) -> None:
    poison = Track("nan", Audio(b"\0\0\xc0\x7f" * 32_000, FORMAT))
    for options, tracks, error, reason in (
        (VerifyOptions(model="none"), TRACKS, NotFound, "MODEL_UNKNOWN"),
        (VerifyOptions(), [poison], InvalidRequest, "AUDIO_NOT_FINITE"),
    ):
        asking = KINDS[kind](ClosedPlan(address_of(daemon, kind), kind, options=options), tracks)
        await asking.connect(1)
        with pytest.raises(error) as caught:
            await asking.ask(0)
        await asking.close()
        assert caught.value.reason == reason


@pytest.mark.parametrize("kind", KSERVE_KINDS)
def test_what_cannot_be_sent_is_named(kind: str) -> None:
    plan = ClosedPlan("127.0.0.1:1", kind)
    with pytest.raises(InvalidLoad, match="carry float32le at 16000 Hz"):
        KINDS[kind](plan, [Track("a.wav", Audio(bytes(64), AudioFormat()))])
    with pytest.raises(InvalidLoad, match=r"long\.wav: .* cut it into parts"):
        KINDS[kind](plan, [Track("long.wav", Audio(bytes(4 * 16_000 * 601), FORMAT))])


@pytest.mark.parametrize(("kind", "processes"), [(GRPC, 1), (HTTP, 1), (HTTP, 2)])
def test_a_loop_over_a_daemon_has_a_row_for_each_concurrency(
    light: Daemon, kind: str, processes: int
) -> None:
    plan = ClosedPlan(address_of(light, kind), kind, (1, 5), 0.7, processes=processes)
    result = asyncio.run(runs.run_closed(plan, TRACKS))
    assert [row.concurrency for row in result.rows] == [1, 5]
    for row in result.rows:
        assert row.errors == ()
        assert row.latency_ms.count == row.calls
        assert row.throughput > 0
    assert (result.kind, result.interrupted) == (kind, False)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KSERVE_KINDS)
def test_a_thousand_at_once_are_all_answered_or_refused_by_name(light: Daemon, kind: str) -> None:
    second = Track("second", Audio(TRACKS[0].audio.content[:64_000], FORMAT))
    plan = ClosedPlan(address_of(light, kind), kind, (1000,), 1.0)
    (row,) = asyncio.run(runs.run_closed(plan, [second])).rows
    failed = sum(error.count for error in row.errors)
    assert row.calls >= 1000
    assert row.latency_ms.count + failed == row.calls
    assert {error.reason for error in row.errors} <= {"QUEUE_FULL", "TOO_MANY_CALLS"}


async def over(*answers: bytes | None, asks: int = 1) -> list[Any]:
    """Ask a server that gives these answers; what came, or the error."""
    found: list[Any] = []
    async with raw_server(*answers) as server:
        asking = HttpAsking(server.address, [b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"], [2])
        await asking.connect(1)
        for number in range(asks):
            try:
                found.append(await asking.ask(number))
            except Exception as error:  # noqa: BLE001 - the caller looks at it
                found.append(type(error))
        await asking.close()
    return found


async def test_an_asking_goes_on_after_every_kind_of_failure() -> None:
    full = answer(b'{"error": "full"}', "429 Too Many Requests")
    found = await over(full, FORGET, b"HTTP/1.1 nonsense\r\n\r\n", answer(), asks=5)
    assert found == [Exhausted, NotReachable, ServerFailed.__subclasses__()[0], 2, 2]


async def test_connections_that_are_not_all_opened_are_none() -> None:
    asking = HttpAsking("127.0.0.1:1", [b""], [1.0])
    with pytest.raises(NotReachable, match="no server answers"):
        await asking.connect(3)
