from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.remote_client import RemoteAnswerWrong, RemoteClient
from speakerd_server.engine.remote_lane import RemoteLane
from speakerd_server.engine.remote_settings import RemoteSettings
from speakerd_server.errors import BatchFailed, RemoteEngineUnavailable
from support.batching import DIM, window
from support.kserve_server import MODEL, KserveServer, served

SETTINGS = RemoteSettings(deadline_ms=5000, retries=3, backoff_ms=100)


class Known:
    """What is known of the server."""

    def __init__(self) -> None:
        self.away: str | None = None
        self.doubts = 0

    def doubted(self) -> None:
        self.doubts += 1


class Remote:
    """A lane to a server, with what it slept and what it doubted."""

    def __init__(self, address: str, settings: RemoteSettings, most_windows: int) -> None:
        self.known, self.slept_s = Known(), list[float]()
        client = RemoteClient(address, MODEL)
        self.lane = RemoteLane(client, settings, most_windows, self.known, self.slept_s.append)


@contextmanager
def connected(
    server: KserveServer, settings: RemoteSettings = SETTINGS, most_windows: int = 8
) -> Iterator[Remote]:
    with served(server) as address:
        remote = Remote(address, settings, most_windows)
        yield remote
        remote.lane.close()


@pytest.fixture
def server() -> KserveServer:
    return KserveServer(FakeBackend(DIM, poison=lambda pcm: bool(np.abs(pcm).max() > 9)), DIM)


def test_windows_of_one_length_are_asked_for_in_one_shape(server: KserveServer) -> None:
    with connected(server) as remote:
        for samples in (720, 800):
            pcm, rows = remote.lane.buffers(2, samples, 3)
            pcm[:], rows[:] = 0.1, np.arange(3)
            remote.lane.embed(pcm, rows)
    assert server.asked == [(2, 1040), (2, 1040)]


def test_a_window_that_needs_more_audio_than_usual_gets_it(server: KserveServer) -> None:
    with connected(server) as remote:
        assert remote.lane.buffers(1, 5000, 3)[0].shape == (1, 5000)


def test_more_windows_than_the_server_takes_go_in_several_requests(server: KserveServer) -> None:
    with connected(server, most_windows=2) as remote:
        outcomes = embed_windows(remote.lane, [window(n) for n in range(5)], DIM)
    assert [shape[0] for shape in server.asked] == [2, 2, 1]
    alone = embed_windows(FakeBackend(DIM), [window(n) for n in range(5)], DIM)
    for found, wanted in zip(outcomes, alone, strict=True):
        assert isinstance(found, np.ndarray)
        assert isinstance(wanted, np.ndarray)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_an_unavailable_server_is_asked_again_after_ever_longer_waits(server: KserveServer) -> None:
    server.refusals = [StatusCode.UNAVAILABLE] * 3
    with connected(server) as remote:
        (outcome,) = embed_windows(remote.lane, [window(1)], DIM)
    assert isinstance(outcome, np.ndarray)
    assert len(server.asked) == 4
    for slept_s, usual_s in zip(remote.slept_s, (0.1, 0.2, 0.4), strict=True):
        assert 0.5 * usual_s <= slept_s <= 1.5 * usual_s
    assert remote.known.doubts == 0


def test_after_the_last_retry_every_window_of_the_batch_ends_with_the_name(
    server: KserveServer,
) -> None:
    server.refusals = [StatusCode.UNAVAILABLE] * 9
    with connected(server) as remote:
        outcomes = embed_windows(remote.lane, [window(1), window(2)], DIM)
    assert [type(outcome) for outcome in outcomes] == [RemoteEngineUnavailable] * 2
    assert "UNAVAILABLE: made to fail" in str(outcomes[0])
    assert len(server.asked) == 4
    assert remote.known.doubts == 1


@pytest.mark.parametrize(
    "code",
    [
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.NOT_FOUND,
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.UNIMPLEMENTED,
    ],
)
def test_nothing_else_is_sent_again(server: KserveServer, code: StatusCode) -> None:
    server.refusals = [code] * 9
    with connected(server) as remote, pytest.raises(RemoteEngineUnavailable, match=code.name):
        remote.lane.embed(*some(remote.lane))
    assert len(server.asked) == 1
    assert remote.known.doubts == 1


def test_a_slow_server_costs_the_deadline_once_and_no_more(server: KserveServer) -> None:
    server.gate.clear()
    with connected(server, RemoteSettings(deadline_ms=200)) as remote:
        begun_s = time.monotonic()
        outcomes = embed_windows(remote.lane, [window(n) for n in range(4)], DIM)
        took_s = time.monotonic() - begun_s
        server.gate.set()
    assert {type(outcome) for outcome in outcomes} == {RemoteEngineUnavailable}
    assert "DEADLINE_EXCEEDED" in str(outcomes[0])
    assert 0.15 < took_s < 2.0
    assert remote.known.doubts == 1


def test_retries_end_with_the_deadline(server: KserveServer) -> None:
    server.refusals = [StatusCode.UNAVAILABLE] * 30
    settings = RemoteSettings(deadline_ms=300, retries=20, backoff_ms=200)
    with served(server) as address:
        lane = RemoteLane(RemoteClient(address, MODEL), settings, 8, Known())
        begun_s = time.monotonic()
        with pytest.raises(RemoteEngineUnavailable):
            lane.embed(*some(lane))
        assert time.monotonic() - begun_s < 1.0
        lane.close()
    assert len(server.asked) <= 3


def test_a_poisoned_window_fails_alone(server: KserveServer) -> None:
    with connected(server) as remote:
        fine, bad = embed_windows(remote.lane, [window(1), window(2, level=100.0)], DIM)
    assert isinstance(fine, np.ndarray)
    assert isinstance(bad, BatchFailed)
    assert "poisoned window" in str(bad)
    assert remote.known.doubts == 0


def test_an_answer_that_is_none_fails_its_batch_alone(server: KserveServer) -> None:
    server.wrong = {"content": b""}
    with connected(server) as remote:
        with pytest.raises(RemoteAnswerWrong):
            remote.lane.embed(*some(remote.lane))
        server.wrong = {}
        assert len(remote.lane.embed(*some(remote.lane))) == 1


def test_a_server_that_is_known_to_be_away_is_not_asked(server: KserveServer) -> None:
    with connected(server) as remote:
        remote.known.away = "it is being moved"
        with pytest.raises(RemoteEngineUnavailable, match="it is being moved") as refused:
            remote.lane.embed(*some(remote.lane))
    assert server.asked == []
    assert refused.value.retry_after_s == 1.0
    assert remote.known.doubts == 0


def test_clients_are_not_told_where_the_server_is(server: KserveServer) -> None:
    error = RemoteEngineUnavailable("10.1.2.3:8001", "UNAVAILABLE: ipv4:10.1.2.3:8001: refused")
    assert "10.1.2.3" in str(error)
    assert "10.1.2.3" not in error.told


def test_a_port_where_nobody_listens_is_told_at_once() -> None:
    lane = RemoteLane(RemoteClient("127.0.0.1:1", MODEL), SETTINGS, 8, Known(), lambda _: None)
    with pytest.raises(RemoteEngineUnavailable, match="UNAVAILABLE") as refused:
        lane.embed(*some(lane))
    assert isinstance(refused.value.__cause__, grpc.RpcError)
    lane.close()


def some(lane: RemoteLane) -> tuple[np.ndarray, np.ndarray]:
    pcm, rows = lane.buffers(1, 720, 3)
    pcm[:], rows[:] = window(1).pcm[0], np.arange(3)
    return pcm, rows
