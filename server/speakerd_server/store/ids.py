"""The form of a speaker id."""

from __future__ import annotations

import unicodedata

from speakerd_server.errors import SpeakerIdInvalid

LONGEST_ID = 256


def check_speaker_id(text: str) -> None:
    """Raise SpeakerIdInvalid unless text can be the id of a speaker.

    An id has 1 to 256 characters, no '/', none of Unicode's category C (controls, format
    characters, lone surrogates, private use, unassigned) and no blank at either end.
    """
    if not text:
        raise SpeakerIdInvalid("is empty")
    if len(text) > LONGEST_ID:
        raise SpeakerIdInvalid(f"has {len(text)} characters")
    if "/" in text:
        raise SpeakerIdInvalid("contains '/'")
    for character in text:
        if unicodedata.category(character).startswith("C"):
            raise SpeakerIdInvalid(f"contains the control character U+{ord(character):04X}")
    if text != text.strip():
        raise SpeakerIdInvalid("begins or ends with a blank")
