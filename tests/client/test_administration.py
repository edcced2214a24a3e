"""Operating a real daemon from a program."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from speakerd_client import (
    AsyncClient,
    Client,
    Decision,
    Health,
    InvalidRequest,
    ModelStatus,
    NotFound,
    NotOffered,
    NotPossible,
    SpeakerdError,
    TooSlow,
    Unavailable,
    read_audio,
)
from support.daemon import Daemon
from support.scripted import Answers, Requests, scripted
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")
OTHER_MODEL = "campplus-int8"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of its own: what is ordered here must not reach other tests."""
    folder = tmp_path_factory.mktemp("administration")
    with Daemon(folder, "--calls-domains=default,other") as running:
        yield running


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(daemon.address) as running:
        yield running


async def statuses(client: AsyncClient) -> dict[str, ModelStatus]:
    return {str(each.identity): each.status for each in await client.list_models()}


async def test_a_daemon_of_one_process_names_none(client: AsyncClient) -> None:
    info = await client.server_info()
    assert info.processes == ()
    assert not info.draining


async def test_what_a_device_did_with_a_model_is_told(client: AsyncClient) -> None:
    await client.embed(CALL)
    (model,) = await client.list_models()
    assert (model.status, model.is_default, model.answers_to_name) == (
        ModelStatus.LOADED,
        True,
        True,
    )
    (work,) = model.devices
    assert (work.device, work.available, work.queued_windows) == ("cpu", True, 0)
    assert work.offline_windows >= 2
    assert work.windows_embedded == sum(each.windows * each.batches for each in work.batch_sizes)
    assert work.batches == sum(each.batches for each in work.batch_sizes)
    assert work.mean_compute_s is not None
    assert 0 < work.mean_compute_s < 10
    assert work.chosen_batch_windows is not None
    assert work.window_cost_s is not None
    assert work.window_cost_s > 0


async def test_a_model_serves_from_its_loading_to_its_unloading(client: AsyncClient) -> None:
    with pytest.raises(NotFound) as caught:
        await client.embed(CALL, model=OTHER_MODEL)
    assert caught.value.reason == "MODEL_UNKNOWN"
    loaded = await client.load_model(OTHER_MODEL)
    assert loaded.model.status is ModelStatus.LOADED
    assert not loaded.model.is_default
    assert loaded.load_s > 0
    assert (await client.embed(CALL, model=OTHER_MODEL)).model.name == OTHER_MODEL
    again = await client.load_model(str(loaded.model.identity))
    assert again.load_s == 0
    assert again.model.sha256 == loaded.model.sha256
    assert len(await client.list_models()) == 2
    unloaded = await client.unload_model(OTHER_MODEL)
    assert (unloaded.status, unloaded.open_calls) == (ModelStatus.UNLOADED, 0)
    assert list(await statuses(client)) == ["campplus/1"]
    with pytest.raises(NotFound):
        await client.embed(CALL, model=OTHER_MODEL)


async def test_the_default_is_changed_by_loading_and_never_unloaded(client: AsyncClient) -> None:
    await client.load_model(OTHER_MODEL, make_default=True)
    assert (await client.server_info()).default_model.name == OTHER_MODEL
    with pytest.raises(NotPossible, match="make_default") as caught:
        await client.unload_model(OTHER_MODEL)
    assert caught.value.reason == "MODEL_IS_DEFAULT"
    back = await client.load_model("campplus", make_default=True)
    assert back.model.is_default
    await client.unload_model(OTHER_MODEL)


async def test_a_call_finishes_on_a_model_that_is_unloaded(client: AsyncClient) -> None:
    await client.load_model(OTHER_MODEL)
    async with client.stream_verify(None, CALL.format, model=OTHER_MODEL) as call:
        await call.send(CALL.content)
        leaving = await client.unload_model(OTHER_MODEL)
        assert (leaving.status, leaving.open_calls) == (ModelStatus.UNLOADING, 1)
        assert (await statuses(client))["campplus-int8/1"] is ModelStatus.UNLOADING
        final = await call.finish()
    assert final.settings.model.name == OTHER_MODEL
    assert final.window_count > 0
    async with asyncio.timeout(10):
        while len(await client.list_models()) > 1:  # noqa: ASYNC110 - not of this process
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("", InvalidRequest, "FIELD_INVALID"),
        ("x" * 1000, InvalidRequest, "FIELD_INVALID"),
        ("\ud800", InvalidRequest, ""),
        ("nothing", NotFound, "MODEL_UNKNOWN"),
        ("campplus/99", NotFound, "MODEL_UNKNOWN"),
        ("../campplus", NotFound, "MODEL_UNKNOWN"),
        ("/etc", NotFound, "MODEL_UNKNOWN"),
        ("a b\n\x00", NotFound, "MODEL_UNKNOWN"),
    ],
)
async def test_names_of_no_model_are_refused_by_name(
    client: AsyncClient, name: str, kind: type[SpeakerdError], reason: str
) -> None:
    for order in (client.load_model, client.unload_model):
        with pytest.raises(kind) as caught:
            await order(name)
        assert caught.value.reason == reason
    assert await statuses(client) == {"campplus/1": ModelStatus.LOADED}


async def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    client: AsyncClient,
) -> None:
    with pytest.raises(NotPossible, match="no device gpu:7; the daemon has cpu") as caught:
        await client.load_model(OTHER_MODEL, device="gpu:7")
    assert caught.value.reason == "MODEL_REFUSED"


