from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
from speakerd_server.store.answers import Enrolled, SearchResult
from speakerd_server.store.enrolment import EnrolmentStore
from support.recordings import DOMAIN, MODEL, recording, vector


def test_an_enrolment_answers_with_the_speaker_as_it_is_then(store: EnrolmentStore) -> None:
    first = store.enrol(DOMAIN, "anna", recording(1), "Anna")
    second = store.enrol(DOMAIN, "anna", recording(2), None)
    assert isinstance(first, Enrolled)
    assert first.consistency is None
    assert second.speaker == store.speaker(DOMAIN, "anna")
    assert first.speaker != second.speaker
    assert first.recording_id != second.recording_id


def test_how_alike_a_further_recording_is_is_a_cosine(store: EnrolmentStore) -> None:
    store.enrol(DOMAIN, "anna", recording(1), None)
    assert store.enrol(DOMAIN, "anna", recording(1), None).consistency == pytest.approx(1.0)
    one, other = vector(1), vector(2)
    cosine = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert store.enrol(DOMAIN, "anna", recording(2), None).consistency == pytest.approx(cosine)


def test_a_search_answers_the_most_alike_first_and_how_many_it_compared(
    store: EnrolmentStore,
) -> None:
    for seed in range(5):
        store.enrol(DOMAIN, f"speaker-{seed}", recording(seed), None)
    found = store.search(DOMAIN, MODEL, vector(3), 2)
    assert isinstance(found, SearchResult)
    assert found.compared == 5
    (first, alike), (_, less_alike) = found.hits
    assert first == "speaker-3"
    assert alike == pytest.approx(1.0)
    assert less_alike < alike


def test_an_answer_arrives_in_another_process_as_it_was_given(store: EnrolmentStore) -> None:
    for answer in (
        store.enrol(DOMAIN, "anna", recording(1), "Anna"),
        store.search(DOMAIN, MODEL, vector(1), 3),
    ):
        assert pickle.loads(pickle.dumps(answer)) == answer


@pytest.mark.parametrize("answer", [SearchResult((("anna", 0.5),), 7), SearchResult((), 0)])
def test_an_answer_cannot_be_changed(answer: SearchResult) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.compared = 3  # type: ignore[misc]


def test_who_only_reads_answers_needs_neither_database_nor_index() -> None:
    program = (
        "import sys, speakerd_server.store.answers\nprint({'sqlite3', 'faiss'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15)
    assert said.stdout == "set()\n"
