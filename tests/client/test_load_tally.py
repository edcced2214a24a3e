"""What processes count is merged into what one would have counted."""

from __future__ import annotations

import pickle
import time
from dataclasses import fields

import pytest
from speakerd_client import Exhausted, NotReachable
from speakerd_client.load.samples import Samples
from speakerd_client.load.tally import ClosedTally, Failures, LiveTally, Meter, Share


def full() -> Exhausted:
    return Exhausted("no room for 7", reason="TOO_MANY_STREAMS", retry_after_s=1.0)


def test_failures_are_named_by_reason_with_the_first_words_and_their_share() -> None:
    failures = Failures()
    for error in (NotReachable("gone"), full(), full(), Exhausted("2", reason="ENGINE_BUSY")):
        failures.add(error)
    first, second, third = failures.rows(8)
    assert (first.reason, first.count, first.share) == ("TOO_MANY_STREAMS", 2, 0.25)
    assert first.message == "no room for 7"
    assert (second.reason, second.share) == ("NotReachable", 0.125)
    assert third.message == "2"
    assert len(failures) == 4


def test_failures_of_processes_are_added() -> None:
    one, other = Failures(), Failures()
    one.add(full())
    other.add(full())
    other.add(NotReachable("gone"))
    one.merge(pickle.loads(pickle.dumps(other)))
    assert [(row.reason, row.count) for row in one.rows(3)] == [
        ("TOO_MANY_STREAMS", 2),
        ("NotReachable", 1),
    ]


def test_reasons_without_end_are_not_kept_without_end() -> None:
    failures = Failures()
    for number in range(500):
        failures.add(Exhausted("x", reason=f"REASON_{number}"))
    rows = failures.rows(500)
    assert len(failures) == 500
    assert len(rows) == 101
    assert (rows[0].reason, rows[0].count) == ("other", 400)


def filled(times: int) -> LiveTally:
    """A tally in which every field has something."""
    tally = LiveTally()
    for number, each in enumerate(fields(LiveTally)):
        value = getattr(tally, each.name)
        if isinstance(value, int | float):
            setattr(tally, each.name, type(value)((number + 1) * times))
        elif isinstance(value, Samples):
            for _ in range(times):
                value.add(number / 10)
    for _ in range(times):
        tally.failures.add(full())
        tally.lag_by_slot.setdefault(times % 2, Samples()).add(0.5)
        tally.shares.append(Share(1.0, 2.0))
    tally.decisions["accept"] = times
    return tally


def told(tally: LiveTally) -> dict[str, object]:
    found: dict[str, object] = {}
    for each in fields(LiveTally):
        value = getattr(tally, each.name)
        found[each.name] = value.figure() if isinstance(value, Samples) else value
    found["failures"] = tally.failures.rows(10)
    found["lag_by_slot"] = {slot: len(lags) for slot, lags in tally.lag_by_slot.items()}
    return found


def test_no_field_is_forgotten_when_tallies_are_merged() -> None:
    merged = LiveTally()
    merged.merge(filled(1))
    merged.merge(pickle.loads(pickle.dumps(filled(2))))
    wanted = told(filled(3))
    assert told(merged) == wanted | {"lag_by_slot": {1: 1, 0: 2}}


def test_rows_of_a_closed_loop_are_merged() -> None:
    one = ClosedTally(asked=5, begun=4, answered=3, audio_s=6.0, counted_s=10.0)
    other = ClosedTally(asked=2, begun=2, answered=1, audio_s=2.0, counted_s=10.5)
    for tally in (one, other):
        tally.latency.add(0.1)
        tally.failures.add(full())
        tally.shares.append(Share(1.0, 2.0))
    one.merge(other)
    assert (one.asked, one.begun, one.answered, one.audio_s) == (7, 6, 4, 8.0)
    assert (one.counted_s, len(one.latency), len(one.failures), len(one.shares)) == (10.5, 2, 2, 2)


def test_a_meter_measures_once_from_its_last_begin_to_its_first_end() -> None:
    meter = Meter()
    assert meter.end() == Share()
    meter = Meter()
    meter.begin()
    spent_until = time.process_time() + 0.05
    while time.process_time() < spent_until:
        pass
    first = meter.end()
    assert first.cpu_s >= 0.04
    assert first.wall_s > 0
    assert first.cores == first.cpu_s / first.wall_s
    time.sleep(0.01)
    assert meter.end() == first


def test_a_share_of_no_time_is_none() -> None:
    assert Share().cores == 0.0
    assert Share(1.0, 4.0).cores == pytest.approx(0.25)
