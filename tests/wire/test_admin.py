"""AdminService over a real port, within this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from speakerd.v1 import admin_pb2 as pb
from speakerd.v1 import audio_pb2
from speakerd_server import __version__
from speakerd_server.calls.inference import Inference
from speakerd_server.values import Decision
from speakerd_server.wire.server import GrpcServer, ServerSettings
from support import wire
from support.administered import SMALL_DIM, Administered, administered
from support.batching import window
from support.bundles import bundle_of_nan, damage, misnamed, small_bundle

pytestmark = pytest.mark.timeout(60)


@dataclass
class Admin:
    """The service and what is behind it."""

    behind: Administered
    server: GrpcServer
    stubs: wire.Stubs

    async def asked(self, rpc: str, request: Any) -> Any:
        """Call an rpc."""
        call: Callable[..., Any] = getattr(self.stubs.admin, rpc)
        return await asyncio.to_thread(call, request, timeout=30)

    async def refused(self, rpc: str, request: Any) -> wire.Refusal:
        """Call an rpc that ends with a named error."""
        with pytest.raises(grpc.RpcError) as failed:
            await self.asked(rpc, request)
        return wire.refusal(failed.value)

    async def watched(self, request: pb.WatchSessionsRequest, answers: int) -> list[Any]:
        """Read so many answers of WatchSessions."""
        call = self.stubs.admin.WatchSessions(request, timeout=30)
        try:
            return [await asyncio.to_thread(next, call) for _ in range(answers)]
        finally:
            call.cancel()


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with administered(tmp_path) as behind:
        settings = ServerSettings(address="127.0.0.1:0")
        inference = Inference(behind.serving, behind.administration)
        server = GrpcServer(behind.serving, behind.administration, inference, settings)
        address = await server.start()
        with wire.connected(address) as stubs:
            yield Admin(behind, server, stubs)
        await server.stop(0)


async def test_the_server_tells_what_it_is_and_how_it_does(admin: Admin) -> None:
    serving = admin.behind.serving
    await serving.models.default.engine.submit(window(0))
    with serving.places.stream():
        info = await admin.asked("GetServerInfo", pb.GetServerInfoRequest())
    assert info.version == __version__
    assert info.start_time.ToNanoseconds() == pytest.approx(serving.started_unix_s * 1e9, abs=1e3)
    assert (info.default_model.name, info.default_model.version) == ("small", "1")
    assert list(info.domains) == ["default", "other"]
    assert (info.live_streams, info.maximum_streams) == (1, 1000)
    assert (info.queued_windows, info.maximum_queued_windows) == (0, 512)
    assert (info.windows_embedded, info.speakers, info.draining) == (1, 0, False)
    assert not info.processes


async def test_a_listed_model_has_its_card_its_standing_and_its_work(admin: Admin) -> None:
    model = admin.behind.serving.models.default
    await asyncio.gather(*(model.engine.submit(window(n, frames=198)) for n in range(5)))
    await (await model.engine.submit_offline(window(9, frames=198)))
    with admin.behind.serving.models.held(""):
        (listed,) = (await admin.asked("ListModels", pb.ListModelsRequest())).models
    card = model.card
    assert (listed.identity.name, listed.identity.version) == ("small", "1")
    assert listed.identity.front_end == card.identity.front_end
    assert (listed.dim, listed.sample_rate_hz) == (SMALL_DIM, 16000)
    assert listed.samples_per_chunk == card.samples_per_chunk
    assert listed.minimum_samples_per_chunk <= 32000 < listed.maximum_samples_per_chunk == 960000
    assert not listed.HasField("accept_at")
    assert (listed.precision, listed.licence, listed.sha256) == (
        card.precision,
        card.licence,
        card.sha256,
    )
    assert listed.is_default
    assert listed.answers_to_name
    assert (listed.status, listed.open_calls) == (pb.MODEL_STATUS_LOADED, 1)
    (work,) = listed.devices
    assert (work.device, work.available, work.queued_windows) == ("cpu", True, 0)
    assert (work.windows_embedded, work.live_windows, work.offline_windows) == (6, 5, 1)
    assert work.failed_batches == 0
    assert sum(one.batches for one in work.batch_sizes) == work.batches
    assert sum(one.windows * one.batches for one in work.batch_sizes) == 6
    assert work.compute_time.ToNanoseconds() > 0
    assert work.live_queue_time.ToNanoseconds() > 0
    assert work.chosen_batch_windows in (1, 2, 4, 8)
    assert work.window_cost.ToNanoseconds() > 0


async def test_loading_answers_with_a_warm_model_and_the_time_that_took(admin: Admin) -> None:
    small_bundle(admin.behind.folder, "small", "2")
    request = pb.LoadModelRequest(model="small", device="cpu", make_default=True)
    answer = await admin.asked("LoadModel", request)
    assert (answer.model.identity.version, answer.model.is_default) == ("2", True)
    assert (answer.model.status, answer.model.open_calls) == (pb.MODEL_STATUS_LOADED, 0)
    assert answer.model.devices[0].chosen_batch_windows >= 1
    assert answer.load_time.ToNanoseconds() > 0
    again = await admin.asked("LoadModel", request)
    assert again.model.identity == answer.model.identity
    assert again.load_time == Duration()
    info = await admin.asked("GetServerInfo", pb.GetServerInfoRequest())
    assert info.default_model.version == "2"


async def test_a_model_that_cannot_be_loaded_is_refused_by_name(admin: Admin) -> None:
    folder = admin.behind.folder
    bundle_of_nan(folder)
    small_bundle(folder, "wide", "1", dim=9)
    damage(small_bundle(folder, "damaged", "1"))
    misnamed(folder, "7", folder / "small" / "1")
    before = await admin.asked("ListModels", pb.ListModelsRequest())
    for model, device, words in (
        ("nan", "", "not finite"),
        ("wide", "", "not (1, 9)"),
        ("damaged", "", "SHA-256"),
        ("small/7", "", "its card says that it is small/1"),
        ("campplus", "gpu:0", "there is no device gpu:0; the daemon has cpu"),
        ("campplus", "tpu", "there is no device tpu"),
    ):
        request = pb.LoadModelRequest(model=model, device=device, make_default=True)
        refusal = await admin.refused("LoadModel", request)
        assert (refusal.code, refusal.reason, refusal.fields) == (
            StatusCode.FAILED_PRECONDITION,
            "MODEL_REFUSED",
            ("model",),
        )
        assert words in refusal.message
    assert await admin.asked("ListModels", pb.ListModelsRequest()) == before


@pytest.mark.parametrize("rpc", ["LoadModel", "UnloadModel"])
async def test_a_name_of_nothing_is_not_found_and_no_name_is_invalid(
    admin: Admin, rpc: str
) -> None:
    kind = {"LoadModel": pb.LoadModelRequest, "UnloadModel": pb.UnloadModelRequest}[rpc]
    for model in ("nosuch", "small/9", "../models/small/1", "small/1/", "é" * 128):
        refusal = await admin.refused(rpc, kind(model=model))
        assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "MODEL_UNKNOWN")
        assert refusal.fields == ("model",)
        assert "small/1" in refusal.message
    for model in ("", "m" * 129):
        refusal = await admin.refused(rpc, kind(model=model))
        assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert refusal.fields == ("model",)


async def test_unloading_waits_for_the_calls_that_hold_the_model(admin: Admin) -> None:
    small_bundle(admin.behind.folder, "other", "1")
    await admin.asked("LoadModel", pb.LoadModelRequest(model="other"))
    with admin.behind.serving.models.held("other"):
        answer = await admin.asked("UnloadModel", pb.UnloadModelRequest(model="other"))
        assert (answer.model.status, answer.model.open_calls) == (pb.MODEL_STATUS_UNLOADING, 1)
        listed = (await admin.asked("ListModels", pb.ListModelsRequest())).models
        assert [one.status for one in listed] == [
            pb.MODEL_STATUS_UNLOADING,
            pb.MODEL_STATUS_LOADED,
        ]
        await admin.asked("LoadModel", pb.LoadModelRequest(model="other"))
    answer = await admin.asked("UnloadModel", pb.UnloadModelRequest(model="other/1"))
    assert (answer.model.status, answer.model.open_calls) == (pb.MODEL_STATUS_UNLOADED, 0)
    assert not answer.model.devices
    refusal = await admin.refused("UnloadModel", pb.UnloadModelRequest(model="small"))
    assert (refusal.code, refusal.reason, refusal.fields) == (
        StatusCode.FAILED_PRECONDITION,
        "MODEL_IS_DEFAULT",
        ("model",),
    )
    assert "make_default" in refusal.message


async def test_watching_tells_of_the_live_calls_of_a_domain_as_they_are(admin: Admin) -> None:
    sessions = admin.behind.serving.sessions
    often = Duration(nanos=100_000_000)
    with (
        sessions.opened(
            request_id="a",
            rpc="StreamVerify",
            domain="default",
            model="small/1",
            speaker_ids=("alice", "bob"),
        ) as entry,
        sessions.opened(
            request_id="b", rpc="StreamVerify", domain="other", model="small/1", whole_domain=True
        ),
    ):
        entry.heard(2.5, 1.98, 1, Decision.ACCEPT)
        (first,) = await admin.watched(pb.WatchSessionsRequest(), 1)
        assert [one.request_id for one in first.sessions] == ["a", "b"]
        told = first.sessions[0]
        assert (told.rpc, told.domain, told.model) == ("StreamVerify", "default", "small/1")
        assert (list(told.speaker_ids), told.whole_domain) == (["alice", "bob"], False)
        assert (told.worker, told.window_count) == (0, 1)
        assert told.audio_received.ToMilliseconds() == 2500
        assert told.net_speech.ToMilliseconds() == 1980
        assert told.decision == audio_pb2.DECISION_ACCEPT
        assert first.sessions[1].decision == audio_pb2.DECISION_UNSPECIFIED
        assert first.sessions[1].whole_domain
        assert told.start_time.ToNanoseconds() <= first.time.ToNanoseconds()
        of_other = await admin.watched(pb.WatchSessionsRequest(domain="other", interval=often), 3)
        assert [[one.request_id for one in answer.sessions] for answer in of_other] == [["b"]] * 3
        times = [answer.time.ToMilliseconds() for answer in of_other]
        assert all(90 <= later - one < 5000 for one, later in pairwise(times))


@pytest.mark.parametrize(
    "interval",
    [Duration(), Duration(nanos=99_999_999), Duration(seconds=61), Duration(seconds=-1)],
)
async def test_an_interval_out_of_range_is_refused(admin: Admin, interval: Duration) -> None:
    request = pb.WatchSessionsRequest(interval=interval)
    with pytest.raises(grpc.RpcError) as failed:
        await admin.watched(request, 1)
    refusal = wire.refusal(failed.value)
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("interval",))


async def test_watching_a_domain_that_is_none_ends_by_name(admin: Admin) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        await admin.watched(pb.WatchSessionsRequest(domain="nosuch"), 1)
    assert wire.refusal(failed.value).reason == "DOMAIN_UNKNOWN"


async def test_a_drain_and_its_end_are_told(admin: Admin) -> None:
    places = admin.behind.serving.places
    with places.stream(), places.unary(10):
        answer = await admin.asked("Drain", pb.DrainRequest())
        assert (answer.draining, answer.open_calls) == (True, 2)
        assert (await admin.asked("GetServerInfo", pb.GetServerInfoRequest())).draining
    answer = await admin.asked("Drain", pb.DrainRequest(wait=Duration(seconds=3600)))
    assert (answer.draining, answer.open_calls) == (True, 0)
    answer = await admin.asked("Drain", pb.DrainRequest(resume=True))
    assert (answer.draining, answer.open_calls) == (False, 0)
    assert admin.behind.health == [False, False, True]


async def test_a_drain_that_waits_tells_that_it_was_lifted_meanwhile(admin: Admin) -> None:
    with admin.behind.serving.places.stream():
        waits = asyncio.create_task(
            admin.asked("Drain", pb.DrainRequest(wait=Duration(seconds=20)))
        )
        while not admin.behind.serving.places.draining:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        await admin.asked("Drain", pb.DrainRequest(resume=True))
    assert not (await waits).draining


@pytest.mark.parametrize("wait", [Duration(seconds=-1), Duration(seconds=3600, nanos=1)])
async def test_a_wait_out_of_range_is_refused_and_nothing_drains(
    admin: Admin, wait: Duration
) -> None:
    refusal = await admin.refused("Drain", pb.DrainRequest(wait=wait))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("wait",))
    assert not admin.behind.serving.places.draining


async def test_a_daemon_that_stops_is_not_taken_back_into_service(admin: Admin) -> None:
    places = admin.behind.serving.places
    places.draining = places.stopping = True
    refusal = await admin.refused("Drain", pb.DrainRequest(resume=True))
    assert (refusal.code, refusal.reason) == (StatusCode.UNAVAILABLE, "DRAINING")
