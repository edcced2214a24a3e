"""A daemon whose windows are embedded elsewhere: the same answers, and what absence costs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd.v1 import admin_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.triton_repository import write_repository
from support import wire
from support.daemon import Daemon, DaemonFailed
from support.fleet import until
from support.page import read_page
from support.remotes import EVERY, KINDS, PYTHON, QUICK, MadeUp, Remote, over
from support.speech import noise, pcm16
from support.triton import Triton

pytestmark = pytest.mark.timeout(120)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WHOLE_SERVER = health_pb2.HealthCheckRequest(service="")


@pytest.fixture
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    with ExitStack() as stack:
        yield KINDS[request.param](stack, tmp_path / "remote")


def request_of(seconds: float, samples_per_chunk: int = 32000, seed: int = 0) -> pb.EmbedRequest:
    audio = pb.Audio(format=wire.PCM16, content=pcm16(noise(seconds, seed)))
    return pb.EmbedRequest(audio=audio, samples_per_chunk=samples_per_chunk)


def cosine(one: pb.EmbedResponse, other: pb.EmbedResponse) -> float:
    first, second = (np.array(answer.embedding, np.float64) for answer in (one, other))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def refused(stubs: wire.Stubs) -> wire.Refusal:
    with pytest.raises(grpc.RpcError) as failed:
        stubs.verification.Embed(request_of(2.0), timeout=wire.DEADLINE_S)
    return wire.refusal(failed.value)


def health(stubs: wire.Stubs) -> int:
    answer = health_pb2_grpc.HealthStub(stubs.channel).Check(WHOLE_SERVER, timeout=30)
    return int(answer.status)


@pytest.mark.parametrize("remote", EVERY, indirect=True)
def test_embeddings_are_those_of_an_engine_of_its_own(
    remote: Remote, daemon: Daemon, tmp_path: Path
) -> None:
    requests = [request_of(0.5), request_of(2.0), request_of(7.3), request_of(5.1, -1)]
    requests += [request_of(4.2, seed=seed) for seed in range(8)]
    with (
        over(remote.address, tmp_path) as running,
        wire.connected(running.address) as stubs,
        wire.connected(daemon.address) as own,
        ThreadPoolExecutor(len(requests)) as pool,
    ):
        found = list(pool.map(lambda one: stubs.verification.Embed(one, timeout=60), requests))
        wanted = [own.verification.Embed(one, timeout=60) for one in requests]
        page = read_page(running)
    for one, other in zip(found, wanted, strict=True):
        assert one.window_count == other.window_count
        assert cosine(one, other) >= 1 - 1e-6
    named = f'speakerd_windows_embedded_total{{device="kserve:{remote.address}"'
    assert any(name.startswith(named) and value > 0 for name, value in page.items()), page.keys()


@pytest.mark.parametrize("remote", EVERY, indirect=True)
def test_a_remote_that_ends_is_named_turns_the_health_and_is_taken_back(
    remote: Remote, tmp_path: Path
) -> None:
    with (
        over(remote.address, tmp_path) as running,
        wire.connected(running.address) as stubs,
    ):
        before = stubs.verification.Embed(request_of(4.0), timeout=60)
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(WHOLE_SERVER, timeout=100)
        assert next(watch).status == SERVING
        remote.leave()
        refusal = refused(stubs)
        assert (refusal.code, refusal.reason) == (
            StatusCode.UNAVAILABLE,
            "REMOTE_ENGINE_UNAVAILABLE",
        )
        assert refusal.retry_after_s == 1.0
        assert remote.address not in refusal.message
        assert next(watch).status == NOT_SERVING
        assert refused(stubs).reason == "REMOTE_ENGINE_UNAVAILABLE"
        remote.come_back()
        assert next(watch).status == SERVING
        watch.cancel()
        after = stubs.verification.Embed(request_of(4.0), timeout=60)
        assert cosine(before, after) >= 1 - 1e-6
        said = running.errors()
    assert "engine is away" in said
    assert "engine is there" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("remote", ["speakerd"], indirect=True)
def test_a_remote_speakerd_that_is_drained_is_away_until_it_takes_calls_again(
    remote: Remote, tmp_path: Path
) -> None:
    with (
        over(remote.address, tmp_path) as running,
        wire.connected(running.address) as stubs,
        wire.connected(remote.address) as elsewhere,
    ):
        elsewhere.admin.Drain(admin_pb2.DrainRequest(), timeout=30)
        until(lambda: health(stubs) == NOT_SERVING)
        assert refused(stubs).reason == "REMOTE_ENGINE_UNAVAILABLE"
        elsewhere.admin.Drain(admin_pb2.DrainRequest(resume=True), timeout=30)
        until(lambda: health(stubs) == SERVING)
        assert stubs.verification.Embed(request_of(2.0), timeout=60).window_count == 1


@pytest.mark.parametrize("remote", ["made-up"], indirect=True)
def test_a_live_call_ends_with_the_name_and_a_new_one_goes_on_afterwards(
    remote: MadeUp, tmp_path: Path
) -> None:
    config = pb.VerificationConfig(speaker_id="nobody", audio_format=wire.PCM16)
    audio = [pcm16(noise(2.0, seed)) for seed in range(4)]

    def call(stubs: wire.Stubs) -> list[pb.StreamVerifyResponse]:
        requests = wire.stream_requests(config, audio)
        return list(stubs.verification.StreamVerify(requests, timeout=60))

    with over(remote.address, tmp_path) as running, wire.connected(running.address) as stubs:
        assert call(stubs)[-1].final.window_count == 5
        remote.server.refusals = [StatusCode.UNAVAILABLE] * 1000
        with pytest.raises(grpc.RpcError) as failed:
            call(stubs)
        assert wire.refusal(failed.value).reason == "REMOTE_ENGINE_UNAVAILABLE"
        remote.server.refusals = []
        until(lambda: health(stubs) == SERVING)
        assert call(stubs)[-1].final.window_count == 5


@pytest.mark.parametrize("remote", ["made-up"], indirect=True)
def test_a_slow_remote_costs_a_call_its_deadline_and_no_more(
    remote: MadeUp, tmp_path: Path
) -> None:
    with (
        over(remote.address, tmp_path, "--remote-deadline-ms=500") as running,
        wire.connected(running.address) as stubs,
    ):
        remote.server.gate.clear()
        refusal = refused(stubs)
        assert (refusal.code, refusal.reason) == (
            StatusCode.UNAVAILABLE,
            "REMOTE_ENGINE_UNAVAILABLE",
        )
        assert health(stubs) == SERVING
        remote.server.gate.set()
        assert stubs.verification.Embed(request_of(2.0), timeout=60).window_count == 1
        assert "DEADLINE_EXCEEDED" in running.errors()


@pytest.mark.triton
def test_a_triton_that_stands_still_is_away_until_it_goes_on(tmp_path: Path) -> None:
    write_repository(tmp_path / "remote", load_bundle(shipped_bundle()), PYTHON)
    with (
        Triton(tmp_path / "remote") as triton,
        over(triton.address, tmp_path) as running,
        wire.connected(running.address) as stubs,
    ):
        triton.pause()
        refusal = refused(stubs)
        assert refusal.reason == "REMOTE_ENGINE_UNAVAILABLE"
        until(lambda: health(stubs) == NOT_SERVING)
        triton.resume()
        until(lambda: health(stubs) == SERVING)
        assert stubs.verification.Embed(request_of(2.0), timeout=60).window_count == 1


@pytest.mark.parametrize("remote", ["made-up"], indirect=True)
@pytest.mark.parametrize(
    ("backend", "dim", "said"),
    [
        ("campplus-int8", 192, "its model speaker_windows is another: an embedding in a batch"),
        ("campplus", 256, "have 256 values, the card of campplus says 192"),
        ("", 192, "its model speaker_windows is another"),
    ],
)
def test_a_remote_with_another_model_stops_the_start_by_name(
    remote: MadeUp, tmp_path: Path, backend: str, dim: int, said: str
) -> None:
    remote.server.dim = dim
    remote.server.backend = FakeBackend(192)
    if backend:
        remote.server.backend = OnnxRuntimeCpu(load_bundle(shipped_bundle(backend)))
    with pytest.raises(DaemonFailed, match=said) as failed, over(remote.address, tmp_path):
        pass
    assert failed.value.code == 2
    assert f"the engine at {remote.address} cannot be used" in failed.value.errors
    assert failed.value.errors.endswith("[REMOTE_ENGINE_REFUSED]\n")
    assert "Traceback" not in failed.value.errors


@pytest.mark.parametrize("flags", [[], ["--workers=2"]])
def test_a_remote_that_is_not_there_stops_the_start_by_name(
    tmp_path: Path, flags: list[str]
) -> None:
    with pytest.raises(DaemonFailed) as failed, over("127.0.0.1:1", tmp_path, *flags):
        pass
    assert failed.value.code == 2
    assert "the engine at 127.0.0.1:1 cannot be used: UNAVAILABLE" in failed.value.errors
    assert failed.value.errors.endswith("[REMOTE_ENGINE_REFUSED]\n")


@pytest.mark.parametrize("remote", ["made-up"], indirect=True)
def test_beside_a_processor_an_absent_remote_costs_nothing_but_speed(
    remote: MadeUp, tmp_path: Path
) -> None:
    flags = (f"--engine-devices=cpu,kserve:{remote.address}", "--engine-workers=1", *QUICK)
    with Daemon(tmp_path, *flags) as running, wire.connected(running.address) as stubs:
        stubs.verification.Embed(request_of(20.0), timeout=60)
        until(lambda: len(remote.server.asked) > 0)
        remote.server.gate.clear()
        asked = len(remote.server.asked)
        cut = stubs.verification.Embed.future(request_of(30.0), timeout=60)
        until(lambda: len(remote.server.asked) > asked)
        remote.leave()
        # What the remote had is embedded by the processor.
        assert cut.result().window_count == 16
        until(lambda: "engine is away" in running.errors())
        for seed in range(4):
            found = stubs.verification.Embed(request_of(8.0, seed=seed), timeout=60)
            assert found.window_count == 5
        assert health(stubs) == SERVING
        remote.come_back()
        until(lambda: "engine is there" in running.errors())
        before = len(remote.server.asked)
        until(lambda: _asked_again(stubs, remote, before))


@pytest.mark.parametrize("remote", ["made-up"], indirect=True)
def test_several_workers_turn_their_health_with_the_only_remote(
    remote: MadeUp, tmp_path: Path
) -> None:
    with (
        over(remote.address, tmp_path, "--workers=2") as running,
        wire.connected(running.address) as stubs,
    ):
        assert health(stubs) == SERVING
        remote.leave()
        assert refused(stubs).reason == "REMOTE_ENGINE_UNAVAILABLE"
        until(lambda: health(stubs) == NOT_SERVING)
        remote.come_back()
        until(lambda: health(stubs) == SERVING)
        assert stubs.verification.Embed(request_of(2.0), timeout=60).window_count == 1


def _asked_again(stubs: wire.Stubs, remote: MadeUp, before: int) -> bool:
    stubs.verification.Embed(request_of(20.0), timeout=60)
    return len(remote.server.asked) > before
