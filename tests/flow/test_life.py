"""Starting, draining and failing to start: real processes, real files."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from speakerd.v1 import admin_pb2, audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.models.bundle import shipped_bundle
from support import wire
from support.daemon import Daemon, DaemonFailed
from support.page import grown, read_page
from support.speech import noise, pcm16

pytestmark = pytest.mark.timeout(60)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def failure(daemon: Daemon) -> DaemonFailed:
    with pytest.raises(DaemonFailed) as failed:
        daemon.wait_until_serving()
    daemon.stop()
    assert failed.value.code == 2
    assert "Traceback" not in failed.value.errors
    return failed.value


def test_health_answers_for_the_server_and_each_service(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        health = health_pb2_grpc.HealthStub(stubs.channel)
        for name in ("", "speakerd.v1.VerificationService", "speakerd.v1.EnrollmentService"):
            assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
        with pytest.raises(grpc.RpcError) as failed:
            health.Check(health_pb2.HealthCheckRequest(service="none"))
    assert wire.refusal(failed.value).code == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_every_service(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        reflection = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection.ServerReflectionInfo(iter([request]))
    names = {service.name for service in answer.list_services_response.service}
    assert {
        "speakerd.v1.VerificationService",
        "speakerd.v1.EnrollmentService",
        "speakerd.v1.AdminService",
        "grpc.health.v1.Health",
    } <= names


def test_the_server_tells_what_it_is(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest())
        models = stubs.admin.ListModels(admin_pb2.ListModelsRequest()).models
    (model,) = [model for model in models if model.is_default]
    assert info.default_model == model.identity
    assert (model.dim, model.sample_rate_hz, model.samples_per_chunk) == (192, 16000, 32000)
    assert model.minimum_samples_per_chunk == 720
    assert len(model.sha256) == 64
    assert info.maximum_queued_windows == 512
    assert not info.draining


def test_metrics_count_what_happened_and_nothing_else(own_daemon: Daemon) -> None:
    own_daemon.wait_until_serving()
    with wire.connected(own_daemon.address) as stubs:
        before = read_page(own_daemon)
        enrolled = wire.enroll(stubs, "counted", pcm16(noise(4.0)))
        (recording,) = enrolled.result.speaker.recordings
        config = pb.VerificationConfig(speaker_id="counted", audio_format=wire.PCM16)
        requests = wire.stream_requests(config, [pcm16(noise(4.0))])
        answers = stubs.verification.StreamVerify(requests, timeout=wire.DEADLINE_S)
        assert next(answers).WhichOneof("response") == "opened"
        *updates, last = answers
        config.samples_per_chunk = 1
        with pytest.raises(grpc.RpcError):
            stubs.verification.Verify(pb.VerifyRequest(config=config, audio=pcm16(noise(4.0))))
        after = read_page(own_daemon)
    assert last.final.decision == audio_pb2.DECISION_ACCEPT
    windows = recording.window_count + last.final.window_count
    assert windows > len(updates) > 1
    expected = {
        "speakerd_windows_embedded_total": windows,
        "speakerd_batch_windows_sum": windows,
        "speakerd_queue_seconds_count": windows,
        "speakerd_decision_lag_seconds_count": len(updates) + 1,
        "speakerd_enrolments_total": 1,
        "speakerd_erasures_total": 0,
        'speakerd_decisions_total{decision="accept"}': 1,
        'speakerd_refusals_total{reason="SAMPLES_PER_CHUNK_INVALID"}': 1,
        "speakerd_live_streams": 0,
        "speakerd_queued_windows": 0,
    }
    assert {name: grown(before, after, name) for name in expected} == expected
    batches = grown(before, after, "speakerd_batch_windows_count")
    assert 1 < batches <= windows
    assert grown(before, after, "speakerd_compute_seconds_count") == batches
    for kind, name in (("decision", "decisions"), ("reason", "refusals")):
        others = [n for n in after if n.startswith(f"speakerd_{name}_total{{{kind}=")]
        assert sum(grown(before, after, n) for n in others) == 1


def test_live_calls_are_counted_while_they_go_on(own_daemon: Daemon) -> None:
    own_daemon.wait_until_serving()
    go_on = threading.Event()

    def requests() -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=pb.VerificationConfig(audio_format=wire.PCM16))
        go_on.wait(30)
        yield pb.StreamVerifyRequest(audio=pcm16(noise(1.0)))

    with wire.connected(own_daemon.address) as stubs:
        assert read_page(own_daemon)["speakerd_live_streams"] == 0
        call = stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S)
        assert next(call).WhichOneof("response") == "opened"
        assert read_page(own_daemon)["speakerd_live_streams"] == 1
        go_on.set()
        assert list(call)[-1].WhichOneof("response") == "final"
        assert read_page(own_daemon)["speakerd_live_streams"] == 0


def test_a_drain_finishes_open_calls_and_refuses_new_ones(own_daemon: Daemon) -> None:
    own_daemon.wait_until_serving()
    go_on = threading.Event()
    config = pb.VerificationConfig(speaker_id="anyone", audio_format=wire.PCM16)

    def requests() -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=config)
        go_on.wait(30)
        yield pb.StreamVerifyRequest(audio=pcm16(noise(2.5)))

    with wire.connected(own_daemon.address) as stubs:
        health = health_pb2_grpc.HealthStub(stubs.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert next(watch).status == SERVING
        call = stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S)
        assert next(call).WhichOneof("response") == "opened"
        own_daemon.terminate()
        assert next(watch).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as failed:
            list(stubs.verification.StreamVerify(iter([pb.StreamVerifyRequest(config=config)])))
        refusal = wire.refusal(failed.value)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refusal.retry_after_s == 1.0
        go_on.set()
        assert list(call)[-1].final.window_count == 2
    assert own_daemon.stop() == 0


def test_a_grace_that_is_over_ends_what_is_open(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "--server-drain-grace-s=0.5").wait_until_serving()
    never = threading.Event()

    def requests() -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=pb.VerificationConfig(audio_format=wire.PCM16))
        never.wait(30)

    with wire.connected(daemon.address) as stubs:
        call = stubs.verification.StreamVerify(requests())
        assert next(call).WhichOneof("response") == "opened"
        begin = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begin < 10
        with pytest.raises(grpc.RpcError):
            list(call)
        never.set()


@pytest.mark.parametrize(
    "flag", ["--server-address", "--server-metrics-address", "--kserve-http-address"]
)
def test_a_port_that_is_taken_stops_the_start_by_name(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = failure(Daemon(tmp_path, f"{flag}={address}"))
    assert "ADDRESS_UNAVAILABLE" in failed.errors
    assert address in failed.errors


def test_two_daemons_never_share_a_port_or_a_store(own_daemon: Daemon, tmp_path: Path) -> None:
    own_daemon.wait_until_serving()
    other = tmp_path / "other"
    other.mkdir()
    failed = failure(Daemon(other, f"--server-address={own_daemon.address}"))
    assert "ADDRESS_UNAVAILABLE" in failed.errors
    failed = failure(Daemon(other, f"--store-path={own_daemon.store}"))
    assert "STORE_UNUSABLE" in failed.errors


def test_a_damaged_model_file_stops_the_start_by_name(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(), bundle)
    with (bundle / "model.onnx").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"\xff\xff\xff\xff")
    failed = failure(Daemon(tmp_path, f"--model-default={bundle}"))
    assert "MODEL_DAMAGED" in failed.errors
    assert "SHA-256" in failed.errors


def test_an_unknown_model_stops_the_start_by_name(tmp_path: Path) -> None:
    failed = failure(Daemon(tmp_path, "--model-default=nosuch"))
    assert "MODEL_UNUSABLE" in failed.errors
    assert "campplus" in failed.errors


def test_a_corrupt_database_stops_the_start_by_name_and_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "speakerd.db"
    content = os.urandom(20_000)
    database.write_bytes(content)
    failed = failure(Daemon(tmp_path))
    assert "STORE_CORRUPT" in failed.errors
    assert str(database) in failed.errors
    assert database.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "speakerd.db"
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = database.read_bytes()
    assert "STORE_UNUSABLE" in failure(Daemon(tmp_path)).errors
    assert database.read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_a_folder_that_cannot_be_written_stops_the_start_by_name(tmp_path: Path) -> None:
    """Not even root may write to /proc, so this holds whoever runs the tests."""
    failed = failure(Daemon(tmp_path, "--store-path=/proc/speakerd.db"))
    assert "STORE_UNUSABLE" in failed.errors
    assert "/proc" in failed.errors


def test_a_misspelt_setting_stops_the_start_by_name(tmp_path: Path) -> None:
    failed = failure(Daemon(tmp_path, environment={"SPEAKERD_SERVER_ADRESS": "x"}))
    assert "SETTING_INVALID" in failed.errors
    assert "SPEAKERD_SERVER_ADDRESS" in failed.errors
