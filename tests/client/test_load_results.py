"""Results say with the numbers what makes them mean less."""

from __future__ import annotations

import pytest
from speakerd_client import Exhausted
from speakerd_client.load.closed_result import closed_result
from speakerd_client.load.facts import generator_of, late_note, sent_of
from speakerd_client.load.live_result import LiveResult, live_result, live_settings
from speakerd_client.load.plan import ClosedPlan, LivePlan
from speakerd_client.load.samples import Figure
from speakerd_client.load.sound import tracks_of
from speakerd_client.load.tally import ClosedTally, LiveTally, Share
from speakerd_client.policies import Policy
from speakerd_client.results import CallSettings, ModelIdentity

TRACKS = tracks_of([], synthetic_s=0.1)
PLAN = LivePlan("127.0.0.1:1", streams=4)
SETTINGS = CallSettings(
    "a", "default", ModelIdentity("campplus", "1", "x"), 32_000, 16_000, Policy(), 0.0, False
)


def tally() -> LiveTally:
    made = LiveTally(asked=4, opened=4, finished=4, messages=80, windows_due=8, windows_answered=8)
    made.audio_s, made.sending_s = 8.0, 10.0
    made.lag.add(0.1)
    made.lateness.add(0.001)
    made.shares.append(Share(1.0, 10.0))
    return made


def result(of: LiveTally, window_s: float = 1.98) -> LiveResult:
    settings = live_settings(PLAN, TRACKS, SETTINGS, window_s, 0.0)
    return live_result(PLAN, settings, of, 2.0, False)


def test_a_load_that_went_well_needs_no_note() -> None:
    made = result(tally())
    assert made.notes == ()
    assert made.pace == 0.8
    assert made.generator.cores == (0.1,)


@pytest.mark.parametrize(("cpu_s", "was_limit"), [(8.99, False), (9.0, True), (12.0, True)])
def test_a_generator_that_was_the_limit_is_named(cpu_s: float, was_limit: bool) -> None:
    of = tally()
    of.shares = [Share(0.1, 10.0), Share(cpu_s, 10.0)]
    made = result(of)
    assert made.generator.was_limit is was_limit
    assert any("lower bound" in note for note in made.notes) is was_limit


def test_messages_that_went_late_are_named_with_the_likely_reason() -> None:
    of = tally()
    of.lateness.add(0.0501)
    (note,) = result(of).notes
    assert "handed over late (p99 50 ms): the daemon took them too slowly" in note
    full = generator_of([Share(1.0, 1.0)])
    assert "generator's core was full" in late_note(Figure(1, 1.0, 1.0, 1.0, 80.0, 80.0), full)
    of = tally()
    of.lateness.add(0.0499)
    assert result(of).notes == ()


def test_windows_that_nobody_could_see_are_explained() -> None:
    of = tally()
    of.windows_due = 0
    (note,) = result(of).notes
    assert "a window takes 1.98 s" in note
    (note,) = result(of, window_s=0.0).notes
    assert "no updates, so no decision lag" in note
    of = tally()
    of.unforeseen = 3
    (note,) = result(of).notes
    assert "3 updates came for no window" in note


def test_decisions_on_synthetic_audio_are_called_meaningless() -> None:
    of = tally()
    of.decided.add(2.0)
    (note,) = result(of).notes
    assert "synthetic" in note


def test_lags_over_time_are_in_their_order() -> None:
    of = tally()
    for slot in (3, 0):
        of.lag_by_slot[slot] = of.lag
    assert [slot.from_s for slot in result(of).lag_over_time] == [0.0, 6.0]


def test_a_row_of_a_closed_loop_is_per_second_of_the_counted_time() -> None:
    plan = ClosedPlan("127.0.0.1:1", "embed", (8, 16))
    row = ClosedTally(asked=50, begun=40, answered=30, audio_s=60.0, counted_s=20.0)
    row.failures.add(Exhausted("full", reason="TOO_MANY_CALLS"))
    row.latency.add(0.2)
    row.shares.append(Share(9.5, 10.0))
    made = closed_result(plan, TRACKS, [row], True)
    (only,) = made.rows
    assert (only.concurrency, only.calls, only.throughput, only.audio_per_s) == (8, 40, 1.5, 3.0)
    assert only.errors[0].share == 1 / 50
    assert made.interrupted
    assert "lower bound" in made.notes[0]


def test_a_loop_too_short_for_an_answer_is_explained() -> None:
    plan = ClosedPlan("127.0.0.1:1", "embed", (8,))
    made = closed_result(plan, TRACKS, [ClosedTally(begun=8, counted_s=1.0)], False)
    assert any("no call was answered within --seconds" in note for note in made.notes)
    empty = closed_result(plan, TRACKS, [ClosedTally()], True)
    assert empty.rows[0].throughput == 0.0


def test_tracks_are_described() -> None:
    (sent,) = sent_of(TRACKS)
    assert (sent.name, sent.encoding, sent.sample_rate_hz) == ("synthetic", "pcm16le", 16_000)
    assert sent.duration_s == pytest.approx(0.1)
