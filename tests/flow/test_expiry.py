"""Voiceprints that expire, consent and last use on a real daemon whose days are seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from speakerd_client import (
    Client,
    Decision,
    Everyone,
    InvalidRequest,
    NotPossible,
    SpeakerState,
    read_audio,
)
from support.commands import speakerd
from support.daemon import Daemon
from support.speech import VOICES

ENROL = read_audio(VOICES / "slt-enrol.flac")
CALL = read_audio(VOICES / "slt-call.flac")
SHORT_S = 3.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = (
        "--calls-domains=default,short",
        f"--expiry-age-days-of=short={SHORT_S / 86_400:.9f}",
        "--expiry-unused-days=400",
    )
    with Daemon(tmp_path_factory.mktemp("expiry"), *flags) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        yield client


def test_an_expired_speaker_is_a_decision_of_its_own_until_enrolled_anew(client: Client) -> None:
    enrolled = client.enroll("slt", ENROL, domain="short").speaker
    assert enrolled.expires is not None
    assert (enrolled.expires - enrolled.recordings[0].created).total_seconds() == pytest.approx(
        SHORT_S, abs=1e-3
    )
    assert client.verify("slt", CALL, domain="short").accepted
    time.sleep(max(0.0, (enrolled.expires - datetime.now(UTC)).total_seconds()) + 0.05)
    result = client.verify("slt", CALL, domain="short")
    assert result.decision is Decision.SPEAKER_EXPIRED
    assert result.scores[0].score is None
    assert client.verify(Everyone(), CALL, domain="short").scores == ()
    assert client.get_speaker("slt", domain="short").state is SpeakerState.EXPIRED
    again = client.enroll("slt", ENROL, domain="short")
    assert again.recording_consistency is None
    assert [one.recording_id for one in again.speaker.recordings] == [again.recording_id]
    assert client.verify("slt", CALL, domain="short").accepted


def test_the_last_use_is_that_of_an_accepted_verification(client: Client) -> None:
    client.enroll("used", ENROL)
    rejected = read_audio(VOICES / "rms-call.flac")
    assert not client.verify("used", rejected).accepted
    assert client.get_speaker("used").last_used is None
    before = client.get_speaker("used").updated
    assert list(client.verify_stream("used", CALL.pieces(100), CALL.format))[-1].accepted
    deadline = time.monotonic() + 5
    while (speaker := client.get_speaker("used")).last_used is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert timedelta(0) <= datetime.now(UTC) - speaker.last_used <= timedelta(hours=1, seconds=5)
    assert speaker.updated == before
    assert speaker.expires is not None


def test_consent_is_told_kept_and_changed(client: Client) -> None:
    agreed = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert client.enroll("agreed", ENROL, consent=agreed).speaker.consent == agreed
    later = agreed + timedelta(days=3)
    assert client.update_speaker("agreed", consent=later).consent == later
    stored = client.get_speaker("agreed")
    assert stored.consent == later
    assert stored.recordings[0].quality is not None
    client.opt_out("agreed")
    assert client.get_speaker("agreed").consent is None
    with pytest.raises(NotPossible) as refused:
        client.update_speaker("agreed", consent=later)
    assert refused.value.reason == "SPEAKER_OPTED_OUT"


@pytest.mark.parametrize(
    "when", [datetime.now(UTC) + timedelta(hours=1), datetime(1960, 1, 1, tzinfo=UTC)]
)
def test_a_consent_that_cannot_be_is_refused(client: Client, when: datetime) -> None:
    for call in (
        lambda: client.enroll("never", ENROL, consent=when),
        lambda: client.update_speaker("used", consent=when),
    ):
        with pytest.raises(InvalidRequest) as refused:
            call()
        assert [one.field for one in refused.value.field_violations] == ["consent_time"]
    with pytest.raises(InvalidRequest, match="time zone"):
        client.enroll("never", ENROL, consent=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--expiry-age-days-of=bank=30", "domain 'bank' is none of calls.domains"),
        ("--expiry-unused-days-of=default:30", "DOMAIN=DAYS"),
        ("--expiry-age-days=-1", "expiry.age_days"),
    ],
)
def test_settings_that_cannot_be_stop_the_start(tmp_path: Path, flag: str, problem: str) -> None:
    ended = speakerd("serve", "--server-address=127.0.0.1:0", flag, folder=tmp_path)
    assert ended.returncode == 2
    assert problem in ended.stderr
