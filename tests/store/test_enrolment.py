from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speakerd_server.errors import (
    DomainUnknown,
    FieldInvalid,
    ModelMismatch,
    PageTokenInvalid,
    RecordingUnknown,
    SpeakerIdInvalid,
    SpeakerUnknown,
    StoreUnavailable,
    TooManyRecordings,
)
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.voiceprint import cosine, voiceprint_of
from speakerd_server.values import SpeakerState
from support.recordings import DOMAIN, MODEL, OTHER_MODEL, Opener, recording, vector


def everything(store: EnrolmentStore) -> tuple[Any, ...]:
    """All that a store answers, in a form that can be compared."""
    speakers = store.speakers(DOMAIN, None, 1000)
    voiceprints = [store.voiceprint(DOMAIN, one.speaker_id, MODEL) for one in speakers]
    return (
        speakers,
        [one and one.vector.tobytes() for one in voiceprints],
        store.search(DOMAIN, MODEL, vector(0), 1000),
        store.count(),
    )


def test_the_first_recording_creates_an_enrolled_speaker(store: EnrolmentStore) -> None:
    enrolled = store.enrol(DOMAIN, "alice", recording(1), "Alice A.")
    assert enrolled.consistency is None
    assert enrolled.speaker == store.speaker(DOMAIN, "alice")
    assert (enrolled.speaker.domain, enrolled.speaker.display_name) == (DOMAIN, "Alice A.")
    assert (enrolled.speaker.state, enrolled.speaker.model) == (SpeakerState.ENROLLED, MODEL)
    assert 0 < enrolled.speaker.created_unix_s <= enrolled.speaker.updated_unix_s
    (stored,) = enrolled.speaker.recordings
    assert stored.recording_id == enrolled.recording_id
    assert (stored.window_count, stored.speech_samples, stored.sample_rate_hz) == (3, 48000, 16000)
    assert stored.window_consistency == 0.8
    voiceprint = store.voiceprint(DOMAIN, "alice", MODEL)
    assert voiceprint is not None
    assert voiceprint.vector.dtype == np.float32
    np.testing.assert_allclose(voiceprint.vector, vector(1) / np.linalg.norm(vector(1)), rtol=1e-6)


def test_a_later_recording_is_weighed_in_and_compared_with_the_earlier_ones(
    store: EnrolmentStore,
) -> None:
    first, second = recording(1), recording(2, speech_samples=160_000)
    store.enrol(DOMAIN, "alice", first, "Alice")
    enrolled = store.enrol(DOMAIN, "alice", second)
    assert enrolled.consistency == pytest.approx(cosine(second.sum, first.sum))
    assert len(enrolled.speaker.recordings) == 2
    assert enrolled.speaker.recordings[-1].recording_id == enrolled.recording_id
    assert enrolled.speaker.display_name == "Alice"
    voiceprint = store.voiceprint(DOMAIN, "alice", MODEL)
    assert voiceprint is not None
    np.testing.assert_allclose(voiceprint.vector, voiceprint_of([first, second]), rtol=1e-6)


