"""What a daemon, an older or a newer one, says of itself as plain values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from speakerd.v1 import admin_pb2, audio_pb2
from speakerd_client import Decision, ModelStatus, Score, ScoreScale, admin_convert

COUNTS = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (0, ModelStatus.LOADED),  # a daemon of before the field lists loaded models only
        (1, ModelStatus.LOADED),
        (2, ModelStatus.UNLOADING),
        (3, ModelStatus.UNLOADED),
        (99, ModelStatus.OTHER),
    ],
)
def test_every_status_of_a_model_has_its_member(number: int, status: ModelStatus) -> None:
    message = admin_pb2.Model()
    message.MergeFromString(b"\x70" + bytes([number]))  # field 14
    assert admin_convert.model(message).status is status


def test_a_model_without_calibration_has_no_thresholds() -> None:
    plain = admin_convert.model(admin_pb2.Model())
    assert (plain.accept_at, plain.reject_below) == (None, None)
    score = audio_pb2.Score(scale=audio_pb2.SCORE_SCALE_COSINE, value=0.0)
    calibrated = admin_convert.model(admin_pb2.Model(accept_at=score))
    assert calibrated.accept_at == Score(ScoreScale.COSINE, 0.0)


def test_what_was_not_measured_is_none() -> None:
    (work,) = admin_convert.model(admin_pb2.Model(devices=[admin_pb2.DeviceWork()])).devices
    assert (work.chosen_batch_windows, work.batch_cost_s, work.window_cost_s) == (None,) * 3
    means = (work.mean_batch_windows, work.mean_live_queue_s, work.mean_offline_queue_s)
    assert (*means, work.mean_compute_s) == (None,) * 4


@given(COUNTS, COUNTS, st.dictionaries(st.integers(1, 512), st.integers(1, 10**6), max_size=6))
def test_means_are_totals_by_counts(windows: int, batches: int, sizes: dict[int, int]) -> None:
    message = admin_pb2.DeviceWork(
        live_windows=windows,
        live_queue_time=Duration(seconds=7, nanos=500_000_000),
        batches=batches,
        compute_time=Duration(seconds=3),
        batch_sizes=[admin_pb2.BatchSize(windows=w, batches=b) for w, b in sizes.items()],
    )
    (work,) = admin_convert.model(admin_pb2.Model(devices=[message])).devices
    assert work.mean_live_queue_s == (pytest.approx(7.5 / windows) if windows else None)
    assert work.mean_compute_s == (pytest.approx(3 / batches) if batches else None)
    assert [each.windows for each in work.batch_sizes] == sorted(sizes)
    if sizes:
        assert work.mean_batch_windows is not None
        assert min(sizes) <= work.mean_batch_windows <= max(sizes)


def test_processes_are_given_as_they_are_told() -> None:
    process = admin_pb2.Process(
        name="engine gpu:0", pid=7, start_time=Timestamp(seconds=60), restarts=2
    )
    (told,) = admin_convert.server_info(
        admin_pb2.GetServerInfoResponse(processes=[process])
    ).processes
    assert (told.name, told.pid, told.restarts) == ("engine gpu:0", 7, 2)
    assert told.started == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)


def test_a_call_has_no_decision_before_the_first_and_an_unknown_one_is_other() -> None:
    sessions = [admin_pb2.Session(), admin_pb2.Session(decision=audio_pb2.DECISION_ACCEPT)]
    newer = admin_pb2.Session()
    newer.MergeFromString(b"\x60\x63")  # field 12, a decision of the future
    message = admin_pb2.WatchSessionsResponse(sessions=[*sessions, newer])
    decisions = [each.decision for each in admin_convert.live_sessions(message).sessions]
    assert decisions == [None, Decision.ACCEPT, Decision.OTHER]
