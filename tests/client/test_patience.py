"""Waiting is bounded, and only for what waiting mends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from speakerd_client import (
    AudioFileError,
    Exhausted,
    InvalidRequest,
    NotReachable,
    ServerFailed,
    SpeakerdError,
    TooSlow,
    Unavailable,
)
from speakerd_client.patience import BUSY_LIMIT_S, LOST_PAUSES_S, patiently


class Failing:
    """Fails so many times, then answers."""

    def __init__(self, make: Callable[[], SpeakerdError], times: int) -> None:
        self.make, self.times, self.tries = make, times, 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.times:
            raise self.make()
        return "answer"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waiting as it was asked for, without the time."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return asked


async def test_a_pause_really_is_one() -> None:
    attempt = Failing(lambda: Exhausted("full", retry_after_s=0.1), 1)
    begin_s = time.monotonic()
    assert await patiently(attempt) == "answer"
    assert time.monotonic() - begin_s >= 0.1
    assert attempt.tries == 2


async def test_a_full_daemon_is_waited_for_as_long_as_it_says_and_longer(
    pauses: list[float],
) -> None:
    assert await patiently(Failing(lambda: Exhausted("full", retry_after_s=1.0), 4)) == "answer"
    for pause_s, least_s in zip(pauses, (1.0, 1.5, 2.25, 3.375), strict=True):
        assert least_s <= pause_s <= 1.5 * least_s


async def test_a_daemon_that_stays_full_is_given_up(pauses: list[float]) -> None:
    with pytest.raises(Exhausted):
        await patiently(Failing(lambda: Exhausted("full", retry_after_s=1.0), 10**6))
    assert BUSY_LIMIT_S <= sum(pauses) <= BUSY_LIMIT_S + 15


@pytest.mark.parametrize(
    "make",
    [
        lambda: NotReachable("gone"),
        lambda: Unavailable("draining", reason="DRAINING", retry_after_s=1.0),
    ],
)
async def test_a_daemon_that_is_gone_is_tried_a_few_times(
    pauses: list[float], make: Callable[[], SpeakerdError]
) -> None:
    assert await patiently(Failing(make, len(LOST_PAUSES_S))) == "answer"
    assert pauses == list(LOST_PAUSES_S)
    with pytest.raises(Unavailable):
        await patiently(Failing(make, len(LOST_PAUSES_S) + 1))


@pytest.mark.parametrize(
    "error",
    [
        Exhausted("larger than any message"),
        Unavailable("dead", reason="ENGINE_DEAD"),
        InvalidRequest("wrong"),
        ServerFailed("failed"),
        TooSlow("slow"),
        AudioFileError("no file"),
    ],
)
async def test_what_waiting_does_not_mend_is_raised_at_once(
    pauses: list[float], error: SpeakerdError
) -> None:
    attempt = Failing(lambda: error, 1)
    with pytest.raises(type(error)):
        await patiently(attempt)
    assert (attempt.tries, pauses) == (1, [])
