"""The public surface of the SDK is a list, and the list is true."""

from __future__ import annotations

import dataclasses
import enum
import types

import speakerd_client
import typer
from google.protobuf.message import Message
from speakerd_client import errors
from speakerd_client.cli.app import app
from support.papers import text_of
from support.shared import ROOT


def public_names() -> set[str]:
    return {
        name
        for name, value in vars(speakerd_client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def test_the_list_is_what_can_be_imported_and_sorted() -> None:
    assert set(speakerd_client.__all__) == public_names()
    assert speakerd_client.__all__ == sorted(speakerd_client.__all__)


def test_every_exception_is_public_and_in_the_drawn_tree() -> None:
    kinds = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert kinds <= set(speakerd_client.__all__)
    assert all(name in (errors.__doc__ or "") for name in kinds)


def test_everything_public_is_documented_and_values_are_frozen() -> None:
    for name in speakerd_client.__all__:
        value = getattr(speakerd_client, name)
        assert value.__doc__, name
        if dataclasses.is_dataclass(value) and isinstance(value, type):
            assert value.__dataclass_params__.frozen, name  # type: ignore[attr-defined]


def test_no_public_value_is_a_protobuf_message() -> None:
    for name in speakerd_client.__all__:
        value = getattr(speakerd_client, name)
        if isinstance(value, type):
            assert not issubclass(value, Message), name


def test_every_enum_of_answers_has_a_place_for_newer_values() -> None:
    answers = ("Decision", "ScoreScale", "SpeakerState", "EnrollFeedback", "Health", "ModelStatus")
    for name in answers:
        kind = getattr(speakerd_client, name)
        assert issubclass(kind, enum.Enum)
        assert "OTHER" in kind.__members__


def test_every_command_of_speakerctl_is_described() -> None:
    commands = vars(typer.main.get_command(app))["commands"]
    readme = text_of(ROOT / "client" / "README.md")
    assert [name for name in commands if f"speakerctl {name}" not in readme] == []
    assert {"models", "sessions", "drain", "resume", "status"} <= set(commands)
