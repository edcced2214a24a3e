"""A store process that is killed loses nothing that was acknowledged, and is started again."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
from speakerd.v1 import admin_pb2, audio_pb2
from speakerd.v1 import enrollment_pb2 as enrollment
from speakerd.v1 import verification_pb2 as pb
from support import fleet, wire
from support.daemon import Daemon
from support.speech import noise, pcm16

pytestmark = [pytest.mark.timeout(120), fleet.NEEDS_TWO_PROCESSORS]
SPEECH = pcm16(noise(4.0))
SHORT = pcm16(noise(1.9))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("several"), "--workers=2") as running:
        yield running


@pytest.fixture
def stubs(several: Daemon) -> Iterator[wire.Stubs]:
    with fleet.alone(several.address) as connected:
        yield connected


def decision(stubs: wire.Stubs, speaker_id: str) -> str:
    config = pb.VerificationConfig(speaker_id=speaker_id, audio_format=wire.PCM16)
    request = pb.VerifyRequest(config=config, audio=SHORT)
    result = stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result
    return audio_pb2.Decision.Name(result.decision)


def back_after(stubs: wire.Stubs, killed: admin_pb2.Process) -> Callable[[], bool]:
    """Tell whether a store that was killed is back."""

    def is_back() -> bool:
        now = fleet.parts(stubs)["store"]
        assert now.restarts <= killed.restarts + 1
        try:
            return now.restarts == killed.restarts + 1 and listed(stubs) is not None
        except grpc.RpcError as error:
            check(wire.refusal(error))
            return False

    return is_back


def kill_store(stubs: wire.Stubs) -> Callable[[], bool]:
    """Kill it; gives what tells whether it is back."""
    killed = fleet.parts(stubs)["store"]
    fleet.kill(killed.pid)
    return back_after(stubs, killed)


def check(refusal: wire.Refusal) -> None:
    assert refusal.code == grpc.StatusCode.UNAVAILABLE
    assert (refusal.reason, refusal.retry_after_s) in (
        ("STORE_UNAVAILABLE", 1.0),
        ("STORE_INTERRUPTED", None),
    )


def listed(stubs: wire.Stubs) -> set[str]:
    request = enrollment.ListSpeakersRequest(page_size=1000)
    return {one.speaker_id for one in stubs.enrollment.ListSpeakers(request).speakers}


def test_whoever_waits_for_the_store_is_told_by_name_and_whoever_does_not_goes_on(
    stubs: wire.Stubs,
) -> None:
    wire.enroll(stubs, "known", SPEECH)
    call = fleet.LiveCall(stubs, "open", speaker_id="known")
    store = fleet.parts(stubs)["store"]
    os.kill(store.pid, signal.SIGSTOP)
    get = enrollment.GetSpeakerRequest(speaker_id="known")
    delete = enrollment.DeleteSpeakerRequest(speaker_id="known")
    read = stubs.enrollment.GetSpeaker.future(get, timeout=wire.DEADLINE_S)
    change = stubs.enrollment.DeleteSpeaker.future(delete, timeout=wire.DEADLINE_S)
    embed = pb.EmbedRequest(audio=pb.Audio(format=wire.PCM16, content=SHORT))
    assert stubs.verification.Embed(embed, timeout=wire.DEADLINE_S).window_count == 1
    assert stubs.admin.ListModels(admin_pb2.ListModelsRequest()).models
    fleet.kill(store.pid)
    refusals = []
    for waiting in (read, change):
        with pytest.raises(grpc.RpcError) as failed:
            waiting.result()
        refusals.append(wire.refusal(failed.value))
        check(refusals[-1])
    assert [one.reason for one in refusals] == ["STORE_UNAVAILABLE", "STORE_INTERRUPTED"]
    assert "may or may not have been made" in refusals[1].message
    fleet.until(back_after(stubs, store))
    assert listed(stubs) == {"known"}
    call.send(SHORT)
    assert call.end().decision == audio_pb2.DECISION_ACCEPT


class Changing(threading.Thread):
    """Somebody who enrols speakers and deletes every third, until it is enough."""

    def __init__(self, address: str, name: str, enough: threading.Event) -> None:
        super().__init__(name=name)
        self._address, self._enough = address, enough
        self.enrolled: list[str] = []
        self.deleted: list[str] = []
        self.refusals: list[wire.Refusal] = []

    def run(self) -> None:
        with fleet.alone(self._address) as stubs:
            for turn in itertools.count():
                if self._enough.is_set():
                    return
                try:
                    self._change(stubs, f"{self.name}-{turn}", delete=turn % 3 == 0)
                except grpc.RpcError as error:
                    self.refusals.append(wire.refusal(error))

    def _change(self, stubs: wire.Stubs, speaker_id: str, *, delete: bool) -> None:
        wire.enroll(stubs, speaker_id, SHORT, minimum_net_speech={"seconds": 1})
        if delete:
            stubs.enrollment.DeleteSpeaker(enrollment.DeleteSpeakerRequest(speaker_id=speaker_id))
            self.deleted.append(speaker_id)
        else:
            self.enrolled.append(speaker_id)


def test_nothing_that_was_acknowledged_is_lost(several: Daemon, stubs: wire.Stubs) -> None:
    enough = threading.Event()
    threads = [Changing(several.address, f"changing-{n}", enough) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        fleet.until(lambda: all(thread.deleted for thread in threads))
        is_back = kill_store(stubs)
        fleet.until(lambda: any(thread.refusals for thread in threads))
        fleet.until(is_back)
        counts = [len(thread.enrolled) for thread in threads]
        fleet.until(lambda: all(len(t.enrolled) > n for t, n in zip(threads, counts, strict=True)))
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    now = listed(stubs)
    for thread in threads:
        for refusal in thread.refusals:
            check(refusal)
        assert set(thread.enrolled) <= now
        assert not set(thread.deleted) & now


def test_a_worker_and_the_store_killed_together_are_both_back(several: Daemon) -> None:
    with fleet.every_worker(several.address, 2) as calls:
        stubs = calls[0].stubs
        wire.enroll(stubs, "both", SPEECH)
        worker = fleet.parts(stubs)["worker 1"]
        is_back = kill_store(stubs)
        fleet.kill(worker.pid)
        fleet.until(is_back)
    with fleet.every_worker(several.address, 2) as calls:
        for call in calls.values():
            assert decision(call.stubs, "both") == "DECISION_ACCEPT"