def test_two_people_under_one_id_show_as_low_consistency(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    alike = dataclasses.replace(recording(1), sum=vector(1) + 0.1 * vector(2))
    assert (store.enrol(DOMAIN, "alice", alike).consistency or 0) > 0.9
    assert abs(store.enrol(DOMAIN, "alice", recording(3)).consistency or 1) < 0.3


def test_a_recording_of_another_model_is_refused_and_nothing_is_stored(
    store: EnrolmentStore,
) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    before = everything(store)
    with pytest.raises(ModelMismatch, match=r"enrolled with campplus/1 .* uses campplus/2"):
        store.enrol(DOMAIN, "alice", recording(2, model=OTHER_MODEL), "new name")
    with pytest.raises(ModelMismatch):
        store.voiceprint(DOMAIN, "alice", OTHER_MODEL)
    assert everything(store) == before


def test_a_speaker_without_recordings_is_pending_and_free_for_another_model(
    store: EnrolmentStore,
) -> None:
    enrolled = store.enrol(DOMAIN, "alice", recording(1), "Alice")
    speaker = store.update(DOMAIN, "alice", None, [enrolled.recording_id])
    assert (speaker.state, speaker.model) == (SpeakerState.PENDING, None)
    assert (speaker.recordings, speaker.display_name) == ((), "Alice")
    assert store.state(DOMAIN, "alice") is SpeakerState.PENDING
    assert store.voiceprint(DOMAIN, "alice", MODEL) is None
    assert store.search(DOMAIN, MODEL, vector(1), 5).compared == 0
    assert store.enrol(DOMAIN, "alice", recording(2, model=OTHER_MODEL)).consistency is None
    assert store.speaker(DOMAIN, "alice").model == OTHER_MODEL


def test_removing_a_recording_gives_the_voiceprint_of_the_others(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    middle = store.enrol(DOMAIN, "alice", recording(2)).recording_id
    store.enrol(DOMAIN, "alice", recording(3))
    speaker = store.update(DOMAIN, "alice", "Al", [middle, middle])
    assert (len(speaker.recordings), speaker.display_name) == (2, "Al")
    assert speaker.updated_unix_s >= speaker.recordings[-1].created_unix_s
    voiceprint = store.voiceprint(DOMAIN, "alice", MODEL)
    assert voiceprint is not None
    expected = voiceprint_of([recording(1), recording(3)])
    np.testing.assert_allclose(voiceprint.vector, expected, rtol=1e-6)


def test_an_unknown_recording_leaves_everything_as_it_was(store: EnrolmentStore) -> None:
    mine = store.enrol(DOMAIN, "alice", recording(1)).recording_id
    others = store.enrol(DOMAIN, "bob", recording(2)).recording_id
    before = everything(store)
    for wrong in (others, "none", "", "\ud800"):
        with pytest.raises(RecordingUnknown):
            store.update(DOMAIN, "alice", "new name", [mine, wrong])
    assert store.update(DOMAIN, "alice", None, []) == before[0][0]
    assert everything(store) == before


def test_a_deleted_speaker_is_unknown_everywhere(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    store.enrol(DOMAIN, "alice", recording(2))
    store.enrol("other", "alice", recording(3))
    assert store.delete(DOMAIN, "alice") == 2
    assert store.state(DOMAIN, "alice") is None
    assert store.voiceprint(DOMAIN, "alice", MODEL) is None
    assert store.speakers(DOMAIN, None, 10) == []
    for call in (store.speaker, store.delete):
        with pytest.raises(SpeakerUnknown):
            call(DOMAIN, "alice")
    with pytest.raises(SpeakerUnknown):
        store.update(DOMAIN, "alice", None, [])
    assert store.state("other", "alice") is SpeakerState.ENROLLED
    assert store.count() == 1


def test_pages_follow_one_another_in_code_point_order(store: EnrolmentStore) -> None:
    ids = ["Z", "a", "a b", "aa", "é", "\uffe6", "😀", "用"]
    for seed, speaker_id in enumerate(reversed(ids)):
        store.enrol(DOMAIN, speaker_id, recording(seed))
        store.enrol(DOMAIN, speaker_id, recording(100 + seed))
    store.enrol("other", "b", recording(999))
    seen: list[str] = []
    while page := store.speakers(DOMAIN, seen[-1] if seen else None, 3):
        assert len(page) == min(3, len(ids) - len(seen))
        assert page == [store.speaker(DOMAIN, one.speaker_id) for one in page]
        seen += [one.speaker_id for one in page]
    assert seen == sorted(ids)


def test_unknown_domains_and_impossible_words_are_named(store: EnrolmentStore) -> None:
    with pytest.raises(DomainUnknown):
        store.enrol("nowhere", "alice", recording(1))
    with pytest.raises(DomainUnknown):
        store.state("nowhere", "alice")
    with pytest.raises(SpeakerIdInvalid):
        store.enrol(DOMAIN, "a/b", recording(1))
    with pytest.raises(FieldInvalid, match="display_name"):
        store.enrol(DOMAIN, "alice", recording(1), "\udfff")
    with pytest.raises(PageTokenInvalid):
        store.speakers(DOMAIN, "\ud800", 10)
    with pytest.raises(SpeakerUnknown):
        store.speaker(DOMAIN, "\ud800")
    with pytest.raises(ValueError, match="limit"):
        store.speakers(DOMAIN, None, 0)
    assert store.count() == 0


def test_sums_that_are_no_voice_are_refused_and_nothing_is_stored(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    before = everything(store)
    for total in (np.zeros(192), np.full(192, np.nan), np.ones(191)):
        with pytest.raises(ValueError, match=r"sum|191 values"):
            store.enrol(DOMAIN, "alice", dataclasses.replace(recording(1), sum=total))
    assert everything(store) == before


def test_a_restart_gives_the_same_answers_to_the_last_bit(open_store: Opener) -> None:
    first = open_store()
    for seed in range(30):
        first.enrol(DOMAIN, f"speaker {seed % 7}", recording(seed, speech_samples=400 + 7 * seed))
    only = first.enrol(DOMAIN, "pending", recording(99)).recording_id
    first.update(DOMAIN, "pending", None, [only])
    first.delete(DOMAIN, "speaker 3")
    before = everything(first)
    first.close()
    second = open_store()
    answers = everything(second)
    assert answers[:2] == before[:2]
    assert dict(answers[2].hits) == pytest.approx(dict(before[2].hits))
    assert answers[3] == before[3] == 7


def test_speakers_of_a_domain_that_is_no_longer_served_are_kept(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = open_store()
    first.enrol("other", "alice", recording(1))
    first.close()
    served = [DOMAIN]
    original = EnrolmentStore.__init__
    monkeypatch.setattr(
        EnrolmentStore, "__init__", lambda self, given, _: original(self, given, served)
    )
    second = open_store()
    assert second.count() == 0
    assert "1 speakers are in domains" in caplog.text
    second.close()
    served.append("other")
    assert open_store().state("other", "alice") is SpeakerState.ENROLLED


def test_a_closed_store_refuses_changes_by_name(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    store.close()
    with pytest.raises(StoreUnavailable):
        store.enrol(DOMAIN, "bob", recording(2))
    assert store.state(DOMAIN, "bob") is None
    store.close()


def test_an_acknowledged_enrolment_is_seen_by_every_thread(store: EnrolmentStore) -> None:
    wrong: list[int] = []

    def enrol_and_read(first_seed: int) -> None:
        for seed in range(first_seed, first_seed + 20):
            enrolled = store.enrol(DOMAIN, str(seed), recording(seed))
            found = store.search(DOMAIN, MODEL, vector(seed), 1).hits[0][0]
            if found != str(seed) or store.speaker(DOMAIN, str(seed)) != enrolled.speaker:
                wrong.append(seed)
            if seed % 3 == 0:
                store.delete(DOMAIN, str(seed))

    threads = [threading.Thread(target=enrol_and_read, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.count() == len(store.speakers(DOMAIN, None, 1000)) == 53


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8"), max_size=256))
def test_any_text_can_be_a_display_name(store: EnrolmentStore, name: str) -> None:
    if store.state(DOMAIN, "alice") is None:
        store.enrol(DOMAIN, "alice", recording(1))
    assert store.update(DOMAIN, "alice", name, []).display_name == name
    assert store.speaker(DOMAIN, "alice").display_name == name


def test_a_speaker_has_a_hundred_recordings_at_most(store: EnrolmentStore) -> None:
    for seed in range(100):
        store.enrol("default", "alice", recording(seed))
    with pytest.raises(TooManyRecordings, match="UpdateSpeaker"):
        store.enrol("default", "alice", recording(100))
    assert len(store.speaker("default", "alice").recordings) == 100
