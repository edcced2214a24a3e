"""A daemon of several processes starts, drains and ends as one: none is left over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.engine.cpu import processors
from speakerd_server.models.bundle import shipped_bundle
from support import fleet, wire
from support.daemon import Daemon, DaemonFailed
from support.speech import noise, pcm16

pytestmark = [pytest.mark.timeout(120), fleet.NEEDS_TWO_PROCESSORS]
SHORT = pcm16(noise(1.9))


def failure(daemon: Daemon) -> DaemonFailed:
    """Wait for a start that fails."""
    with pytest.raises(DaemonFailed) as failed:
        daemon.wait_until_serving()
    by_name(daemon, failed.value)
    daemon.stop()
    return failed.value


def by_name(daemon: Daemon, failed: DaemonFailed) -> None:
    """A start has failed in one message, and nobody is left."""
    assert failed.code == 2
    assert "Traceback" not in failed.errors
    messages = [line for line in failed.errors.splitlines() if line.startswith("speakerd: ")]
    assert len(messages) == 1
    assert fleet.left_over(daemon) == []


def test_a_drain_lets_the_calls_of_all_workers_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "--workers=2").wait_until_serving()
    with fleet.every_worker(daemon.address, 2) as calls:
        daemon.terminate()
        for call in calls.values():
            fleet.until(lambda call=call: draining(call.stubs))  # type: ignore[misc]
        for call in calls.values():
            call.send(SHORT)
            assert call.end().window_count == 1
    assert daemon.stop() == 0
    assert fleet.left_over(daemon) == []


def draining(stubs: wire.Stubs) -> bool:
    """Tell whether a new call is refused."""
    try:
        fleet.LiveCall(stubs, "new").cancel()
    except grpc.RpcError as error:
        refusal = wire.refusal(error)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        return True
    return False


def test_a_grace_that_is_over_ends_the_calls_of_all_workers(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "--workers=2", "--server-drain-grace-s=0.3").wait_until_serving()
    with fleet.every_worker(daemon.address, 2) as calls:
        begin_s = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begin_s < 20
        for call in calls.values():
            assert call.error().code in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.CANCELLED,
            )
    assert fleet.left_over(daemon) == []


def test_a_killed_supervisor_leaves_nobody_and_another_daemon_starts_at_once(
    tmp_path: Path,
) -> None:
    daemon = Daemon(tmp_path, "--workers=2").wait_until_serving()
    with fleet.every_worker(daemon.address, 2) as calls:
        wire.enroll(calls[0].stubs, "kept", pcm16(noise(4.0)))
        daemon.kill()
        daemon.stop()
        same = (f"--server-address={daemon.address}", "--workers=2")
        with Daemon(tmp_path, *same) as next_one, fleet.alone(next_one.address) as stubs:
            config = pb.VerificationConfig(speaker_id="kept", audio_format=wire.PCM16)
            request = pb.VerifyRequest(config=config, audio=SHORT)
            verdict = stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result
            assert verdict.decision == audio_pb2.DECISION_ACCEPT
        for call in calls.values():
            assert call.error().code == grpc.StatusCode.UNAVAILABLE
    fleet.until(lambda: fleet.left_over(daemon) == [], 10.0)


def test_more_workers_than_processors_are_refused_by_name(tmp_path: Path) -> None:
    failed = failure(Daemon(tmp_path, f"--workers={processors() + 1}"))
    assert "SETTING_INVALID" in failed.errors
    assert f"set it to {processors()} or fewer" in failed.errors


@pytest.mark.parametrize("flag", ["--server-address", "--server-metrics-address"])
def test_a_port_that_is_taken_stops_the_start_by_name(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = failure(Daemon(tmp_path, f"{flag}={address}", "--workers=2"))
    assert "ADDRESS_UNAVAILABLE" in failed.errors
    assert address in failed.errors


def test_two_daemons_of_several_processes_never_share_a_port_or_a_store(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Daemon(tmp_path, "--workers=2") as running:
        failed = failure(Daemon(other, f"--server-address={running.address}", "--workers=2"))
        assert "ADDRESS_UNAVAILABLE" in failed.errors
        failed = failure(Daemon(other, f"--store-path={running.store}", "--workers=2"))
        assert "STORE_UNUSABLE" in failed.errors


def test_a_damaged_model_stops_the_start_by_name(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(), bundle)
    with (bundle / "model.onnx").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"\xff\xff\xff\xff")
    failed = failure(Daemon(tmp_path, f"--model-default={bundle}", "--workers=2"))
    assert "MODEL_DAMAGED" in failed.errors


def test_a_device_that_is_not_there_stops_the_start_by_name(tmp_path: Path) -> None:
    failed = failure(Daemon(tmp_path, "--engine-devices=cpu,gpu:99"))
    assert "gpu:99" in failed.errors


@pytest.mark.parametrize("kind", ["store", "engine", "worker"])
def test_a_process_that_is_killed_during_the_start_stops_it_by_name(
    tmp_path: Path, kind: str
) -> None:
    daemon = Daemon(tmp_path, "--workers=2")
    found = fleet.until(lambda: fleet.children(daemon.process.pid, kind))
    os.kill(found[0], signal.SIGKILL)
    with suppress(DaemonFailed):
        daemon.wait_until_serving()
    if daemon.address:  # it was killed late, and is started again
        with fleet.alone(daemon.address) as stubs:
            fleet.until(lambda: sum(part.restarts for part in fleet.parts(stubs).values()) == 1)
    else:
        by_name(daemon, DaemonFailed(daemon.process.wait(), daemon.errors()))
        assert kind in daemon.errors()
    daemon.stop()


def test_a_supervisor_that_is_ended_during_the_start_leaves_nobody(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon = Daemon(tmp_path, "--workers=2")
        fleet.until(lambda daemon=daemon: fleet.children(daemon.process.pid, "engine"))  # type: ignore[misc]
        daemon.process.send_signal(number)
        daemon.process.wait(20)
        fleet.until(lambda daemon=daemon: fleet.left_over(daemon) == [])  # type: ignore[misc]
        daemon.stop()
