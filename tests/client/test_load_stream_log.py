"""What the times of one stream mean, on a clock of the test's own."""

from __future__ import annotations

import pytest
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_client import ServerFailed
from speakerd_client.load.course import Course, Wire
from speakerd_client.load.stream_log import StreamLog
from speakerd_client.load.tally import LiveTally

COURSE = Course("127.0.0.1:1", 40, 0.1, 0.0, 100.0, 103.0, 200.0, 1.0)
WIRE = Wire(b"", [b"message"], 800, 8000)
UNDECIDED, ACCEPT = audio_pb2.DECISION_UNDECIDED, audio_pb2.DECISION_ACCEPT


def opened() -> pb.StreamVerifyResponse:
    settings = pb.EffectiveSettings(samples_per_chunk=32_000, model_sample_rate_hz=16_000)
    return pb.StreamVerifyResponse(opened=settings)


def update(
    window: int, decision: audio_pb2.Decision.ValueType = UNDECIDED
) -> pb.StreamVerifyResponse:
    committed = 15_840 * (window + 1)
    result = pb.VerificationResult(committed_samples=committed, decision=decision)
    return pb.StreamVerifyResponse(update=result)


def final(decision: audio_pb2.Decision.ValueType = UNDECIDED) -> pb.StreamVerifyResponse:
    return pb.StreamVerifyResponse(final=pb.VerificationResult(decision=decision))


@pytest.fixture
def tally() -> LiveTally:
    return LiveTally()


@pytest.fixture
def log(tally: LiveTally) -> StreamLog:
    """A stream whose audio began at 102 s, 0.25 s after it was asked for."""
    log = StreamLog(COURSE, WIRE, tally)
    log.opened(opened(), 0.25)
    log.audio_starts(102.0)
    return log


def send(log: StreamLog, messages: int, late_s: float = 0.0) -> None:
    for number in range(messages):
        due_s = 102.0 + 0.1 * number
        log.handed(number, due_s, due_s + late_s)


def test_lag_counts_from_the_message_with_the_windows_last_sample(
    log: StreamLog, tally: LiveTally
) -> None:
    send(log, 40)
    log.heard(update(0), 104.0)
    log.heard(update(1), 106.25)
    # 31 920 samples at 16 kHz are in message 19, which went at 103.9; 63 600 in message 39.
    assert tally.lag.figure().max == pytest.approx(350.0)
    assert tally.lag.figure().mean == pytest.approx((100.0 + 350.0) / 2)
    assert (tally.windows_due, tally.windows_answered, tally.unforeseen) == (2, 2, 0)
    assert {slot: len(lags) for slot, lags in tally.lag_by_slot.items()} == {3: 1, 5: 1}


def test_a_late_message_shows_as_lateness_and_does_not_make_the_lag_longer(
    log: StreamLog, tally: LiveTally
) -> None:
    send(log, 20, late_s=2.0)
    log.heard(update(0), 106.0)
    assert tally.lag.figure().max == pytest.approx(100.0)
    assert tally.lateness.figure().p50 == pytest.approx(2000.0)


def test_what_was_sent_while_it_settles_is_not_counted(log: StreamLog, tally: LiveTally) -> None:
    send(log, 10)
    assert len(tally.lateness) == 0
    send(log, 20)
    assert len(tally.lateness) == 10
    early = StreamLog(
        Course("a", 40, 0.1, 0.0, 100.0, 104.0, 105.0, 1.0), WIRE, other := LiveTally()
    )
    early.opened(opened(), 0.1)
    early.audio_starts(102.0)
    send(early, 40)
    early.heard(update(0), 104.0)
    early.heard(update(1), 106.0)
    assert (other.windows_due, other.windows_answered, len(other.lag)) == (0, 0, 0)
    assert other.unforeseen == 0


def test_updates_that_nothing_called_for_are_told_apart(log: StreamLog, tally: LiveTally) -> None:
    log.heard(update(0), 103.0)
    send(log, 20)
    log.heard(update(0), 104.0)
    log.heard(update(0), 104.1)
    assert (tally.unforeseen, tally.windows_answered, len(tally.lag)) == (2, 1, 1)


def test_the_time_to_decision_ends_with_the_first_accept_or_reject(
    log: StreamLog, tally: LiveTally
) -> None:
    send(log, 40)
    log.heard(update(0), 104.0)
    assert len(tally.decided) == 0
    log.heard(update(1, audio_pb2.DECISION_REJECT), 106.5)
    log.heard(final(ACCEPT), 107.0)
    assert (tally.decided.figure().count, tally.decided.figure().max) == (1, 4500.0)
    assert tally.decisions == {"accept": 1}


def test_a_decision_may_come_with_the_final_alone(log: StreamLog, tally: LiveTally) -> None:
    log.half_closed(106.0)
    assert not log.has_final
    log.heard(final(ACCEPT), 106.5)
    assert log.has_final
    assert tally.decided.figure().max == 4500.0
    assert tally.finish.figure().max == 500.0


def test_a_final_before_the_end_of_the_audio_has_no_finish(
    log: StreamLog, tally: LiveTally
) -> None:
    send(log, 30)
    log.heard(final(ACCEPT), 105.0)
    assert log.has_final
    assert len(tally.finish) == 0


def test_connecting_is_counted_and_must_begin_with_opened(tally: LiveTally, log: StreamLog) -> None:
    assert (tally.opened, tally.connect.figure().max) == (1, 250.0)
    with pytest.raises(ServerFailed, match="before it opened the call"):
        StreamLog(COURSE, WIRE, tally).opened(update(0), 0.1)
    assert tally.opened == 1


@pytest.mark.parametrize(
    ("late_s", "ended_s", "sending_s"),
    [(0.0, 105.9, 4.0), (0.5, 106.4, 4.5), (0.0, 110.0, 8.0)],
)
def test_the_pace_is_kept_when_the_last_message_is_on_time(
    log: StreamLog, tally: LiveTally, late_s: float, ended_s: float, sending_s: float
) -> None:
    send(log, 40, late_s)
    log.sending_ended(40, ended_s)
    assert (tally.messages, tally.audio_s) == (40, 4.0)
    assert tally.sending_s == pytest.approx(sending_s)
