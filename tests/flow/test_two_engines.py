"""Two engine processes share the windows, and each stands in for the other."""

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
from support.speech import noise, pcm16

pytestmark = pytest.mark.timeout(120)
ENGINES = {"engine cpu", "engine cpu (2)"}
CALLS = 8
LANES = 1
"""Of each engine."""
MOST_LOST = 2 * LANES
"""The batch that a lane computes, and the one before while its answer is on the way."""
SHORT = pcm16(noise(1.9))
LONG = pcm16(noise(30.0, seed=3))
LONG_WINDOWS = 16
WHOLE_SERVER = health_pb2.HealthCheckRequest(service="")
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def two_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = (
        "--engine-devices=cpu,cpu",
        f"--engine-workers={LANES}",
        "--engine-maximum-batch-windows=1",
        "--calls-maximum-wait-s=60",
    )
    with Daemon(tmp_path_factory.mktemp("two"), *flags) as running:
        yield running


@pytest.fixture
def stubs(two_engines: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(two_engines.address) as connected:
        yield connected


def work(stubs: wire.Stubs, model: str = "campplus") -> dict[str, admin_pb2.DeviceWork]:
    """What each engine has done with a model."""
    listed = stubs.admin.ListModels(admin_pb2.ListModelsRequest(), timeout=wire.DEADLINE_S).models
    (found,) = [one for one in listed if one.identity.name == model]
    return {device.device: device for device in found.devices}


def windows(stubs: wire.Stubs, model: str = "campplus") -> dict[str, int]:
    return {name: done.windows_embedded for name, done in work(stubs, model).items()}


def embedding(stubs: wire.Stubs, content: bytes, **fields: object) -> grpc.Future[pb.EmbedResponse]:
    audio = pb.Audio(format=wire.PCM16, content=content)
    request = pb.EmbedRequest(audio=audio, **fields)  # type: ignore[arg-type]
    return stubs.verification.Embed.future(request, timeout=wire.DEADLINE_S)


def test_windows_are_spread_over_both_engines(daemon: Daemon, stubs: wire.Stubs) -> None:
    with wire.connected(daemon.address) as one_engine:
        expected = list(embedding(one_engine, SHORT).result().embedding)
    before = windows(stubs)
    asked = [embedding(stubs, SHORT) for _ in range(40)]
    for one in asked:
        assert list(one.result().embedding) == pytest.approx(expected, abs=1e-5)
    after = windows(stubs)
    assert set(after) == {"cpu", "cpu (2)"}
    shares = [after[name] - before[name] for name in after]
    assert sum(shares) == 40
    assert min(shares) >= 5


def test_a_window_goes_to_the_engine_that_is_not_busy(stubs: wire.Stubs) -> None:
    before = work(stubs)
    whole = embedding(stubs, pcm16(noise(59.0)), samples_per_chunk=-1)

    def busy() -> str:
        now = work(stubs)
        taken = [n for n in now if now[n].offline_windows > before[n].offline_windows]
        return taken[0] if taken else ""

    busy_one = fleet.until(busy)
    held = windows(stubs)[busy_one]
    for _ in range(3):
        embedding(stubs, SHORT).result()
    assert not whole.done(), "the long window was too short to show anything"
    assert windows(stubs)[busy_one] == held
    assert whole.result().window_count == 1


def test_an_engine_that_is_killed_leaves_the_work_to_the_other(
    two_engines: Daemon, stubs: wire.Stubs
) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)
    killed = fleet.parts(stubs)["engine cpu (2)"]
    with ExitStack() as stack:
        calls = []
        for number in range(CALLS):
            connection = stack.enter_context(fleet.alone(two_engines.address))
            calls.append(fleet.LiveCall(connection, f"call {number}"))
            calls[-1].send(LONG)
        fleet.until(lambda: all(one.queued_windows for one in work(stubs).values()))
        fleet.kill(killed.pid)
        assert health.Check(WHOLE_SERVER).status == SERVING
        with ThreadPoolExecutor(CALLS) as pool:
            results = list(pool.map(fleet.ended, calls))
    lost = [one for one in results if isinstance(one, wire.Refusal)]
    assert [refusal.reason for refusal in lost] == ["ENGINE_LOST"] * len(lost)
    assert len(lost) <= MOST_LOST
    counts = [one.window_count for one in results if isinstance(one, pb.VerificationResult)]
    assert counts == [LONG_WINDOWS] * (CALLS - len(lost))
    assert health.Check(WHOLE_SERVER).status == SERVING

    def shares() -> bool:
        for one in [embedding(stubs, SHORT) for _ in range(8)]:
            one.result()
        return windows(stubs).get("cpu (2)", 0) > 0

    fleet.until(lambda: work(stubs)["cpu (2)"].available)
    fleet.until(shares)
    assert fleet.parts(stubs)["engine cpu (2)"].restarts == killed.restarts + 1
    assert fleet.parts(stubs)["engine cpu"].restarts == 0


def test_a_model_is_placed_on_every_engine_of_its_device(stubs: wire.Stubs) -> None:
    load = admin_pb2.LoadModelRequest(model="campplus-int8", device="cpu")
    loaded = stubs.admin.LoadModel(load, timeout=wire.DEADLINE_S).model
    assert {device.device for device in loaded.devices} == {"cpu", "cpu (2)"}
    for one in [embedding(stubs, SHORT, model="campplus-int8") for _ in range(20)]:
        assert one.result().model.name == "campplus-int8"
    assert min(windows(stubs, "campplus-int8").values()) > 0
    unload = admin_pb2.UnloadModelRequest(model="campplus-int8")
    assert stubs.admin.UnloadModel(unload).model.status == admin_pb2.MODEL_STATUS_UNLOADED


def test_a_model_for_a_device_that_is_not_there_is_refused_by_name(stubs: wire.Stubs) -> None:
    load = admin_pb2.LoadModelRequest(model="campplus-int8", device="gpu:7")
    with pytest.raises(grpc.RpcError) as failed:
        stubs.admin.LoadModel(load, timeout=wire.DEADLINE_S)
    refusal = wire.refusal(failed.value)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_REFUSED",
    )
    assert "gpu:7" in refusal.message
