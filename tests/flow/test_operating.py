"""Watching the calls that go on, and taking a daemon out of service and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd.v1 import admin_pb2 as admin
from speakerd.v1 import audio_pb2
from speakerd.v1 import enrollment_pb2 as enrollment
from support import wire
from support.daemon import Daemon
from support.operating import HALF, SPEECH, WINDOWS, Stream, embed, refused, serving, verify
from support.speech import VOICES, pcm16, read

pytestmark = pytest.mark.timeout(120)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OFTEN = Duration(nanos=100_000_000)
ENROLMENT = pcm16(read(VOICES / "slt-enrol.flac"))


class Watch:
    """WatchSessions, read until something is seen."""

    def __init__(self, stubs: wire.Stubs, domain: str = "") -> None:
        request = admin.WatchSessionsRequest(domain=domain, interval=OFTEN)
        self._call = stubs.admin.WatchSessions(request, timeout=wire.DEADLINE_S)

    def until(self, seen: Callable[[dict[str, admin.Session]], bool]) -> dict[str, admin.Session]:
        """Read on until the calls, by their ids, are so."""
        while True:
            sessions = {one.request_id: one for one in next(self._call).sessions}
            if seen(sessions):
                return sessions

    def stop(self) -> None:
        """End the call."""
        self._call.cancel()


def test_watching_shows_calls_as_they_open_go_on_and_end(tmp_path: Path) -> None:
    with serving(tmp_path, "--calls-domains=default,bank") as (_, stubs):
        wire.enroll(stubs, "slt", ENROLMENT)
        every, of_bank = Watch(stubs), Watch(stubs, "bank")
        assert every.until(lambda now: True) == {}
        live = Stream(stubs, request_id="call-7", speaker_id="slt")
        other = Stream(stubs, request_id="call-8", domain="bank", whole_domain={"top_k": 3})
        opened = every.until(lambda now: len(now) == 2)
        assert list(opened) == ["call-7", "call-8"]
        assert list(of_bank.until(lambda now: bool(now))) == ["call-8"]
        told = opened["call-7"]
        assert (told.rpc, told.domain, told.model) == ("StreamVerify", "default", "campplus/1")
        assert (list(told.speaker_ids), told.whole_domain, told.worker) == (["slt"], False, 0)
        assert (told.window_count, told.decision) == (0, audio_pb2.DECISION_UNSPECIFIED)
        assert opened["call-8"].whole_domain
        live.send(SPEECH[:HALF])
        update = live.update()
        heard = every.until(lambda now: now["call-7"].window_count == 1)["call-7"]
        assert heard.decision == update.decision
        assert heard.net_speech == update.net_speech
        assert heard.audio_received.ToMilliseconds() == HALF // 32
        assert heard.start_time == told.start_time
        live.end()
        assert list(every.until(lambda now: "call-7" not in now)) == ["call-8"]
        other.cancel()
        every.until(lambda now: not now)
        for watch in (every, of_bank):
            watch.stop()


def test_an_enrolment_is_watched_under_its_own_name(daemon: Daemon) -> None:
    go_on = threading.Event()

    def requests() -> Iterator[enrollment.StreamEnrollRequest]:
        config = enrollment.EnrollmentConfig(
            request_id="enrol-1", speaker_id="watched", audio_format=wire.PCM16
        )
        yield enrollment.StreamEnrollRequest(config=config)
        go_on.wait(60)

    with wire.connected(daemon.address) as stubs:
        call = stubs.enrollment.StreamEnroll(requests(), timeout=wire.DEADLINE_S)
        next(call)
        watch = Watch(stubs)
        told = watch.until(lambda now: "enrol-1" in now)["enrol-1"]
        assert (told.rpc, list(told.speaker_ids)) == ("StreamEnroll", ["watched"])
        call.cancel()
        go_on.set()
        watch.until(lambda now: "enrol-1" not in now)
        watch.stop()


def test_a_drain_refuses_new_calls_lets_open_ones_finish_and_can_be_lifted(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as (daemon, stubs):
        wire.enroll(stubs, "slt", ENROLMENT)
        health = health_pb2_grpc.HealthStub(stubs.channel).Watch(
            health_pb2.HealthCheckRequest(service="")
        )
        assert next(health).status == SERVING
        live = Stream(stubs, speaker_id="slt")
        live.send(SPEECH[:HALF])
        answer = stubs.admin.Drain(admin.DrainRequest())
        assert (answer.draining, answer.open_calls) == (True, 1)
        assert next(health).status == NOT_SERVING
        new_calls: tuple[Callable[[], object], ...] = (
            lambda: Stream(stubs),
            lambda: verify(stubs),
            lambda: embed(stubs),
            lambda: wire.enroll(stubs, "late", ENROLMENT),
        )
        for new in new_calls:
            refusal = refused(new)
            assert (refusal.code, refusal.reason) == (StatusCode.UNAVAILABLE, "DRAINING")
            assert refusal.retry_after_s == 1.0
        assert stubs.admin.GetServerInfo(admin.GetServerInfoRequest()).draining
        waits = stubs.admin.Drain.future(admin.DrainRequest(wait=Duration(seconds=60)))
        live.send(SPEECH[HALF:])
        final = live.end()
        assert final.window_count == WINDOWS
        assert final.decision == audio_pb2.DECISION_ACCEPT
        assert (waits.result().draining, waits.result().open_calls) == (True, 0)
        assert not stubs.admin.Drain(admin.DrainRequest(resume=True)).draining
        assert next(health).status == SERVING
        assert Stream(stubs).end is not None
        assert embed(stubs).window_count == WINDOWS
        assert not stubs.admin.GetServerInfo(admin.GetServerInfoRequest()).draining
        health.cancel()
        assert daemon.process.poll() is None


def test_a_daemon_that_was_told_to_end_is_not_taken_back_into_service(tmp_path: Path) -> None:
    with serving(tmp_path) as (daemon, stubs):
        live = Stream(stubs)
        watch = Watch(stubs)
        assert watch.until(lambda now: len(now) == 1)
        daemon.terminate()
        while not stubs.admin.GetServerInfo(admin.GetServerInfoRequest()).draining:
            threading.Event().wait(0.01)
        refusal = refused(lambda: stubs.admin.Drain(admin.DrainRequest(resume=True)))
        assert (refusal.code, refusal.reason) == (StatusCode.UNAVAILABLE, "DRAINING")
        live.send(SPEECH)
        assert live.end().window_count == WINDOWS
        # Somebody who watches holds up no end.
        assert daemon.process.wait(20) == 0
