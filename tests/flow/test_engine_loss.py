"""An engine process that is killed costs the windows that it was computing, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd.v1 import admin_pb2
from speakerd.v1 import verification_pb2 as pb
from support import fleet, wire
from support.daemon import Daemon
from support.page import grown, read_page
from support.speech import noise, pcm16

pytestmark = [pytest.mark.timeout(120), fleet.NEEDS_TWO_PROCESSORS]
LANES = 2
MOST_LOST = 2 * LANES
"""The batch that a lane computes, and the one before while its answer is on the way."""
CALLS = 8
SHORT = pcm16(noise(1.9))
LONG = pcm16(noise(30.0, seed=3))
LONG_WINDOWS = 16
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = (
        "--workers=2",
        f"--engine-workers={LANES}",
        "--engine-maximum-batch-windows=1",
        "--calls-maximum-wait-s=60",
    )
    with Daemon(tmp_path_factory.mktemp("several"), *flags) as running:
        with wire.connected(running.address) as stubs:
            wire.enroll(stubs, "someone", pcm16(noise(5.0)))
        yield running


def embedded(stubs: wire.Stubs, **fields: object) -> list[float]:
    audio = pb.Audio(format=wire.PCM16, content=SHORT)
    request = pb.EmbedRequest(audio=audio, **fields)  # type: ignore[arg-type]
    return list(stubs.verification.Embed(request, timeout=wire.DEADLINE_S).embedding)


def engine(stubs: wire.Stubs) -> admin_pb2.Process:
    return fleet.parts(stubs)["engine cpu"]


def finals(calls: list[fleet.LiveCall]) -> tuple[list[pb.VerificationResult], list[wire.Refusal]]:
    """End all calls; gives how they ended, well and otherwise."""

    with ThreadPoolExecutor(len(calls)) as pool:
        results = list(pool.map(fleet.ended, calls))
    return (
        [one for one in results if isinstance(one, pb.VerificationResult)],
        [one for one in results if isinstance(one, wire.Refusal)],
    )


def score(result: pb.VerificationResult) -> float:
    return result.scores[0].score.value


def test_an_engine_that_is_killed_costs_only_what_it_was_computing(several: Daemon) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(fleet.alone(several.address)) for _ in range(CALLS)]
        stubs = connections[0]
        (calm,), _ = finals([sent(stubs, "calm")])
        killed = engine(stubs)
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(
            health_pb2.HealthCheckRequest(service="")
        )
        assert next(watch).status == SERVING
        before = read_page(several)
        calls = [sent(one, f"loud {number}") for number, one in enumerate(connections)]
        fleet.until(lambda: queued(stubs) >= CALLS)
        fleet.kill(killed.pid)
        assert next(watch).status == NOT_SERVING
        well, lost = finals(calls)
        assert next(watch).status == SERVING
        watch.cancel()
        assert 1 <= len(lost) <= MOST_LOST
        for refusal in lost:
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_LOST")
            assert refusal.message.startswith("engine cpu ended")
            assert refusal.retry_after_s == 1.0
        assert len(well) == CALLS - len(lost)
        assert {result.window_count for result in well} == {LONG_WINDOWS}
        expected = [score(calm)] * len(well)
        assert list(map(score, well)) == pytest.approx(expected, abs=1e-5)
        assert engine(stubs).restarts == killed.restarts + 1
    after = read_page(several)
    name = 'speakerd_refusals_total{reason="ENGINE_LOST"}'
    assert grown(before, after, name) == len(lost)
    assert grown(before, after, 'speakerd_restarts_total{process="engine"}') == 1
    enough = LONG_WINDOWS * len(well)
    assert grown(before, after, "speakerd_windows_embedded_total") >= enough


def sent(stubs: wire.Stubs, request_id: str) -> fleet.LiveCall:
    call = fleet.LiveCall(stubs, request_id, speaker_id="someone")
    call.send(LONG)
    return call


def queued(stubs: wire.Stubs) -> int:
    info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=wire.DEADLINE_S)
    return info.queued_windows


def test_whoever_calls_while_the_engine_is_away_waits_for_it(several: Daemon) -> None:
    with fleet.alone(several.address) as stubs:
        call = fleet.LiveCall(stubs, "open")
        expected = embedded(stubs)
        killed = engine(stubs)
        fleet.kill(killed.pid)
        assert embedded(stubs) == pytest.approx(expected, abs=1e-5)
        call.send(SHORT)
        assert call.end().window_count == 1
        assert engine(stubs).restarts == killed.restarts + 1


def test_an_engine_comes_back_with_every_model_though_a_worker_was_killed_beside_it(
    several: Daemon,
) -> None:
    load = admin_pb2.LoadModelRequest(model="campplus-int8")
    with fleet.every_worker(several.address, 2) as calls:
        stubs = calls[0].stubs
        stubs.admin.LoadModel(load, timeout=wire.DEADLINE_S)
        expected = embedded(stubs, model="campplus-int8")
        killed = [engine(stubs), fleet.parts(stubs)["worker 1"]]
        for process in killed:
            fleet.kill(process.pid)
        assert embedded(stubs, model="campplus-int8") == pytest.approx(expected, abs=1e-5)
        for process in killed:

            def is_back(process: admin_pb2.Process = process) -> bool:
                now = fleet.parts(stubs)[process.name]
                return now.pid != 0 and now.restarts == process.restarts + 1

            fleet.until(is_back)
    with fleet.every_worker(several.address, 2) as calls:
        for call in calls.values():
            found = embedded(call.stubs, model="campplus-int8")
            assert found == pytest.approx(expected, abs=1e-5)
