"""The most streams within a lag, looked for against real daemons."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from speakerd_client import Exhausted, InvalidLoad
from speakerd_client.call_options import VerifyOptions
from speakerd_client.load import capacity
from speakerd_client.load.capacity import CapacityResult, Step, Wanted, find_capacity, missed
from speakerd_client.load.orders import Progress
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.sound import Track, tracks_of
from speakerd_client.load.tally import LiveTally
from support.daemon import Daemon, over_fake_engine

SHORT_WINDOWS = VerifyOptions(samples_per_chunk=4_000)
PLACES = 3
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that takes a few streams and no more."""
    folder = tmp_path_factory.mktemp("capacity")
    with over_fake_engine(folder, f"--calls-maximum-streams={PLACES}") as running:
        yield running


@pytest.fixture(scope="module")
def tracks() -> tuple[Track, ...]:
    return tracks_of([], synthetic_s=1.0)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_PAUSE_S", 0.05)


def plan(address: str, streams: int, seconds: float = 1.2) -> LivePlan:
    return LivePlan(address, streams, seconds, settle_s=0.3, options=SHORT_WINDOWS)


def test_the_places_of_a_daemon_are_found(small: Daemon, tracks: tuple[Track, ...]) -> None:
    begun: list[int] = []
    ended: list[Step] = []
    result = asyncio.run(
        find_capacity(
            plan(small.address, 5),
            tracks,
            Wanted(lag_ms=5_000.0),
            begins=lambda trial: begun.append(trial.streams),
            ended=ended.append,
        )
    )
    assert (result.streams, result.confirmed, result.bound_was_reached) == (PLACES, True, False)
    assert begun == [5, 5, 2, 3, 4, 4, 3]
    assert tuple(ended) == result.steps
    assert [step.attempt for step in result.steps] == [1, 2, 1, 1, 1, 2, 1]
    assert [step.carried for step in result.steps] == [False, False, True, True, False, False, True]
    assert result.steps[0].missed == "streams failed: TOO_MANY_STREAMS 2"
    assert result.steps[0].errors[0].count == 2
    carried = result.steps[-1]
    assert carried.missed == ""
    assert carried.decision_lag_ms.count == carried.windows.answered == carried.windows.expected > 0
    assert (result.maximum, result.lag_ms, result.resolution_percent) == (5, 5_000.0, 5.0)
    assert result.ended_by == ""


def test_a_bound_that_is_carried_is_told(small: Daemon, tracks: tuple[Track, ...]) -> None:
    result = asyncio.run(find_capacity(plan(small.address, 2), tracks, Wanted(5_000.0)))
    assert (result.streams, result.bound_was_reached) == (2, True)
    assert [step.purpose for step in result.steps] == ["grow", "confirm"]
    assert any("raise --streams" in note for note in result.notes)


def test_a_limit_that_nothing_keeps_finds_none(tmp_path: Path, tracks: tuple[Track, ...]) -> None:
    with over_fake_engine(tmp_path, delay_s=0.1) as slow:
        result = asyncio.run(find_capacity(plan(slow.address, 1), tracks, Wanted(lag_ms=20.0)))
    assert (result.streams, result.confirmed) == (0, False)
    assert all(step.missed.startswith("lag p99 1") for step in result.steps)


def test_a_search_that_is_stopped_keeps_what_it_has_found(
    small: Daemon, tracks: tuple[Track, ...]
) -> None:
    async def stopped() -> CapacityResult:
        stop = asyncio.Event()
        ended: list[Step] = []

        def watch(progress: Progress, elapsed_s: float) -> None:
            if ended and progress.answers:
                stop.set()

        return await find_capacity(
            plan(small.address, 2),
            tracks,
            Wanted(5_000.0),
            watch=watch,
            ended=ended.append,
            stop=stop,
        )

    result = asyncio.run(stopped())
    assert (result.interrupted, result.streams, result.confirmed) == (True, 2, False)
    assert len(result.steps) == 1
    assert any("not tried once more" in note for note in result.notes)


def test_a_daemon_that_is_gone_ends_the_search_with_what_it_has(
    tmp_path: Path, tracks: tuple[Track, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speakerd_client.patience.LOST_PAUSES_S", (0.05,))
    with over_fake_engine(tmp_path) as dying:

        def ended(step: Step) -> None:
            dying.kill()

        result = asyncio.run(
            find_capacity(plan(dying.address, 8), tracks, Wanted(5_000.0), ended=ended)
        )
    assert len(result.steps) == 1
    assert "no daemon answers" in result.ended_by
    assert not result.interrupted


@pytest.mark.parametrize(
    ("options", "settle_s", "words"),
    [
        ({"samples_per_chunk": -1}, None, "--find-capacity needs windows"),
        ({"samples_per_chunk": 32_000}, None, "take at least 6"),
        ({"samples_per_chunk": 32_000}, 1.0, "the first 1.00 s are not counted; take at least 5"),
    ],
)
def test_steps_without_windows_to_count_are_refused(
    small: Daemon,
    tracks: tuple[Track, ...],
    options: VerifyOptions,
    settle_s: float | None,
    words: str,
) -> None:
    wanted = LivePlan(small.address, 2, 4.0, settle_s, options=options)
    with pytest.raises(InvalidLoad, match=words):
        asyncio.run(find_capacity(wanted, tracks, Wanted()))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lag_ms": 0}, "--lag-ms must be 1 to 60000, not 0"),
        ({"lag_ms": float("nan")}, "--lag-ms must be"),
        ({"resolution": 0}, r"--resolution must be 0.1 to 50 \(percent\), not 0"),
        ({"resolution": 0.6}, "not 60"),
    ],
)
def test_limits_that_are_none_are_refused(fields: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidLoad, match=words):
        Wanted(**fields)


def tally(lag_s: float = 0.1, late_s: float = 0.001, due: int = 1, answered: int = 1) -> LiveTally:
    made = LiveTally(windows_due=due, windows_answered=answered)
    made.lag.add(lag_s)
    made.lateness.add(late_s)
    return made


def test_what_a_step_did_not_keep_is_said() -> None:
    assert missed(tally(), 500) == ""
    assert missed(tally(lag_s=0.4996), 500) == ""
    assert missed(tally(lag_s=0.612), 500) == "lag p99 612 ms"
    assert missed(tally(late_s=0.7), 500) == "sent late, p99 700 ms"
    assert missed(tally(due=9, answered=7), 500) == "2 of 9 windows were not answered"
    assert missed(LiveTally(), 500) == "no window was completed"
    failed = tally()
    failed.failures.add(Exhausted("full", reason="ENGINE_BUSY"))
    assert missed(failed, 500) == "streams failed: ENGINE_BUSY 1"
