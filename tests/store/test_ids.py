from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import SpeakerIdInvalid
from speakerd_server.store.ids import LONGEST_ID, check_speaker_id


@pytest.mark.parametrize(
    "text", ["a", "alice", "Zoë Ångström", "用户-7", "a b", "x" * LONGEST_ID, "a@b.c", "👩🏽"]
)
def test_an_ordinary_id_is_taken(text: str) -> None:
    check_speaker_id(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("x" * 257, "257 characters"),
        ("x" * 300, "300 characters"),
        ("a/b", "'/'"),
        ("/", "'/'"),
        ("a\nb", r"U\+000A"),
        ("a\x00", r"U\+0000"),
        ("a\u200bb", r"U\+200B"),
        ("\ud800", r"U\+D800"),
        (" a", "blank"),
        ("a\u00a0", "blank"),
        (" ", "blank"),
    ],
)
def test_an_id_that_cannot_be_one_is_refused_with_its_problem(text: str, problem: str) -> None:
    with pytest.raises(SpeakerIdInvalid, match=problem):
        check_speaker_id(text)


@given(st.text(st.characters(codec=None), max_size=300))
def test_what_is_taken_can_be_written_as_utf_8_and_read_back(text: str) -> None:
    try:
        check_speaker_id(text)
    except SpeakerIdInvalid:
        allowed = (
            0 < len(text) <= LONGEST_ID
            and "/" not in text
            and text.strip() == text
            and not any(unicodedata.category(character)[0] == "C" for character in text)
        )
        assert not allowed
    else:
        assert text.encode().decode() == text
        assert text == text.strip() != ""
