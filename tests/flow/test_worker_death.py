"""A worker that is killed ends its own calls alone, and is started again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import grpc
import pytest
from speakerd.v1 import admin_pb2
from speakerd_client import Audio, AudioFormat, Client, Decision, NotReachable
from support import fleet, wire
from support.daemon import Daemon
from support.page import grown, read_page
from support.speech import noise, pcm16

pytestmark = [pytest.mark.timeout(120), fleet.NEEDS_TWO_PROCESSORS]
WORKERS = 2
AUDIO = pcm16(noise(7.0, seed=2))
GAUGES = ("speakerd_live_streams", "speakerd_queued_windows")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("several"), f"--workers={WORKERS}") as running:
        with wire.connected(running.address) as stubs:
            wire.enroll(stubs, "someone", AUDIO)
        yield running


@pytest.fixture
def calls(several: Daemon) -> Iterator[list[fleet.LiveCall]]:
    """A call at each worker that has had an answer."""
    with fleet.every_worker(several.address, WORKERS) as found:
        for call in found.values():
            call.send(AUDIO)
            assert next(call.answers).update.window_count == 1
        yield [found[number] for number in range(WORKERS)]


def kill(calls: list[fleet.LiveCall], number: int) -> admin_pb2.Process:
    """Kill a worker; gives it as it was. The other one is asked."""
    killed = fleet.parts(calls[1 - number].stubs)[f"worker {number}"]
    fleet.kill(killed.pid)
    return killed


def wait_until_back(several: Daemon, killed: admin_pb2.Process) -> None:
    """Return once a worker that was killed takes calls again."""

    def is_back() -> bool:
        with fleet.alone(several.address) as stubs:
            now = fleet.parts(stubs)[killed.name]
        assert now.restarts <= killed.restarts + 1
        return now.pid not in (0, killed.pid) and now.restarts == killed.restarts + 1

    fleet.until(is_back)
    with fleet.every_worker(several.address, WORKERS):
        pass


def test_a_killed_worker_ends_its_own_calls_alone_and_is_started_again(
    several: Daemon, calls: list[fleet.LiveCall]
) -> None:
    killed = kill(calls, 0)
    assert calls[0].error().code == grpc.StatusCode.UNAVAILABLE
    fleet.until(lambda: fleet.live_streams(calls[1].stubs) == 1)
    assert list(fleet.sessions(calls[1].stubs)) == [calls[1].request_id]
    calls[1].send(AUDIO)
    assert calls[1].end().window_count == 8
    wait_until_back(several, killed)
    with fleet.alone(several.address) as stubs:
        fleet.until(lambda: fleet.live_streams(stubs) == 0)
    assert read_page(several)["speakerd_live_streams"] == 0


def test_the_sdk_names_a_lost_connection_and_goes_on_at_another_worker(
    several: Daemon, calls: list[fleet.LiveCall]
) -> None:
    with Client(several.address) as client:
        with client.stream_verify("someone", AudioFormat(), request_id="by the SDK") as call:
            call.send(AUDIO)
            assert next(call).window_count == 1
            number = fleet.sessions(calls[0].stubs)["by the SDK"].worker
            killed = kill(calls, number)
            with pytest.raises(NotReachable) as failed:
                call.finish()
        lost = failed.value
        assert (lost.code, lost.reason) == ("UNAVAILABLE", "CONNECTION_LOST")
        assert lost.request_id == "by the SDK"
        assert several.address in str(lost)
        verdict = client.verify("someone", Audio(AUDIO, AudioFormat()))
        assert verdict.decision is Decision.ACCEPT
    assert calls[1 - number].end().window_count == 4
    wait_until_back(several, killed)


def test_operators_are_answered_while_a_worker_is_started_again(
    several: Daemon, calls: list[fleet.LiveCall]
) -> None:
    stubs = calls[0].stubs
    killed = kill(calls, 1)

    def is_back() -> bool:
        stubs.admin.ListModels(admin_pb2.ListModelsRequest())
        fleet.sessions(stubs)
        stubs.admin.Drain(admin_pb2.DrainRequest())
        stubs.admin.Drain(admin_pb2.DrainRequest(resume=True))
        return fleet.parts(stubs)[killed.name].pid not in (0, killed.pid)

    fleet.until(is_back)
    wait_until_back(several, killed)


def test_no_count_falls_when_a_worker_ends(several: Daemon, calls: list[fleet.LiveCall]) -> None:
    def counts() -> Mapping[str, float]:
        page = read_page(several)
        return {name: page[name] for name in page if not name.startswith(GAUGES)}

    assert calls[0].end().window_count == 4
    pages = [counts()]
    assert pages[0]["speakerd_decisions_total"] >= 1
    killed = kill(calls, 0)
    pages.append(counts())
    wait_until_back(several, killed)
    pages.append(counts())
    for before, after in itertools.pairwise(pages):
        assert {name for name in before if after.get(name, -1.0) < before[name]} == set()
    assert grown(pages[0], pages[-1], 'speakerd_restarts_total{process="worker"}') == 1


def test_a_model_that_only_a_killed_worker_held_is_given_back(several: Daemon) -> None:
    load = admin_pb2.LoadModelRequest(model="campplus-int8")
    unload = admin_pb2.UnloadModelRequest(model="campplus-int8")
    with fleet.every_worker(several.address, WORKERS) as found:
        calls = [found[number] for number in range(WORKERS)]
        admin = calls[1].stubs.admin
        admin.LoadModel(load, timeout=wire.DEADLINE_S)
        holder = fleet.LiveCall(calls[0].stubs, "holder", model="campplus-int8")
        assert admin.UnloadModel(unload).model.status == admin_pb2.MODEL_STATUS_UNLOADING
        killed = kill(calls, 0)

        def names() -> list[str]:
            listed = admin.ListModels(admin_pb2.ListModelsRequest()).models
            return [model.identity.name for model in listed]

        fleet.until(lambda: names() == ["campplus"])
        assert holder.error().code == grpc.StatusCode.UNAVAILABLE
        wait_until_back(several, killed)


def test_all_workers_killed_at_once_are_all_back(
    several: Daemon, calls: list[fleet.LiveCall]
) -> None:
    found = fleet.parts(calls[0].stubs)
    for number in range(WORKERS):
        fleet.kill(found[f"worker {number}"].pid)
    assert [call.error().code for call in calls] == [grpc.StatusCode.UNAVAILABLE] * WORKERS

    def is_served() -> bool:
        try:
            with fleet.every_worker(several.address, WORKERS) as again:
                return len(again) == WORKERS
        except grpc.RpcError:
            return False

    fleet.until(is_served)
