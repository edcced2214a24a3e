"""Calls that go wrong on a line, on a daemon with the gate and the limits as shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from speakerd_client import Audio, AudioFormat, Client, Decision, Encoding, Verification, read_audio
from speakerd_server.offline.telephone import to_line
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, pcm16, read

CALLER, AGENT = read(VOICES / "slt-call.flac"), read(VOICES / "rms-call.flac")
LINE = to_line(CALLER, RATE_HZ)
HOUR_BYTES = 8_000 * 3_600
PHONE = AudioFormat(Encoding.MULAW, 8_000)
NOISE_KB = 32_768
"""What messages on their way make of it; an hour of the call's bytes alone would be 28 125."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = (
        "--gate-enabled=true",
        "--quality-minimum-snr-db=4",
        "--quality-maximum-clipping-share=0.1",
        "--quality-minimum-level-dbfs=-60",
    )
    with Daemon(tmp_path_factory.mktemp("odd"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        connected.enroll("odd-slt", read_audio(VOICES / "slt-enrol.flac"))
        yield connected


def resident_kb(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def silence(daemon: Daemon, hours: int, resident: list[int]) -> Iterator[bytes]:
    """Give the bytes of a silent call, and note after each hour what the daemon takes."""
    for _ in range(hours):
        for _ in range(40):
            yield b"\xff" * (HOUR_BYTES // 40)
        resident.append(resident_kb(daemon))


@pytest.mark.timeout(180)
def test_a_day_of_silence_ends_without_a_decision_and_takes_no_memory(
    client: Client, daemon: Daemon
) -> None:
    resident: list[int] = []
    day = silence(daemon, 24, resident)
    final = list(client.verify_stream("odd-slt", day, PHONE, update_interval_s=60.0))[-1]
    assert final.audio_received_s == 86_400
    assert (final.decision, final.net_speech_s) == (Decision.NOT_ENOUGH_SPEECH, 0.0)
    assert final.window_count == 0
    assert max(resident[2:]) - resident[1] < NOISE_KB


def test_hours_of_silence_in_a_call_of_one_window_take_no_memory(
    client: Client, daemon: Daemon
) -> None:
    resident: list[int] = []
    hours = silence(daemon, 4, resident)
    (final,) = client.verify_stream("odd-slt", hours, PHONE, samples_per_chunk=-1)
    assert final.audio_received_s == 4 * 3_600
    assert final.decision is Decision.NOT_ENOUGH_SPEECH
    assert max(resident[1:]) - resident[0] < NOISE_KB


def test_a_call_that_is_only_the_other_party_is_not_enough_speech(client: Client) -> None:
    quiet = 0.0005 * np.random.default_rng(0).standard_normal(len(AGENT)).astype(np.float32)
    both = np.stack([quiet, AGENT], axis=1)
    for channel, decision in ((1, Decision.NOT_ENOUGH_SPEECH), (2, Decision.REJECT)):
        two = AudioFormat(Encoding.PCM16LE, RATE_HZ, 2, channel)
        result = client.verify("odd-slt", Audio(pcm16(both.reshape(-1)), two))
        assert result.decision is decision, result.reason
    assert result.net_speech_s > 3


def declared(client: Client, content: bytes, encoding: Encoding, rate_hz: int) -> Verification:
    whole = content[: len(content) // 4 * 4]
    return client.verify("odd-slt", Audio(whole, AudioFormat(encoding, rate_hz)))


def test_audio_of_another_code_than_declared_is_never_accepted(client: Client) -> None:
    right = declared(client, LINE, Encoding.MULAW, 8_000)
    assert right.net_speech_s > 3
    assert right.decision is Decision.ACCEPT
    for encoding, rate_hz in (
        (Encoding.PCM16LE, 8_000),
        (Encoding.PCM16LE, 16_000),
        (Encoding.ALAW, 48_000),
        (Encoding.MULAW, 24_000),
    ):
        result = declared(client, LINE, encoding, rate_hz)
        assert result.decision is not Decision.ACCEPT, (encoding, rate_hz, result.reason)
    as_bytes = declared(client, pcm16(CALLER), Encoding.MULAW, 16_000)
    assert as_bytes.decision is not Decision.ACCEPT
