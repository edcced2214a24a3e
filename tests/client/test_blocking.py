"""The blocking client gives what the asynchronous one gives."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Iterator

import pytest
from speakerd_client import (
    AsyncClient,
    CallEnded,
    Client,
    Everyone,
    InvalidRequest,
    NotFound,
    Verification,
    read_audio,
)
from support.daemon import Daemon
from support.speech import VOICES

CALL = read_audio(VOICES / "rms-call.flac")
ENROL = read_audio(VOICES / "rms-enrol.flac")


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as running:
        running.enroll("blocking", ENROL)
        yield running
        running.delete_speaker("blocking")


async def both_ways(address: str) -> tuple[list[Verification], Verification]:
    async with AsyncClient(address) as client:
        streamed = client.verify_stream("blocking", CALL.pieces(), CALL.format)
        return [each async for each in streamed], await client.verify("blocking", CALL)


def test_blocking_and_asynchronous_answers_are_equal(client: Client, daemon: Daemon) -> None:
    streamed, whole = asyncio.run(both_ways(daemon.address))
    again = list(client.verify_stream("blocking", CALL.pieces(), CALL.format))
    assert len(again) == len(streamed)
    for one, other in zip(streamed, again, strict=True):
        assert one.window_count == other.window_count
        assert one.decision is other.decision
        assert one.scores[0].score == pytest.approx(other.scores[0].score, abs=1e-6)
    assert whole.decision is client.verify("blocking", CALL).decision


def test_every_public_method_of_the_asynchronous_client_is_there() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(AsyncClient) == public(Client)


def test_documentation_comes_along() -> None:
    assert Client.verify.__doc__ == AsyncClient.verify.__doc__
    assert Client.verify.__name__ == "verify"


def test_a_stream_is_a_context_and_an_iterator(client: Client) -> None:
    with client.stream_verify("blocking", CALL.format, samples_per_chunk=16000) as call:
        assert call.request_id
        for piece in CALL.pieces():
            call.send(piece)
        call.end()
        updates = list(call)
        final = call.finish()
        assert call.finished
    assert len(updates) == 6
    assert final.accepted


def test_leaving_an_iteration_early_abandons_the_call(client: Client) -> None:
    for update in client.verify_stream(Everyone(), CALL.pieces(), CALL.format):
        assert not update.is_final
        break
    deadline_s = time.monotonic() + 5
    while client.server_info().live_streams and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert client.server_info().live_streams == 0


def test_speakers_are_iterated(client: Client) -> None:
    assert "blocking" in [each.speaker_id for each in client.list_speakers(page_size=1)]


def test_exceptions_are_those_of_the_asynchronous_client(client: Client) -> None:
    with pytest.raises(NotFound):
        client.get_speaker("blocking-nobody")
    with (
        pytest.raises(InvalidRequest),
        client.stream_verify("a", CALL.format, samples_per_chunk=0),
    ):
        pytest.fail("the call must not open")


def test_one_client_serves_many_threads(client: Client) -> None:
    results: list[Verification] = []
    threads = [
        threading.Thread(target=lambda: results.append(client.verify("blocking", CALL)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.accepted for each in results] == [True] * 4


def test_a_closed_client_says_so(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.health()
    with pytest.raises(CallEnded, match="closed"):
        client.health()


def test_an_interrupt_before_a_call_has_begun_leaves_no_call(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("speakerd_client.blocking._loop", interrupted)
        with warnings.catch_warnings(record=True) as warned, pytest.raises(KeyboardInterrupt):
            client.health()
        gc.collect()
    assert warned == []
    client.health()
