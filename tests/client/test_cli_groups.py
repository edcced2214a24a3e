"""speakerctl groups, and identify among one, against a real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from speakerd_client import Client, Group, MembersOf, NotFound, NotPossible, read_audio
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.speech import VOICES

CALL = VOICES / "slt-call.flac"


@pytest.fixture
def client(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client, and two speakers in a domain, all groups gone at the end."""
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    with Client(daemon.address) as client:
        for name in ("slt", "rms"):
            client.enroll(f"grp-{name}", read_audio(VOICES / f"{name}-enrol.flac"))
        yield client
        for group in list(client.list_groups()):
            client.delete_group(group.name)
        for name in ("slt", "rms"):
            client.delete_speaker(f"grp-{name}")


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(list(arguments)) == code
    return capsys.readouterr().out


def test_the_sdk_makes_fills_reads_and_deletes_groups(client: Client) -> None:
    made = client.create_group("house")
    assert (made.name, made.domain, made.speaker_ids) == ("house", "default", ())
    assert made.created.tzinfo is not None
    filled = client.update_group("house", add=["grp-slt", "grp-rms"])
    assert filled.speaker_ids == ("grp-rms", "grp-slt")
    assert client.get_group("house") == filled
    assert client.get_speaker("grp-slt").groups == ("house",)
    client.create_group("zoo")
    assert [one.name for one in client.list_groups(page_size=1)] == ["house", "zoo"]
    assert all(isinstance(one, Group) for one in client.list_groups())
    left = client.update_group("house", remove=["grp-rms"])
    assert left.speaker_ids == ("grp-slt",)
    result = client.verify(MembersOf("house"), read_audio(CALL))
    assert [one.speaker_id for one in result.scores] == ["grp-slt"]
    assert client.delete_group("house") == 1
    with pytest.raises(NotFound) as unknown:
        client.get_group("house")
    assert unknown.value.reason == "GROUP_UNKNOWN"
    with pytest.raises(NotPossible) as there:
        client.create_group("zoo")
    assert there.value.reason == "GROUP_EXISTS"


def test_the_commands_do_the_same(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "groups", "create", "house") == "house  0 members\n"
    said(capsys, "groups", "add", "house", "grp-slt", "grp-rms")
    assert said(capsys, "groups", "show", "house") == "house  2 members\ngrp-rms\ngrp-slt\n"
    rows = said(capsys, "groups", "list").splitlines()
    assert rows[1].split()[:2] == ["house", "2"]
    shown = said(capsys, "speakers", "show", "grp-slt").splitlines()
    assert ["groups", "house"] in [line.split() for line in shown]
    assert said(capsys, "groups", "remove", "house", "grp-slt") == "house  1 member\ngrp-rms\n"
    assert said(capsys, "groups", "delete", "house", "--yes") == "DELETED  house  1 member\n"


def test_scripts_read_groups_as_json(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    made: Any = json.loads(said(capsys, "groups", "create", "house", "--json"))
    assert (made["name"], made["speaker_ids"]) == ("house", [])
    (listed,) = said(capsys, "groups", "list", "--json").splitlines()
    assert json.loads(listed) == made
    gone = json.loads(said(capsys, "groups", "delete", "house", "--yes", "--json"))
    assert gone == {"name": "house", "members": 0}


def test_a_recording_is_identified_among_a_group(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_group("men")
    client.update_group("men", add=["grp-rms"])
    text = said(capsys, "identify", str(CALL), "--group", "men", code=1)
    assert text.startswith("REJECT  grp-rms")
    assert "grp-slt" not in text
    assert run(["identify", str(CALL), "--group", "nobody"]) == 3
    assert "GROUP_UNKNOWN" in capsys.readouterr().err


def test_what_cannot_be_done_is_one_line(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, reason in (
        (["groups", "show", "nobody"], "GROUP_UNKNOWN"),
        (["groups", "create", "a b"], "GROUP_NAME_INVALID"),
        (["groups", "delete", "x"], "nobody to ask"),
    ):
        assert run(arguments) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
