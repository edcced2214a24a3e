"""Several processes that take calls on one port answer as one process does, and for each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd.v1 import admin_pb2, audio_pb2
from speakerd.v1 import enrollment_pb2 as enrollment
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.engine.cpu import processors
from support import fleet, wire
from support.daemon import Daemon
from support.page import grown, read_page
from support.speech import noise, pcm16

pytestmark = [pytest.mark.timeout(90), fleet.NEEDS_TWO_PROCESSORS]
WORKERS = 2
MOST_STREAMS = 6
MOST_UNARY_CALLS = 3
ONE_LANE = (
    "--engine-workers=1",
    f"--engine-threads-per-worker={processors()}",
    "--engine-maximum-batch-windows=1",
)
"""Which threads compute a window, and what beside it, may change the last bit anywhere."""
ONE_WINDOW = pcm16(noise(1.9, seed=1))
SEVERAL_WINDOWS = pcm16(noise(7.0, seed=2))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = (
        f"--workers={WORKERS}",
        f"--calls-maximum-streams={MOST_STREAMS}",
        f"--calls-maximum-unary-calls={MOST_UNARY_CALLS}",
    )
    with Daemon(tmp_path_factory.mktemp("several"), *flags, *ONE_LANE) as running:
        yield running


@pytest.fixture(scope="module")
def workers(several: Daemon) -> Iterator[list[wire.Stubs]]:
    """A connection to each worker, by its number."""
    with fleet.every_worker(several.address, WORKERS) as calls:
        for call in calls.values():
            call.cancel()
        fleet.until(lambda: not fleet.live_streams(calls[0].stubs))
        yield [calls[number].stubs for number in range(WORKERS)]


def embedded(stubs: wire.Stubs, content: bytes, **fields: object) -> pb.EmbedResponse:
    audio = pb.Audio(format=wire.PCM16, content=content)
    request = pb.EmbedRequest(audio=audio, **fields)  # type: ignore[arg-type]
    return stubs.verification.Embed(request, timeout=wire.DEADLINE_S)


def verified(stubs: wire.Stubs, speaker_id: str) -> pb.VerificationResult:
    config = pb.VerificationConfig(speaker_id=speaker_id, audio_format=wire.PCM16)
    request = pb.VerifyRequest(config=config, audio=ONE_WINDOW)
    return stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result


def decision(stubs: wire.Stubs, speaker_id: str) -> str:
    return audio_pb2.Decision.Name(verified(stubs, speaker_id).decision)


def refused(stubs: wire.Stubs, **config: object) -> wire.Refusal:
    with pytest.raises(grpc.RpcError) as failed:
        fleet.LiveCall(stubs, "refused", **config)
    return wire.refusal(failed.value)


def models(stubs: wire.Stubs) -> dict[str, admin_pb2.Model]:
    listed = stubs.admin.ListModels(admin_pb2.ListModelsRequest()).models
    return {model.identity.name: model for model in listed}


def test_embeddings_are_those_of_one_process_to_the_last_bit(
    several: Daemon, workers: list[wire.Stubs], tmp_path: Path
) -> None:
    contents = [pcm16(noise(seconds, seed=1)) for seconds in (0.1, 1.2, 1.9, 7.0)]
    with Daemon(tmp_path, *ONE_LANE) as daemon, wire.connected(daemon.address) as one_process:
        expected = [embedded(one_process, content) for content in contents]
    assert [one.window_count for one in expected] == [1, 1, 1, 4]
    with fleet.alone(several.address) as other:
        for stubs in (*workers, other):
            for content, wanted in zip(contents, expected, strict=True):
                assert embedded(stubs, content).embedding == wanted.embedding


def test_every_new_connection_sees_at_once_what_one_has_changed(
    several: Daemon, workers: list[wire.Stubs]
) -> None:
    for turn in range(4):
        speaker_id = f"seen {turn}"
        # Every worker keeps what it was told: that there is no such speaker.
        assert {decision(stubs, speaker_id) for stubs in workers} == {
            "DECISION_SPEAKER_NOT_ENROLLED"
        }
        wire.enroll(workers[turn % WORKERS], speaker_id, pcm16(noise(4.0, seed=turn)))
        for _ in range(4):
            with fleet.alone(several.address) as stubs:
                assert decision(stubs, speaker_id) == "DECISION_ACCEPT"
    request = enrollment.DeleteSpeakerRequest(speaker_id="seen 0")
    workers[0].enrollment.DeleteSpeaker(request)
    assert decision(workers[1], "seen 0") == "DECISION_SPEAKER_NOT_ENROLLED"
    assert decision(workers[0], "seen 0") == "DECISION_SPEAKER_NOT_ENROLLED"
    workers[1].enrollment.OptOutSpeaker(enrollment.OptOutSpeakerRequest(speaker_id="seen 1"))
    assert {decision(stubs, "seen 1") for stubs in workers} == {"DECISION_SPEAKER_OPTED_OUT"}


def test_a_recording_that_comes_or_goes_changes_the_scores_of_every_worker_at_once(
    workers: list[wire.Stubs],
) -> None:
    def scores() -> list[float]:
        return [verified(stubs, "moving").scores[0].score.value for stubs in workers]

    wire.enroll(workers[0], "moving", ONE_WINDOW, minimum_net_speech={"seconds": 1})
    first = scores()
    added = wire.enroll(workers[1], "moving", pcm16(noise(8.0, seed=5)))
    second = scores()
    newest = added.result.speaker.recordings[-1].recording_id
    request = enrollment.UpdateSpeakerRequest(speaker_id="moving", remove_recording_ids=[newest])
    workers[0].enrollment.UpdateSpeaker(request)
    third = scores()
    assert first == pytest.approx([1.0] * WORKERS, abs=1e-5)
    assert second[0] == second[1] < 0.999
    assert third == first


def test_every_worker_lists_the_same_speakers(workers: list[wire.Stubs]) -> None:
    wire.enroll(workers[1], "listed", pcm16(noise(4.0)))
    pages = [
        stubs.enrollment.ListSpeakers(enrollment.ListSpeakersRequest(page_size=1000))
        for stubs in workers
    ]
    assert pages[0] == pages[1]
    assert "listed" in {speaker.speaker_id for speaker in pages[0].speakers}


def test_every_worker_tells_of_the_live_calls_of_all(
    several: Daemon, workers: list[wire.Stubs]
) -> None:
    before = read_page(several)
    calls = [fleet.LiveCall(stubs, f"told {n}") for n, stubs in enumerate(workers)]
    for call in calls:
        call.send(SEVERAL_WINDOWS)
        assert next(call.answers).update.window_count == 1
    for stubs in workers:
        told = fleet.until(
            lambda stubs=stubs: {  # type: ignore[misc]
                name: (session.worker, session.rpc)
                for name, session in fleet.sessions(stubs).items()
                if session.window_count
            }
        )
        assert told == {"told 0": (0, "StreamVerify"), "told 1": (1, "StreamVerify")}
        info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest())
        assert (info.live_streams, info.maximum_streams) == (WORKERS, MOST_STREAMS)
        names = {process.name for process in info.processes if process.pid}
        assert names == {"store", "engine cpu", "worker 0", "worker 1"}
    assert read_page(several)["speakerd_live_streams"] == WORKERS
    assert [call.end().window_count for call in calls] == [4] * WORKERS
    after = read_page(several)
    name = 'speakerd_decisions_total{decision="speaker_not_enrolled"}'
    assert grown(before, after, name) == WORKERS
    assert grown(before, after, "speakerd_windows_embedded_total") == 4 * WORKERS
    assert after["speakerd_live_streams"] == 0


def test_the_limit_of_live_calls_holds_for_all_workers_together(
    workers: list[wire.Stubs],
) -> None:
    calls = [fleet.LiveCall(workers[n % WORKERS], f"held {n}") for n in range(MOST_STREAMS)]
    for stubs in workers:
        refusal = refused(stubs)
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_STREAMS",
        )
    calls[0].cancel()
    fleet.until(lambda: fleet.live_streams(workers[0]) < MOST_STREAMS)
    calls.append(fleet.LiveCall(workers[1], "at the other worker"))
    assert refused(workers[0]).reason == "TOO_MANY_STREAMS"
    for call in calls:
        call.cancel()
    fleet.until(lambda: not fleet.live_streams(workers[0]))


def test_the_limit_of_unary_calls_holds_for_all_workers_together(
    workers: list[wire.Stubs],
) -> None:
    audio = pb.Audio(format=wire.PCM16, content=pcm16(noise(59.0)))
    whole = pb.EmbedRequest(audio=audio, samples_per_chunk=-1)
    calls = [
        workers[number % WORKERS].verification.Embed.future(whole, timeout=wire.DEADLINE_S)
        for number in range(MOST_UNARY_CALLS)
    ]
    fleet.until(lambda: models(workers[0])["campplus"].open_calls == MOST_UNARY_CALLS)
    for stubs in workers:
        with pytest.raises(grpc.RpcError) as failed:
            embedded(stubs, ONE_WINDOW)
        assert wire.refusal(failed.value).reason == "TOO_MANY_CALLS"
    for call in calls:
        call.cancel()
    for stubs in workers:
        fleet.until(lambda: models(workers[0])["campplus"].open_calls == 0)
        assert embedded(stubs, ONE_WINDOW).window_count == 1


def test_a_model_comes_and_goes_for_all_workers_and_calls_that_hold_it_finish(
    workers: list[wire.Stubs],
) -> None:
    load = admin_pb2.LoadModelRequest(model="campplus-int8")
    unload = admin_pb2.UnloadModelRequest(model="campplus-int8")
    (device,) = workers[0].admin.LoadModel(load, timeout=wire.DEADLINE_S).model.devices
    assert (device.device, device.available) == ("cpu", True)
    holder = fleet.LiveCall(workers[1], "holder", model="campplus-int8")
    found = [embedded(stubs, ONE_WINDOW, model="campplus-int8") for stubs in workers]
    assert {one.model.name for one in found} == {"campplus-int8"}
    assert found[0].embedding == found[1].embedding != embedded(workers[0], ONE_WINDOW).embedding
    assert [models(stubs)["campplus-int8"].open_calls for stubs in workers] == [1] * WORKERS
    leaving = workers[0].admin.UnloadModel(unload).model
    assert (leaving.status, leaving.open_calls) == (admin_pb2.MODEL_STATUS_UNLOADING, 1)
    for stubs in workers:
        assert refused(stubs, model="campplus-int8").reason == "MODEL_UNKNOWN"
    holder.send(SEVERAL_WINDOWS)
    assert holder.end().window_count == 4
    for stubs in workers:
        fleet.until(lambda stubs=stubs: list(models(stubs)) == ["campplus"])  # type: ignore[misc]
        with pytest.raises(grpc.RpcError) as failed:
            stubs.admin.UnloadModel(admin_pb2.UnloadModelRequest(model="campplus"))
        assert wire.refusal(failed.value).reason == "MODEL_IS_DEFAULT"


def test_a_drain_asked_of_one_worker_is_a_drain_of_all(workers: list[wire.Stubs]) -> None:
    health = [health_pb2_grpc.HealthStub(stubs.channel) for stubs in workers]

    def healths() -> list[int]:
        return [one.Check(health_pb2.HealthCheckRequest(service="")).status for one in health]

    open_call = fleet.LiveCall(workers[1], "open")
    answer = workers[0].admin.Drain(admin_pb2.DrainRequest())
    assert (answer.draining, answer.open_calls) == (True, 1)
    assert [refused(stubs).reason for stubs in workers] == ["DRAINING"] * WORKERS
    assert healths() == [NOT_SERVING] * WORKERS
    open_call.send(ONE_WINDOW)
    assert open_call.end().window_count == 1
    answer = workers[0].admin.Drain(admin_pb2.DrainRequest(wait=duration_pb2.Duration(seconds=30)))
    assert answer.open_calls == 0
    answer = workers[1].admin.Drain(admin_pb2.DrainRequest(resume=True))
    assert not answer.draining
    assert healths() == [SERVING] * WORKERS
    assert {decision(stubs, "nobody") for stubs in workers} == {"DECISION_SPEAKER_NOT_ENROLLED"}
