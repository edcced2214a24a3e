"""A daemon of several processes drains and ends as one: nothing is left over."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import grpc
import pytest
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import fleet, wire
from support.speech import noise, pcm16

pytestmark = [pytest.mark.timeout(120), fleet.NEEDS_TWO_PROCESSORS]
SHORT = pcm16(noise(1.9))


def draining(stubs: wire.Stubs) -> bool:
    """Tell whether a new call is refused."""
    try:
        fleet.LiveCall(stubs, "new").cancel()
    except grpc.RpcError as error:
        refusal = wire.refusal(error)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        return True
    return False


def own_folders(temporary: Path) -> list[Path]:
    return list(temporary.glob("speakerd-*"))


def test_a_drain_lets_the_calls_of_all_workers_finish_and_refuses_new_ones(
    daemons: fleet.Daemons, temporary: Path
) -> None:
    daemon = daemons(temporary=str(temporary)).wait_until_serving()
    assert len(own_folders(temporary)) == 1
    with fleet.every_worker(daemon.address, 2) as calls:
        daemon.terminate()
        for call in calls.values():
            fleet.until(lambda call=call: draining(call.stubs))  # type: ignore[misc]
        for call in calls.values():
            call.send(SHORT)
            assert call.end().window_count == 1
    assert daemon.stop() == 0
    assert fleet.left_over(daemon.folder) == []
    assert own_folders(temporary) == []


def test_a_grace_that_is_over_ends_the_calls_of_all_workers(daemons: fleet.Daemons) -> None:
    daemon = daemons("--server-drain-grace-s=0.3").wait_until_serving()
    with fleet.every_worker(daemon.address, 2) as calls:
        begin_s = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begin_s < 20
        ends = {call.error().code for call in calls.values()}
    assert ends <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert fleet.left_over(daemon.folder) == []


def test_a_killed_supervisor_leaves_nothing_and_another_daemon_starts_at_once(
    daemons: fleet.Daemons, temporary: Path
) -> None:
    daemon = daemons(temporary=str(temporary)).wait_until_serving()
    with fleet.every_worker(daemon.address, 2) as calls:
        wire.enroll(calls[0].stubs, "kept", pcm16(noise(4.0)))
        daemon.kill()
        next_one = daemons(f"--server-address={daemon.address}").wait_until_serving()
        assert [call.error().code for call in calls.values()] == [grpc.StatusCode.UNAVAILABLE] * 2
    with fleet.alone(next_one.address) as stubs:
        config = pb.VerificationConfig(speaker_id="kept", audio_format=wire.PCM16)
        request = pb.VerifyRequest(config=config, audio=SHORT)
        verdict = stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result
        assert verdict.decision == audio_pb2.DECISION_ACCEPT
    assert next_one.stop() == 0
    assert fleet.left_over(daemon.folder) == []
    assert own_folders(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_supervisor_that_is_ended_while_it_starts_leaves_nothing(
    daemons: fleet.Daemons, temporary: Path, number: signal.Signals
) -> None:
    daemon = daemons(temporary=str(temporary))
    fleet.until(lambda: fleet.children(daemon.process.pid, "engine"))
    daemon.process.send_signal(number)
    daemon.process.wait(20)
    fleet.until(lambda: not fleet.left_over(daemon.folder))
    assert own_folders(temporary) == []
