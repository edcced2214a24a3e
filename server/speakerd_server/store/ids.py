"""The form of a speaker id, and of other text that is stored."""

from __future__ import annotations

import re
import unicodedata

from speakerd_server.errors import FieldInvalid, GroupNameInvalid, SpeakerIdInvalid

LONGEST_ID = 256
MAXIMUM_NAME = 256
_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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


def check_group_name(text: str) -> None:
    """Raise GroupNameInvalid unless text can be the name of a group.

    A name has 1 to 64 of A to Z, a to z, 0 to 9, '.', '_' and '-', the first a letter or digit.
    """
    if not _GROUP_NAME.fullmatch(text):
        raise GroupNameInvalid(text)


def encodable(text: str) -> bool:
    """Tell whether text can be written as UTF-8: it has no lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_name(display_name: str | None) -> None:
    """Raise FieldInvalid unless text can be a display name; None is none."""
    if display_name is not None and not encodable(display_name):
        raise FieldInvalid("display_name", "is not valid Unicode text")


def check_display_name(name: str | None) -> None:
    """Refuse a display name that is too long, or no plain text, by FieldInvalid."""
    if name is None:
        return
    if len(name) > MAXIMUM_NAME:
        problem = f"has {len(name)} characters, at most {MAXIMUM_NAME} can be"
        raise FieldInvalid("display_name", problem)
    if any(unicodedata.category(character).startswith("C") for character in name):
        raise FieldInvalid("display_name", "has a control character")
