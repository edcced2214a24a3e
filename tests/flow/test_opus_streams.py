"""Ogg/Opus in streams, through a real daemon and the SDK."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from speakerd_client import (
    AudioFile,
    Client,
    Container,
    Decision,
    InvalidRequest,
    OggOpus,
    Verification,
    read_audio,
)
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.opus import changed, ogg_opus, pages
from support.speech import VOICES, Float32, read

CALLER, AGENT = read(VOICES / "slt-call.flac"), read(VOICES / "rms-call.flac")
MONO = ogg_opus(CALLER)


def both() -> bytes:
    length = min(len(CALLER), len(AGENT))
    sides: Float32 = np.stack([CALLER[:length], AGENT[:length]], axis=1)
    return ogg_opus(sides)


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        connected.enroll("opus-slt", read_audio(VOICES / "slt-enrol.flac"))
        yield connected


def streamed(
    client: Client, content: bytes, size: int, channel: int | None = None, gate: bool = False
) -> list[Verification]:
    split = [content[at : at + size] for at in range(0, len(content), size)]
    return list(client.verify_stream("opus-slt", split, OggOpus(channel), speech_gate=gate))


@pytest.mark.parametrize("gate", [False, True])
def test_a_stream_is_what_the_whole_file_is(client: Client, gate: bool) -> None:
    whole = client.verify("opus-slt", AudioFile(MONO, Container.OGG_OPUS), speech_gate=gate)
    assert whole.decision is Decision.ACCEPT
    for size in (777, len(MONO)):
        answers = streamed(client, MONO, size, gate=gate)
        final = answers[-1]
        assert final.scores[0].score == pytest.approx(whole.scores[0].score, abs=2e-6)
        assert final.net_speech_s == whole.net_speech_s
        assert final.window_count == whole.window_count
        assert final.committed_samples == round(final.audio_received_s * 16_000)
        assert len(answers) > 2


def test_the_chosen_side_is_heard(client: Client) -> None:
    content = both()
    assert streamed(client, content, 1_000, channel=1)[-1].decision is Decision.ACCEPT
    assert streamed(client, content, 1_000, channel=2)[-1].decision is Decision.REJECT


def test_a_person_enrols_over_a_stream(client: Client) -> None:
    steps = list(client.enroll_stream("opus-rms", [ogg_opus(AGENT)], OggOpus()))
    assert steps[-1].speaker.net_speech_s == pytest.approx(len(AGENT) / 16_000)  # type: ignore[union-attr]
    assert client.delete_speaker("opus-rms") == 1


def test_a_cut_in_the_middle_is_named_after_the_updates_of_what_was_heard(client: Client) -> None:
    updates: list[Verification] = []
    with pytest.raises(InvalidRequest) as refused:
        updates.extend(client.verify_stream("opus-slt", [MONO[:-9]], OggOpus()))
    assert refused.value.reason == "AUDIO_FILE_INVALID"
    assert "in the middle of a page" in str(refused.value)
    assert updates[0].decision is Decision.ACCEPT
    at_a_page = pages(MONO)[:-1]
    final = list(client.verify_stream("opus-slt", at_a_page, OggOpus()))[-1]
    assert final.decision is Decision.ACCEPT


PAGES = pages(MONO)


@pytest.mark.parametrize(
    ("content", "channel", "reason"),
    [
        (b"RIFF" + bytes(100), None, "AUDIO_FILE_INVALID"),
        (MONO[:5000] + b"X" + MONO[5001:], None, "AUDIO_FILE_INVALID"),
        (PAGES[0] + PAGES[2], None, "AUDIO_FILE_INVALID"),
        (MONO + MONO, None, "AUDIO_FILE_INVALID"),
        (
            changed(PAGES[0], body=b"OpusHead\1\3" + bytes(9)) + PAGES[1],
            None,
            "CHANNELS_UNSUPPORTED",
        ),
        (MONO, 2, "CHANNEL_UNKNOWN"),
        (b"", None, "NO_AUDIO"),
    ],
)
def test_bad_streams_end_their_own_call_by_name(
    client: Client, content: bytes, channel: int | None, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        streamed(client, content, 4096, channel)
    assert refused.value.reason == reason
    assert streamed(client, MONO, 4096)[-1].decision is Decision.ACCEPT


def test_the_command_sends_a_stream_as_it_is(
    client: Client, daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "call.opus"
    file.write_bytes(MONO)
    address = ["--address", daemon.address]
    assert run(["verify", "opus-slt", str(file), "--opus", *address]) == 0
    assert capsys.readouterr().out.startswith("ACCEPT  opus-slt")
    piped = subprocess.run(
        [sys.executable, "-m", "speakerd_client", "verify", "opus-slt", "-", "--opus", *address],
        input=MONO,
        capture_output=True,
    )
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.startswith(b"ACCEPT  opus-slt")
    assert run(["verify", "opus-slt", str(file), "--opus", "--realtime", *address]) == 3
    assert "--realtime would do nothing" in capsys.readouterr().err
    assert run(["verify", "opus-slt", str(tmp_path / "no.opus"), "--opus", *address]) == 3
    assert "no.opus" in capsys.readouterr().err