async def test_live_calls_are_watched_from_their_config_to_their_end(client: AsyncClient) -> None:
    moments = client.watch_sessions(interval_s=0.1)
    assert (await anext(moments)).sessions == ()
    options: Any = {"request_id": "watched", "samples_per_chunk": 16000}
    async with client.stream_verify(["a", "b"], CALL.format, **options) as call:
        async with client.stream_enroll("watched", CALL.format, domain="other"):
            await call.send(CALL.content)
            moment = await anext(moments)
            while len(moment.sessions) < 2 or not moment.sessions[0].window_count:
                moment = await anext(moments)
            only = await anext(client.watch_sessions(domain="other"))
        verifying, enrolling = moment.sessions
        assert (verifying.request_id, verifying.rpc) == ("watched", "StreamVerify")
        assert (verifying.domain, verifying.model) == ("default", "campplus/1")
        assert (verifying.speaker_ids, verifying.whole_domain) == (("a", "b"), False)
        assert verifying.net_speech_s > 0.9
        assert verifying.audio_received_s >= verifying.net_speech_s
        assert verifying.decision is Decision.SPEAKER_NOT_ENROLLED
        assert verifying.started <= enrolling.started <= moment.time
        assert (enrolling.rpc, enrolling.domain) == ("StreamEnroll", "other")
        assert (enrolling.speaker_ids, enrolling.decision) == (("watched",), None)
        assert [each.rpc for each in only.sessions] == ["StreamEnroll"]
        await call.finish()
    async for moment in moments:
        if not moment.sessions:
            break


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"interval_s": 0.01}, InvalidRequest, "FIELD_INVALID"),
        ({"interval_s": -1}, InvalidRequest, "FIELD_INVALID"),
        ({"interval_s": 61}, InvalidRequest, "FIELD_INVALID"),
        ({"interval_s": float("nan")}, InvalidRequest, ""),
        ({"domain": "nowhere"}, NotFound, "DOMAIN_UNKNOWN"),
    ],
)
async def test_what_cannot_be_watched_is_refused_by_name(
    client: AsyncClient, options: dict[str, Any], kind: type[SpeakerdError], reason: str
) -> None:
    with pytest.raises(kind) as caught:
        await anext(client.watch_sessions(**options))
    assert caught.value.reason == reason


async def test_a_drained_daemon_refuses_new_calls_until_it_is_resumed(client: AsyncClient) -> None:
    async with client.stream_verify(None, CALL.format) as call:
        state = await client.drain()
        assert (state.draining, state.open_calls) == (True, 1)
        with pytest.raises(Unavailable) as caught:
            await client.embed(CALL)
        assert caught.value.reason == "DRAINING"
        assert (await client.server_info()).draining
        assert await client.health() is Health.NOT_SERVING
        await call.send(CALL.content)
        assert (await call.finish()).window_count > 0
    assert not (await client.resume()).draining
    assert await client.health() is Health.SERVING
    await client.embed(CALL)


async def test_a_drain_can_wait_for_the_calls_that_go_on(client: AsyncClient) -> None:
    async with AsyncClient(client.address, timeout_s=0.3) as hasty:
        async with client.stream_verify(None, CALL.format) as call:
            begin_s = time.monotonic()
            assert (await hasty.drain(wait_s=0.6)).open_calls == 1
            assert time.monotonic() - begin_s >= 0.6
            waiting = asyncio.create_task(client.drain(wait_s=3600))
            await call.send(CALL.content)
            await call.finish()
        assert (await waiting).open_calls == 0
    await client.resume()


@pytest.mark.parametrize("wait_s", [-1, 3601])
async def test_a_wait_out_of_range_is_refused_and_drains_nothing(
    client: AsyncClient, wait_s: float
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await client.drain(wait_s=wait_s)
    assert caught.value.reason == "FIELD_INVALID"
    assert not (await client.server_info()).draining


def test_the_blocking_client_watches_and_orders_too(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        assert client.load_model(OTHER_MODEL).model.status is ModelStatus.LOADED
        with client.stream_verify(None, CALL.format) as call:
            for moment in client.watch_sessions(interval_s=0.1):
                assert [each.request_id for each in moment.sessions] == [call.request_id]
                break
        assert client.unload_model(OTHER_MODEL).status is ModelStatus.UNLOADED
        assert client.drain().draining
        assert not client.resume().draining


async def test_a_server_without_these_calls_does_not_offer_them() -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        return
        yield

    async with scripted(script) as address, AsyncClient(address) as client:
        for order in (client.load_model("a"), client.unload_model("a"), client.drain()):
            with pytest.raises(NotOffered, match="not older than this client") as caught:
                await order
            assert caught.value.code == "UNIMPLEMENTED"
        with pytest.raises(NotOffered):
            await anext(client.watch_sessions())


async def test_a_server_that_says_nothing_ends_a_watch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncClient(address, timeout_s=0.2) as client:
            with pytest.raises(TooSlow, match=rf"{address} said nothing for 0\.3 s"):
                await anext(client.watch_sessions(interval_s=0.1))


async def test_an_orderly_stop_of_the_daemon_ends_a_watch_by_name(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        async with AsyncClient(daemon.address) as client:
            moments = client.watch_sessions(interval_s=0.1)
            await anext(moments)
            daemon.terminate()
            with pytest.raises(Unavailable) as caught:
                _ = [each async for each in moments]
    assert caught.value.reason == "CONNECTION_LOST"
