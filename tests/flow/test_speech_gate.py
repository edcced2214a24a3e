"""What is no speech is not heard as speech, through a real daemon with its own settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from speakerd_client import (
    Audio,
    AudioFormat,
    Band,
    Client,
    Decision,
    Encoding,
    Everyone,
    Policy,
    QualityLimits,
    ScoreScale,
    errors,
)
from speakerd_server.offline.telephone import to_line
from support.daemon import Daemon
from support.shared import shared_path
from support.speech import RATE_HZ, VOICES, Float32, eval_ids, eval_utterance, pcm16, read

FORMAT = AudioFormat(Encoding.PCM16LE, RATE_HZ)
VOICE = VOICES / "rms-call.flac"
SECONDS = 12


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    limits = "--quality-minimum-snr-db=4"
    with Daemon(tmp_path_factory.mktemp("gate"), "--gate-enabled=true", limits) as running:
        yield running


@pytest.fixture(scope="module")
def client(gated: Daemon) -> Iterator[Client]:
    with Client(gated.address) as connected:
        connected.enroll("rms", audio(read(VOICES / "rms-enrol.flac")))
        yield connected


def audio(samples: Float32) -> Audio:
    return Audio(pcm16(samples), FORMAT)


def tone(*frequencies_hz: float) -> Float32:
    time_s = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    waves = [np.sin(2 * np.pi * one * time_s) for one in frequencies_hz]
    return np.asarray(np.sum(waves, axis=0) * 0.4 / len(waves), np.float32)


def switched(signal: Float32, on_s: float, off_s: float) -> Float32:
    time_s = np.arange(len(signal)) / RATE_HZ
    return np.where(time_s % (on_s + off_s) < on_s, signal, 0).astype(np.float32)


def noise(level: float) -> Float32:
    found = np.random.default_rng(1).standard_normal(SECONDS * RATE_HZ) * level
    return np.rint(found * 32768).astype(np.float32) / np.float32(32768)


def music() -> Float32:
    """Make chords that change twice a second, and a drum on each beat."""
    time_s = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    beat_s, chord = time_s % 0.5, np.floor(time_s * 2).astype(int)
    roots = np.array([220.0, 261.6, 196.0, 174.6, 246.9])[chord % 5]
    notes = [np.sin(2 * np.pi * roots * step * time_s) for step in (1, 1.25, 1.5, 2, 3)]
    drum = np.random.default_rng(2).standard_normal(len(time_s)) * np.exp(-beat_s * 40)
    mixed = 0.08 * np.sum(notes, axis=0) * np.exp(-beat_s * 2) + 0.2 * drum
    return np.asarray(mixed, np.float32)


NO_SPEECH: Mapping[str, Callable[[], Float32]] = {
    "silence": lambda: np.zeros(SECONDS * RATE_HZ, np.float32),
    "near silence": lambda: noise(0.7 / 32768),
    "quiet noise": lambda: noise(0.001),
    "noise": lambda: noise(0.05),
    "loud noise": lambda: noise(0.4),
    "mains hum": lambda: tone(50, 100, 150, 250),
    "keys": lambda: switched(tone(770, 1336), 0.1, 0.1),
    "ring-back": lambda: switched(tone(440, 480), 2, 4),
    "busy": lambda: switched(tone(425), 0.5, 0.5),
    "music": music,
}


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_what_is_no_speech_is_not_enough_speech(client: Client, kind: str) -> None:
    result = client.verify("rms", audio(NO_SPEECH[kind]()))
    assert result.decision is Decision.NOT_ENOUGH_SPEECH
    assert result.net_speech_s < 1.0
    assert all(one.score is None for one in result.scores)


@pytest.mark.parametrize("kind", ["silence", "noise", "ring-back"])
def test_what_is_no_speech_cannot_be_enrolled(client: Client, kind: str) -> None:
    with pytest.raises(errors.SpeakerdError) as refused:
        client.enroll("nobody", audio(NO_SPEECH[kind]()))
    assert refused.value.reason in ("AUDIO_WITHOUT_VOICE", "NOT_ENOUGH_SPEECH")
    with pytest.raises(errors.NotFound):
        client.get_speaker("nobody")


def test_pauses_are_no_speech_and_change_little(client: Client) -> None:
    voice, pause = read(VOICE), np.zeros(3 * RATE_HZ, np.float32)
    plain = client.verify("rms", audio(voice))
    paused = client.verify("rms", audio(np.concatenate([pause, voice, pause])))
    assert plain.decision is paused.decision is Decision.ACCEPT
    assert paused.net_speech_s == pytest.approx(plain.net_speech_s, abs=0.2)
    assert plain.net_speech_s < len(voice) / RATE_HZ
    assert paused.scores[0].score == pytest.approx(plain.scores[0].score, abs=0.02)


def test_updates_count_speech_and_go_on_in_silence(client: Client) -> None:
    silence = np.zeros(7 * RATE_HZ, np.float32)
    whole = pcm16(np.concatenate([silence, read(VOICE), silence]))
    pieces = [whole[at : at + 3200] for at in range(0, len(whole), 3200)]
    results = list(client.verify_stream("rms", pieces, FORMAT))
    speech_s = [one.net_speech_s for one in results]
    assert speech_s == sorted(speech_s)
    assert speech_s[:3] == [0.0, 0.0, 0.0]
    assert results[0].decision is Decision.NOT_ENOUGH_SPEECH
    assert results[-1].decision is Decision.ACCEPT
    quiet = [one for one in results if one.audio_received_s > 7 + len(read(VOICE)) / RATE_HZ + 1]
    assert len(quiet) >= 3


def test_a_stream_says_what_the_whole_recording_says(client: Client) -> None:
    whole = pcm16(np.concatenate([read(VOICE), np.zeros(RATE_HZ, np.float32), read(VOICE)]))
    at_once = client.verify("rms", Audio(whole, FORMAT))
    for size in (1_111, 16_000, len(whole)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        final = list(client.verify_stream("rms", pieces, FORMAT))[-1]
        assert final.scores[0].score == pytest.approx(at_once.scores[0].score, abs=1e-4)
        assert final.net_speech_s == at_once.net_speech_s
        assert final.window_count == at_once.window_count


def test_a_call_chooses_by_itself(client: Client) -> None:
    hum = audio(NO_SPEECH["mains hum"]())
    assert client.verify("rms", hum, speech_gate=False).net_speech_s == pytest.approx(SECONDS)
    assert client.verify("rms", hum, speech_gate=True).net_speech_s == 0
    assert len(client.embed(hum).vector) == 192
    with pytest.raises(errors.InvalidRequest) as refused:
        client.embed(hum, speech_gate=True)
    assert refused.value.reason == "AUDIO_WITHOUT_VOICE"


def test_a_voice_in_noise_is_poor_audio_and_a_policy_may_take_it(client: Client) -> None:
    voice = read(VOICE)
    hiss = np.random.default_rng(3).standard_normal(len(voice)) * voice.std() * 1.4
    noisy = audio(np.asarray((voice + hiss) * 0.3, np.float32))
    found = client.verify("rms", noisy, speech_gate=False)
    assert found.decision is Decision.POOR_AUDIO
    assert "signal-to-noise ratio is" in found.reason
    assert found.quality is not None
    assert found.quality.snr_db is not None
    assert found.quality.snr_db < 4
    anyhow = Policy(quality=QualityLimits(minimum_snr_db=-20))
    judged = client.verify("rms", noisy, speech_gate=False, policy=anyhow)
    assert judged.decision is not Decision.POOR_AUDIO
    assert judged.settings.policy.quality == QualityLimits(-20, 1, -100)
    wrong = Policy(quality=QualityLimits(maximum_clipping_share=1.5))
    with pytest.raises(errors.InvalidRequest, match="maximum_clipping_share"):
        client.verify("rms", noisy, policy=wrong)


def test_a_call_says_over_what_band_it_came(client: Client) -> None:
    voice = read(VOICE)
    line = Audio(to_line(voice, RATE_HZ), AudioFormat(Encoding.MULAW, 8_000))
    assert client.verify("rms", audio(voice)).band is Band.WIDE
    assert client.verify("rms", line).band is Band.NARROW
    assert client.embed(line).band is Band.NARROW


def test_the_thresholds_are_those_of_the_bands_of_both_sides(client: Client) -> None:
    """A stranger who is alike over a line is not let in because both sides are narrow."""

    def line(name: str) -> Audio:
        return Audio(to_line(read(VOICES / name), RATE_HZ), AudioFormat(Encoding.MULAW, 8_000))

    stored = client.enroll("rms-line", line("rms-enrol.flac"))
    assert stored.speaker.recordings[0].band is Band.NARROW
    pairs = {
        ("rms-line", "line"): ("narrow-narrow", 0.62, 0.52),
        ("rms", "line"): ("wide-narrow", 0.42, 0.33),
        ("rms-line", "wide"): ("wide-narrow", 0.42, 0.33),
        ("rms", "wide"): ("wide-wide", 0.5, 0.4),
    }
    for (claimed, kind), (bands, accept_at, reject_below) in pairs.items():
        sound = line("rms-call.flac") if kind == "line" else audio(read(VOICE))
        result = client.verify(claimed, sound)
        held = result.scores[0]
        assert (held.bands, held.accept_at, held.reject_below) == (bands, accept_at, reject_below)
        assert result.decision is Decision.ACCEPT
    searched = client.verify(Everyone(), line("rms-call.flac"))
    assert searched.scores[0].bands == "narrow-narrow"
    own = client.verify(
        "rms-line", line("rms-call.flac"), policy=Policy(ScoreScale.COSINE, accept_at=0.3)
    )
    assert (own.scores[0].bands, own.scores[0].accept_at) == ("narrow-narrow", 0.3)
    compared = client.compare(line("rms-call.flac"), line("awb-call.flac"))
    assert compared.decision is not Decision.ACCEPT


def test_babble_is_never_accepted(client: Client) -> None:
    """Twenty talkers at once, each of whom is then claimed, and a speaker who is not among them."""
    talkers = sorted(shared_path("data/librispeech/cohort").glob("*.flac"))[:20]
    voices = [read(path)[: 5 * RATE_HZ] for path in talkers]
    mixed = np.sum([voice / voice.std() for voice in voices], axis=0)
    babble = audio((mixed * 0.8 / np.abs(mixed).max()).astype(np.float32))
    for number, voice in enumerate(voices[:5]):
        client.enroll(f"talker-{number}", audio(voice), minimum_speech_s=2.0)
    for claimed in ("rms", *(f"talker-{number}" for number in range(5))):
        found = client.verify(claimed, babble).decision
        assert found in (Decision.POOR_AUDIO, Decision.NOT_ENOUGH_SPEECH)


def test_speech_of_every_speaker_is_speech(client: Client) -> None:
    shares = []
    for name in eval_ids()[::5]:
        samples = eval_utterance(name)
        result = client.verify("rms", audio(samples))
        shares.append(result.net_speech_s * RATE_HZ / len(samples))
    assert min(shares) > 0.6
