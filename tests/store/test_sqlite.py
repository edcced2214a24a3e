from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speakerd_server.enrolled import NewRecording
from speakerd_server.errors import StoreCorrupt
from speakerd_server.store.sqlite import SqliteRecord
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, OTHER_MODEL, recording


@pytest.fixture
def record(store_path: Path) -> SqliteRecord:
    return SqliteRecord(store_path)


def same(first: NewRecording, second: NewRecording) -> bool:
    names = ("model", "window_count", "speech_samples", "sample_rate_hz", "window_consistency")
    return np.array_equal(first.sum, second.sum) and all(
        getattr(first, name) == getattr(second, name) for name in names
    )


def test_a_recording_is_read_back_to_the_last_bit(record: SqliteRecord) -> None:
    given = [recording(1, dim=3), recording(2, dim=3, model=OTHER_MODEL, speech_samples=2**40)]
    with record.transaction():
        ids = [record.add(DOMAIN, "alice", one) for one in given]
    stored = record.sums(DOMAIN, "alice")
    assert list(stored) == ids
    assert all(same(*pair) for pair in zip(given, stored.values(), strict=True))
    ((domain, speaker_id, everything),) = record.everyone()
    assert (domain, speaker_id) == (DOMAIN, "alice")
    assert all(same(*pair) for pair in zip(given, everything, strict=True))
    record.close()


def test_a_transaction_that_fails_leaves_nothing(record: SqliteRecord) -> None:
    def interrupted() -> None:
        with record.transaction():
            record.add(DOMAIN, "alice", recording(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert record.speaker(DOMAIN, "alice") is None
    with record.transaction():
        record.add(DOMAIN, "alice", recording(1))
    assert record.speaker(DOMAIN, "alice") is not None
    record.close()


def test_a_speaker_without_recordings_is_read_as_pending(record: SqliteRecord) -> None:
    with record.transaction():
        record.remove([record.add(DOMAIN, "alice", recording(1))])
    speaker = record.speaker(DOMAIN, "alice")
    assert speaker is not None
    assert (speaker.state, speaker.recordings) == (SpeakerState.PENDING, ())
    assert list(record.everyone()) == [(DOMAIN, "alice", [])]
    record.close()


@pytest.mark.parametrize(
    "change", ["sum = zeroblob(28)", "sum = x'00'", "sum = 'text'", "speech_samples = 'many'"]
)
def test_a_row_that_makes_no_recording_is_damage(record: SqliteRecord, change: str) -> None:
    with record.transaction():
        record.add(DOMAIN, "alice", recording(1))
        record.connection.execute("PRAGMA ignore_check_constraints = ON")
        record.connection.execute(f"UPDATE recordings SET {change}")
    with pytest.raises(StoreCorrupt, match="a recording cannot be read"):
        record.sums(DOMAIN, "alice")
    record.close()


def test_a_recording_id_is_never_given_twice(record: SqliteRecord) -> None:
    with record.transaction():
        ids = {record.add(DOMAIN, str(seed % 3), recording(seed)) for seed in range(50)}
    assert len(ids) == 50
    assert all(len(one) == 32 for one in ids)
    record.close()
