"""Two channels in streams, and files in calls that send audio whole, through a real daemon."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
from speakerd.v1 import audio_pb2, enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_client import (
    Audio,
    AudioFile,
    AudioFormat,
    Client,
    Container,
    Decision,
    Encoding,
    errors,
    read_file,
)
from speakerd_server.offline.telephone import to_line
from support import wire
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, Float32, pcm16, read

CALLER, AGENT = read(VOICES / "slt-call.flac"), read(VOICES / "awb-call.flac")
PCM16, FLAC = audio_pb2.AUDIO_ENCODING_PCM16LE, audio_pb2.AUDIO_ENCODING_FLAC
WAV, OPUS = audio_pb2.AUDIO_ENCODING_WAV, audio_pb2.AUDIO_ENCODING_OGG_OPUS


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        format_ = AudioFormat(Encoding.PCM16LE, RATE_HZ)
        connected.enroll("sides-slt", Audio(pcm16(read(VOICES / "slt-enrol.flac")), format_))
        yield connected


def two_sided(encoding: Encoding) -> tuple[bytes, bytes, int]:
    """Give a call of two channels, its first alone, and the rate."""
    length = min(len(CALLER), len(AGENT))
    sides = [CALLER[:length], AGENT[:length]]
    rate_hz = 8_000 if encoding in (Encoding.MULAW, Encoding.ALAW) else RATE_HZ
    if rate_hz == 8_000:
        lines = [np.frombuffer(to_line(side, RATE_HZ), np.uint8) for side in sides]
    else:
        kind = "<f4" if encoding is Encoding.FLOAT32LE else "<i2"
        contents = [s.astype("<f4").tobytes() if kind == "<f4" else pcm16(s) for s in sides]
        lines = [np.frombuffer(content, kind) for content in contents]
    return np.stack(lines, axis=1).tobytes(), lines[0].tobytes(), rate_hz


@pytest.mark.parametrize("encoding", Encoding)
def test_the_chosen_side_of_a_call_is_heard_and_the_other_is_not(
    client: Client, encoding: Encoding
) -> None:
    both, first, rate_hz = two_sided(encoding)
    pieces = [both[at : at + 999] for at in range(0, len(both), 999)]
    finals = [
        list(client.verify_stream("sides-slt", pieces, AudioFormat(encoding, rate_hz, 2, side)))[-1]
        for side in (1, 2)
    ]
    alone = client.verify("sides-slt", Audio(first, AudioFormat(encoding, rate_hz)))
    assert finals[0].scores[0].score == pytest.approx(alone.scores[0].score, abs=1e-4)
    assert finals[0].committed_samples == alone.committed_samples
    assert finals[0].audio_received_s == alone.audio_received_s
    assert finals[1].decision is not Decision.ACCEPT
    if encoding is not Encoding.ALAW:  # mu-law codes read as A-law are noisy
        assert finals[0].decision is Decision.ACCEPT


@pytest.mark.parametrize("container", Container)
def test_a_file_says_what_its_samples_say(
    client: Client, container: Container, tmp_path: Path
) -> None:
    path = tmp_path / "call"
    kind = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg_opus": ("OGG", "OPUS")}
    form, subtype = kind[container.value]
    soundfile.write(path, CALLER, RATE_HZ, format=form, subtype=subtype)
    plain = client.verify("sides-slt", Audio(pcm16(CALLER), AudioFormat(sample_rate_hz=RATE_HZ)))
    found = client.verify("sides-slt", read_file(path))
    near = 0.1 if container is Container.OGG_OPUS else 1e-4
    assert found.scores[0].score == pytest.approx(plain.scores[0].score, abs=near)
    assert found.audio_received_s == pytest.approx(plain.audio_received_s, abs=0.001)
    assert client.compare(read_file(path), read_file(path)).decision is Decision.ACCEPT
    assert len(client.embed(read_file(path)).vector) == 192
    client.enroll(f"file-{container.value}", read_file(path))
    assert client.get_speaker(f"file-{container.value}").recordings


def flac_of(channels: int) -> bytes:
    written = io.BytesIO()
    sides: Float32 = np.stack([CALLER] * channels, axis=1)
    soundfile.write(written, sides, RATE_HZ, format="FLAC")
    return written.getvalue()


WRONG = {
    "three channels": (
        {"encoding": PCM16, "channels": 3, "channel": 1},
        b"\0" * 6,
        "CHANNELS_UNSUPPORTED",
    ),
    "minus one channel": ({"encoding": PCM16, "channels": -1}, b"\0" * 6, "CHANNELS_UNSUPPORTED"),
    "channel 2 of mono": ({"encoding": PCM16, "channel": 2}, b"\0" * 6, "CHANNEL_UNKNOWN"),
    "none of two": ({"encoding": PCM16, "channels": 2}, b"\0" * 8, "CHANNEL_UNKNOWN"),
    "channel 3 of two": (
        {"encoding": PCM16, "channels": 2, "channel": 3},
        b"\0" * 8,
        "CHANNEL_UNKNOWN",
    ),
    "half of two": (
        {"encoding": PCM16, "channels": 2, "channel": 1},
        b"\0\1" * 16_001,
        "AUDIO_INCOMPLETE_SAMPLE",
    ),
    "no file": ({"encoding": FLAC, "sample_rate_hz": 0}, b"no flac", "AUDIO_FILE_INVALID"),
    "empty file": ({"encoding": FLAC, "sample_rate_hz": 0}, b"", "NO_AUDIO"),
    "another file": ({"encoding": OPUS, "sample_rate_hz": 0}, flac_of(1), "AUDIO_FILE_INVALID"),
    "cut file": ({"encoding": FLAC, "sample_rate_hz": 0}, flac_of(1)[:9_000], "AUDIO_FILE_INVALID"),
    "file of three": (
        {"encoding": FLAC, "sample_rate_hz": 0, "channel": 1},
        flac_of(3),
        "CHANNELS_UNSUPPORTED",
    ),
    "none of a file's two": (
        {"encoding": FLAC, "sample_rate_hz": 0},
        flac_of(2),
        "CHANNEL_UNKNOWN",
    ),
    "another rate": (
        {"encoding": FLAC, "sample_rate_hz": 8000},
        flac_of(1),
        "SAMPLE_RATE_CONTRADICTED",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_audio_is_refused_by_name_and_the_next_call_is_served(
    daemon: Daemon, client: Client, kind: str
) -> None:
    given, content, reason = WRONG[kind]
    format_ = audio_pb2.AudioFormat(**({"sample_rate_hz": RATE_HZ} | given))  # type: ignore[arg-type]
    with wire.connected(daemon.address) as stubs:
        config = pb.VerificationConfig(audio_format=format_, speaker_id="sides-slt")
        enrolling = enrollment_pb2.EnrollmentConfig(audio_format=format_, speaker_id="sides-no")
        audio = pb.Audio(format=format_, content=content)
        calls = (
            lambda: stubs.verification.Verify(pb.VerifyRequest(config=config, audio=content)),
            lambda: stubs.verification.Embed(pb.EmbedRequest(audio=audio)),
            lambda: stubs.enrollment.EnrollSpeaker(
                enrollment_pb2.EnrollSpeakerRequest(config=enrolling, audio=content)
            ),
        )
        for call in calls:
            with pytest.raises(grpc.RpcError) as failed:
                call()
            refusal = wire.refusal(failed.value)
            assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
            assert refusal.reason == reason
            assert refusal.fields
    good = client.verify("sides-slt", Audio(pcm16(CALLER), AudioFormat(sample_rate_hz=RATE_HZ)))
    assert good.decision is Decision.ACCEPT


@pytest.mark.parametrize("encoding", [WAV, FLAC])
def test_a_stream_takes_no_file_and_says_what_it_takes(daemon: Daemon, encoding: int) -> None:
    config = pb.VerificationConfig(audio_format=audio_pb2.AudioFormat(encoding=encoding))  # type: ignore[arg-type]
    with wire.connected(daemon.address) as stubs, pytest.raises(grpc.RpcError) as failed:
        list(stubs.verification.StreamVerify(wire.stream_requests(config, [b"fLaC"])))
    refusal = wire.refusal(failed.value)
    assert refusal.reason == "ENCODING_UNSUPPORTED"
    assert "in a stream" in refusal.message
    assert "PCM16LE" in refusal.message


def test_the_sdk_tells_mistakes_before_anything_is_sent(client: Client) -> None:
    for wrong in (
        lambda: AudioFormat(channels=3),
        lambda: AudioFormat(channels=2),
        lambda: AudioFormat(channel=2),
        lambda: AudioFile(b"", Container.FLAC, 3),
    ):
        with pytest.raises(ValueError, match="channel"):
            wrong()
    with pytest.raises(errors.AudioFileError, match="neither WAV nor FLAC"):
        read_file(__file__)
    with pytest.raises(errors.AudioFileError, match="No such file"):
        read_file("/nonexistent.wav")
