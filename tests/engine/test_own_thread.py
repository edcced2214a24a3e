from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.own_thread import OwnThread
from speakerd_server.errors import DeviceUnavailable
from speakerd_server.values import Float32, Int64
from support.sounds import DIM, batch


class Noting(FakeBackend):
    """Notes on which threads it is made, used and closed."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.threads = [threading.current_thread()]

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        self.threads.append(threading.current_thread())
        return super().embed(pcm, rows)

    def close(self) -> None:
        self.threads.append(threading.current_thread())
        super().close()


def test_everything_happens_on_one_thread_whoever_calls() -> None:
    made: list[Noting] = []

    def make() -> Backend:
        made.append(Noting())
        return made[0]

    backend = OwnThread(make, "lane")
    pcm, rows = batch(2, 20)
    with ThreadPoolExecutor(3) as callers:
        found = list(callers.map(lambda _: backend.embed(pcm, rows), range(6)))
    backend.close()
    for one in found:
        np.testing.assert_array_equal(one, FakeBackend(DIM).embed(pcm, rows))
    assert made[0].closed
    assert len(made[0].threads) == 8
    assert len(set(made[0].threads)) == 1
    assert made[0].threads[0] is not threading.current_thread()
    assert not made[0].threads[0].is_alive()


def test_what_the_making_raises_is_raised_and_leaves_no_thread() -> None:
    def make() -> Backend:
        raise DeviceUnavailable("gpu:0", "nothing")

    before = threading.active_count()
    with pytest.raises(DeviceUnavailable, match="found: nothing"):
        OwnThread(make, "lane")
    assert threading.active_count() == before


def test_a_failed_batch_is_raised_to_its_caller_and_the_next_goes_on() -> None:
    backend = OwnThread(lambda: FakeBackend(DIM, poison=lambda pcm: bool(pcm.max() > 10)), "lane")
    pcm, rows = batch(1, 20)
    with pytest.raises(ValueError, match="poisoned"):
        backend.embed(pcm * 1000, rows)
    assert backend.embed(pcm, rows).shape == (1, DIM)
    assert backend.buffers(2, 3440, 20)[0].shape == (2, 3440)
    backend.close()


def test_a_thread_ends_also_where_its_backend_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: FakeBackend) -> None:
        raise RuntimeError("lost")

    before = threading.active_count()
    backend = OwnThread(lambda: FakeBackend(DIM), "lane")
    monkeypatch.setattr(FakeBackend, "close", fails)
    with pytest.raises(RuntimeError, match="lost"):
        backend.close()
    assert threading.active_count() == before
