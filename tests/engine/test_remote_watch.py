from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.remote_client import RemoteClient
from speakerd_server.engine.remote_watch import RemoteWatch
from speakerd_server.errors import RemoteEngineRefused
from support.fleet import until
from support.kserve_server import MODEL, KserveServer, served

SOON_S = 0.05
PATIENCE_S = 10.0


class Told:
    """What a watch told, in order."""

    def __init__(self) -> None:
        self.causes: list[str | None] = []
        self.problem: Exception | None = None
        self.checks = 0

    def __call__(self, cause: str | None) -> None:
        self.causes.append(cause)

    def check(self) -> None:
        self.checks += 1
        if self.problem is not None:
            raise self.problem


@contextmanager
def watching(address: str, told: Told, interval_s: float = SOON_S) -> Iterator[RemoteWatch]:
    watch = RemoteWatch(RemoteClient(address, MODEL), interval_s, told.check)
    watch.tell(told)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()


@pytest.fixture
def server() -> KserveServer:
    return KserveServer(FakeBackend(5), 5)


@pytest.fixture
def told() -> Told:
    return Told()


def test_nothing_is_told_of_a_server_that_stays(server: KserveServer, told: Told) -> None:
    with served(server) as address, watching(address, told) as watch:
        time.sleep(0.3)
        assert watch.away is None
    assert (told.causes, told.checks) == ([], 0)


def test_one_look_in_which_it_is_not_ready_is_not_yet_its_absence(
    server: KserveServer, told: Told
) -> None:
    looks = iter([False])
    real = KserveServer.ServerReady
    server.ServerReady = lambda request, context: (  # type: ignore[method-assign]
        type(real(server, request, context))(ready=next(looks, True))
    )
    with served(server) as address, watching(address, told):
        time.sleep(0.4)
    assert next(looks, None) is None
    assert told.causes == []


def test_a_server_that_is_not_ready_is_away_until_it_is_again(
    server: KserveServer, told: Told
) -> None:
    with served(server) as address, watching(address, told) as watch:
        server.ready = False
        until(lambda: watch.away, PATIENCE_S)
        assert "not ready" in (watch.away or "")
        server.ready = True
        until(lambda: watch.away is None, PATIENCE_S)
    assert [cause is None for cause in told.causes] == [False, True]
    assert told.checks == 1


def test_a_server_that_ended_is_away_and_comes_back_by_itself(
    server: KserveServer, told: Told
) -> None:
    with ExitStack() as first:
        address = first.enter_context(served(server))
        with watching(address, told) as watch:
            first.close()
            until(lambda: watch.away, PATIENCE_S)
            assert "UNAVAILABLE" in (watch.away or "")
            with served(server, address):
                until(lambda: watch.away is None, PATIENCE_S)
    assert [cause is None for cause in told.causes] == [False, True]


@pytest.mark.parametrize(
    "problem", [RemoteEngineRefused("there", "its model is another"), ValueError("unheard of")]
)
def test_a_server_that_came_back_as_another_stays_away_until_it_is_the_same(
    server: KserveServer, told: Told, problem: Exception
) -> None:
    with served(server) as address, watching(address, told) as watch:
        told.problem = problem
        server.ready = False
        until(lambda: watch.away, PATIENCE_S)
        server.ready = True
        until(lambda: told.checks >= 2, PATIENCE_S)
        assert str(problem) in (watch.away or "")
        told.problem = None
        until(lambda: watch.away is None, PATIENCE_S)
    assert len(told.causes) == 2


def test_a_doubt_is_looked_into_at_once(server: KserveServer, told: Told) -> None:
    with served(server) as address, watching(address, told, interval_s=60.0) as watch:
        server.ready = False
        time.sleep(0.2)
        assert watch.away is None
        watch.doubted()
        until(lambda: watch.away, PATIENCE_S)


def test_a_doubt_about_a_server_that_is_there_changes_nothing(
    server: KserveServer, told: Told
) -> None:
    with served(server) as address, watching(address, told, interval_s=60.0) as watch:
        watch.doubted()
        time.sleep(0.3)
        assert watch.away is None
    assert told.causes == []


def test_closing_does_not_wait_for_a_server_that_does_not_answer(
    server: KserveServer, told: Told
) -> None:
    asked, hung = threading.Event(), threading.Event()

    def hang(request: object, context: object) -> None:
        asked.set()
        hung.wait(5)

    server.ServerReady = hang  # type: ignore[method-assign]
    with served(server) as address:
        with watching(address, told):
            assert asked.wait(5)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < 0.5
        hung.set()
    assert told.causes == []


def test_closing_ends_the_thread_at_once(server: KserveServer, told: Told) -> None:
    with served(server) as address, watching(address, told, interval_s=3600.0):
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 5.0
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith("watch-")] == []
