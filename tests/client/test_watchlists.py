"""Watchlists in the SDK and in speakerctl, against a real daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from speakerd_client import (
    AsyncClient,
    CallEnded,
    CallerNotEnrolled,
    Client,
    InvalidRequest,
    ScoreScale,
    Watchlists,
    read_audio,
)
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")
OTHER = read_audio(VOICES / "rms-call.flac")


@pytest.fixture
def client(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client, a watchlist with one member; all of it is gone at the end."""
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    with Client(daemon.address) as client:
        client.enroll("wl-slt", read_audio(VOICES / "slt-enrol.flac"))
        client.create_group("wl-fraud")
        client.update_group("wl-fraud", add=["wl-slt"])
        yield client
        members = client.get_group("wl-fraud").speaker_ids
        client.delete_group("wl-fraud")
        for speaker_id in members:
            client.delete_speaker(speaker_id)


def test_a_stream_tells_who_of_a_watchlist_is_heard(client: Client) -> None:
    updates = list(
        client.verify_stream(
            None, CALL.pieces(100), CALL.format, watchlists=Watchlists(["wl-fraud"])
        )
    )
    (hit,) = updates[0].watchlist_hits
    assert (hit.group, hit.speaker_id, hit.scale) == ("wl-fraud", "wl-slt", ScoreScale.COSINE)
    assert hit.score >= hit.hit_at
    assert hit.window == 0
    assert hit.audio_time_s == pytest.approx(1.98)
    assert updates[-1].watchlist_hits == (hit,)
    assert not any(update.watchlist_hits for update in updates[1:-1])
    whole = client.verify("wl-slt", CALL, watchlists=Watchlists(("wl-fraud",), hit_at=0.9999))
    assert whole.accepted
    assert whole.watchlist_hits == ()


def test_a_caller_is_enrolled_while_the_call_goes_on(client: Client) -> None:
    content = OTHER.content
    with client.stream_verify("wl-slt", OTHER.format) as call:
        with pytest.raises(CallerNotEnrolled) as early:
            call.enroll_caller("wl-fraud", "wl-rms")
        assert early.value.reason == "NOT_ENOUGH_SPEECH"
        assert early.value.request_id == call.request_id
        call.send(content[: 5 * 32_000])
        enrolled = call.enroll_caller("wl-fraud", "wl-rms", display_name="Rms")
        assert (enrolled.group, enrolled.speaker_id) == ("wl-fraud", "wl-rms")
        assert enrolled.net_speech_s == pytest.approx(3.96)
        call.send(content[5 * 32_000 :])
        final = call.finish()
        with pytest.raises(CallEnded):
            call.enroll_caller("wl-fraud", "wl-rms")
    assert not final.accepted
    speaker = client.get_speaker("wl-rms")
    assert [one.recording_id for one in speaker.recordings] == [enrolled.recording_id]
    assert speaker.display_name == "Rms"
    assert client.get_group("wl-fraud").speaker_ids == ("wl-rms", "wl-slt")


async def test_a_wish_that_is_given_up_takes_no_answer_of_another(
    client: Client, daemon: Daemon
) -> None:
    async with (
        AsyncClient(daemon.address) as asynchronous,
        asynchronous.stream_verify(None, OTHER.format) as call,
    ):
        await call.send(OTHER.content)
        given_up = asyncio.create_task(call.enroll_caller("wl-fraud", "wl-given-up"))
        await asyncio.sleep(0)
        given_up.cancel()
        kept = await call.enroll_caller("wl-fraud", "wl-kept")
        assert kept.speaker_id == "wl-kept"
        assert (await call.finish()).is_final


async def test_audio_and_wishes_may_come_from_several_tasks(client: Client, daemon: Daemon) -> None:
    async with (
        AsyncClient(daemon.address) as asynchronous,
        asynchronous.stream_verify(None, OTHER.format) as call,
    ):
        sending = asyncio.create_task(call.send_all(OTHER.pieces(20)))
        results = await asyncio.gather(
            *(call.enroll_caller("wl-fraud", f"wl-{number}") for number in range(3)),
            return_exceptions=True,
        )
        await sending
        assert (await call.finish()).is_final
    for result in results:
        assert isinstance(result, CallerNotEnrolled) or not isinstance(result, BaseException)


def test_what_is_no_watchlist_is_refused_at_once(client: Client) -> None:
    with pytest.raises(TypeError, match="sequence of names"):
        Watchlists("wl-fraud")
    with pytest.raises(TypeError, match="watchlists"):
        client.verify(None, CALL, watchlists=["wl-fraud"])  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as refused:
        client.verify(None, CALL, watchlists=Watchlists(("wl-fraud", "wl-fraud")))
    assert refused.value.field_violations[0].field == "watchlists.groups"


def test_the_command_says_who_was_noticed(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify", "wl-slt", str(VOICES / "slt-call.flac"), "--watchlist", "wl-fraud"]
    assert run(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("watchlist wl-fraud: wl-slt, cosine 0.")
    assert last.endswith("noticed at 2.0 s")
    assert run([*arguments, "--hit-at", "0.9999"]) == 0
    assert "watchlist" not in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    final = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert final["watchlist_hits"][0]["speaker_id"] == "wl-slt"
    assert run([*arguments[:3], "--hit-at", "0.5"]) == 3
    assert "--hit-at would do nothing" in capsys.readouterr().err
    assert run([*arguments[:3], "--watchlist", "nobody"]) == 3
    assert "GROUP_UNKNOWN" in capsys.readouterr().err
