from __future__ import annotations

import threading
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.enrolled import Voiceprint
from speakerd_server.errors import ModelMismatch
from speakerd_server.store.faiss_index import VoiceprintIndex
from speakerd_server.store.voiceprint import direction
from speakerd_server.values import ModelIdentity, SpeakerState
from support.recordings import DOMAIN, MODEL, OTHER_MODEL, vector


def voiceprint(
    speaker_id: str, seed: int, model: ModelIdentity = MODEL, dim: int = 8
) -> Voiceprint:
    return Voiceprint(speaker_id, model, direction(vector(seed, dim)).astype(np.float32))


def test_domains_and_models_are_searched_apart() -> None:
    index = VoiceprintIndex([DOMAIN, "other"])
    index.put(DOMAIN, "a", voiceprint("a", 1))
    index.put(DOMAIN, "b", voiceprint("b", 2, OTHER_MODEL))
    index.put("other", "c", voiceprint("c", 3))
    assert index.search(DOMAIN, MODEL, vector(1, 8), 5).hits[0][0] == "a"
    assert index.search(DOMAIN, MODEL, vector(1, 8), 5).compared == 1
    assert index.search(DOMAIN, OTHER_MODEL, vector(1, 8), 5).hits[0][0] == "b"
    assert index.search("other", OTHER_MODEL, vector(1, 8), 5).hits == ()
    assert index.count() == 3


def test_a_speaker_moves_to_the_shelf_of_a_new_model() -> None:
    index = VoiceprintIndex([DOMAIN])
    index.put(DOMAIN, "a", voiceprint("a", 1))
    index.put(DOMAIN, "a", voiceprint("a", 2, OTHER_MODEL, dim=16))
    assert list(index.shelves) == [(DOMAIN, OTHER_MODEL)]
    with pytest.raises(ModelMismatch, match="enrolled with campplus/2"):
        index.voiceprint(DOMAIN, "a", MODEL)


def test_equal_scores_come_in_the_order_of_ids() -> None:
    index = VoiceprintIndex([DOMAIN])
    for speaker_id in "cab":
        index.put(DOMAIN, speaker_id, voiceprint(speaker_id, 1))
    hits = index.search(DOMAIN, MODEL, vector(1, 8), 3).hits
    assert [speaker_id for speaker_id, _ in hits] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("embedding", "top_k"),
    [
        (np.zeros(8), 1),
        (np.full(8, np.nan), 1),
        (np.ones(7), 1),
        (np.ones((1, 8)), 1),
        (np.ones(8), 0),
    ],
)
def test_a_search_without_sense_is_refused(embedding: Any, top_k: int) -> None:
    index = VoiceprintIndex([DOMAIN])
    index.put(DOMAIN, "a", voiceprint("a", 1))
    with pytest.raises(ValueError, match=r"embedding|float"):
        index.search(DOMAIN, MODEL, embedding, top_k)


def test_reading_one_voiceprint_does_not_wait_for_a_search() -> None:
    index = VoiceprintIndex([DOMAIN])
    index.put(DOMAIN, "a", voiceprint("a", 1))
    answers: list[SpeakerState | None] = []
    with index._shelves_lock:
        reader = threading.Thread(target=lambda: answers.append(index.state(DOMAIN, "a")))
        reader.start()
        reader.join(timeout=5)
        assert answers == [SpeakerState.ENROLLED]
        assert index.voiceprint(DOMAIN, "a", MODEL) is not None


CHANGES = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["put", "pend", "remove"])), max_size=40
)


@settings(deadline=None)
@given(CHANGES, st.integers(1, 10))
def test_a_search_equals_plain_arithmetic_and_keeps_no_byte_of_what_was_removed(
    changes: list[tuple[str, str]], top_k: int
) -> None:
    index = VoiceprintIndex([DOMAIN])
    plain: dict[str, Voiceprint | None] = {}
    gone: list[bytes] = []
    for seed, (speaker_id, action) in enumerate(changes):
        before = plain.get(speaker_id)
        gone += [before.vector.tobytes()] if before else []
        if action != "remove":
            plain[speaker_id] = voiceprint(speaker_id, seed) if action == "put" else None
            index.put(DOMAIN, speaker_id, plain[speaker_id])
        elif speaker_id in plain:
            del plain[speaker_id]
            index.remove(DOMAIN, speaker_id)
    enrolled = {key: one.vector.astype(np.float64) for key, one in plain.items() if one}
    embedding = vector(10_000, 8)
    expected = sorted(
        ((key, float(one @ direction(embedding))) for key, one in enrolled.items()),
        key=lambda hit: -hit[1],
    )[:top_k]
    found = index.search(DOMAIN, MODEL, embedding, top_k)
    assert found.compared == len(enrolled)
    assert [key for key, _ in found.hits] == [key for key, _ in expected]
    np.testing.assert_allclose(
        [score for _, score in found.hits], [score for _, score in expected], atol=1e-6
    )
    for key in "abcdefgh":
        wanted = SpeakerState.ENROLLED if plain.get(key) else SpeakerState.PENDING
        assert index.state(DOMAIN, key) == (wanted if key in plain else None)
        assert index.voiceprint(DOMAIN, key, MODEL) is plain.get(key)
    for shelf in index.shelves.values():
        content = faiss.serialize_index(shelf.index).tobytes()
        assert not any(one[start : start + 16] in content for one in gone for start in (0, 16))
