from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_server.cards import Bundle
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import (
    AudioFileUnusable,
    AudioTooLong,
    AudioTooShort,
    AudioWithoutVoice,
    NoAudio,
    SamplesPerChunkInvalid,
    SpeakerdError,
)
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.embedding import LONGEST_WHOLE_S, Embedded, Extractor, usable_cores
from speakerd_server.offline.lists import Listed
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding, Float32, Utterance
from support.speech import RATE_HZ, eval_ids, eval_utterance, pcm16


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(shipped_bundle())


@pytest.fixture(scope="module")
def extractor(bundle: Bundle) -> Extractor:
    return Extractor(bundle, threads=2)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Listed]:
    """Ten cuts of real speech as files."""
    folder = tmp_path_factory.mktemp("recordings")
    listed = []
    for number, utterance_id in enumerate(eval_ids()[:10]):
        path = folder / f"{number}.wav"
        soundfile.write(path, eval_utterance(utterance_id)[: 20_000 + 4_000 * number], RATE_HZ)
        listed.append(Listed(f"u{number}", path, number + 1))
    return listed


def through_session(bundle: Bundle, samples: Float32, samples_per_chunk: int) -> Utterance:
    """Do what the daemon does, one window at a time."""
    audio_format = AudioFormat(Encoding.PCM16LE, RATE_HZ)
    session = Session(SessionSettings(audio_format, bundle.card, samples_per_chunk))
    backend = OnnxRuntimeCpu(bundle)
    windows = [*session.push(pcm16(samples)).windows, *session.end().windows]
    for window in windows:
        session.absorb_embedding(window, backend.embed(window.pcm[None], window.rows[None])[0])
    return session.utterance


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("samples_per_chunk", [32000, 48000, 8000, -1])
@pytest.mark.parametrize("samples", [16_000, 32_000, 31_680 * 2 + 400, 150_000])
def test_the_embedding_is_the_daemons(bundle: Bundle, samples_per_chunk: int, samples: int) -> None:
    speech = eval_utterance("1688-142285-0000")[:samples]
    found = Extractor(bundle, samples_per_chunk=samples_per_chunk).embed_counted(speech)
    expected = through_session(bundle, speech, samples_per_chunk)
    assert found.embedding.dtype == np.float64
    assert found.embedding.shape == (bundle.card.dim,)
    assert cosine(found.embedding, expected.mean) >= 1 - 1e-6
    assert found.windows == expected.window_count
    assert found.seconds == samples / RATE_HZ


def test_silence_inside_a_recording_is_left_out_as_in_a_call(
    bundle: Bundle, extractor: Extractor
) -> None:
    speech = eval_utterance("1688-142285-0000")
    samples = np.concatenate([speech[:31_680], np.zeros(31_680 * 2, np.float32), speech[:50_000]])
    found = extractor.embed_counted(samples)
    expected = through_session(bundle, samples, 32000)
    assert found.windows == expected.window_count < 6
    assert expected.windows_without_variance >= 1
    assert cosine(found.embedding, expected.mean) >= 1 - 1e-6


def test_a_recording_without_voice_has_no_embedding(extractor: Extractor) -> None:
    with pytest.raises(AudioWithoutVoice) as refused:
        extractor.embed(np.zeros(100_000, np.float32))
    assert refused.value.windows == 4


def test_too_little_audio_has_no_embedding(bundle: Bundle, extractor: Extractor) -> None:
    speech = eval_utterance("1688-142285-0000")[10_000:]
    with pytest.raises(NoAudio):
        extractor.embed(speech[:0])
    with pytest.raises(AudioTooShort):
        extractor.embed(speech[:399])
    whole = Extractor(bundle, samples_per_chunk=-1)
    with pytest.raises(AudioTooShort):
        whole.embed(speech[:719])
    assert np.isfinite(whole.embed(speech[:720])).all()


def test_a_whole_recording_is_one_window_up_to_a_limit(bundle: Bundle) -> None:
    whole = Extractor(bundle, samples_per_chunk=-1)
    assert whole.embed_counted(eval_utterance("1688-142285-0000")).windows == 1
    with pytest.raises(AudioTooLong, match="300 s; ask for windows"):
        whole.embed(np.zeros(LONGEST_WHOLE_S * RATE_HZ + 1, np.float32))


@pytest.mark.timeout(120)
def test_the_longest_whole_recording_is_embedded(bundle: Bundle) -> None:
    speech = np.resize(eval_utterance("1688-142285-0000"), LONGEST_WHOLE_S * RATE_HZ)
    found = Extractor(bundle, samples_per_chunk=-1).embed_counted(speech)
    assert found.windows == 1
    assert np.isfinite(found.embedding).all()


@pytest.mark.parametrize("samples_per_chunk", [0, -2, 719, 960_001])
def test_windows_that_the_model_cannot_take_are_refused(
    bundle: Bundle, samples_per_chunk: int
) -> None:
    with pytest.raises(SamplesPerChunkInvalid):
        Extractor(bundle, samples_per_chunk=samples_per_chunk)


def test_the_cards_windows_are_taken_unless_others_are_asked_for(bundle: Bundle) -> None:
    assert Extractor(bundle).samples_per_chunk == bundle.card.samples_per_chunk
    assert Extractor(bundle, samples_per_chunk=48000).samples_per_chunk == 48000


def test_files_come_in_their_order_and_to_the_bit_on_any_threads(
    bundle: Bundle, recordings: list[Listed]
) -> None:
    runs = [
        list(Extractor(bundle, threads=threads).embed_many(recordings)) for threads in (1, 2, 5)
    ]
    for run in runs:
        assert [listed for listed, _, _ in run] == recordings
        assert all(isinstance(found, np.ndarray) for _, found, _ in run)
        for (_, found, seconds), (_, first, _) in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(found, first)
            assert seconds >= 1.25


def test_a_file_that_fails_does_not_stop_the_others(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path
) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(40_000, np.float32), RATE_HZ)
    mixed = [
        Listed("gone", tmp_path / "gone.wav", 1),
        recordings[0],
        Listed("silent", silent, 3),
        recordings[1],
    ]
    outcomes = [outcome for _, outcome, _ in extractor.embed_many(mixed)]
    assert isinstance(outcomes[0], AudioFileUnusable)
    assert "gone.wav" in str(outcomes[0])
    assert isinstance(outcomes[2], AudioFileUnusable)
    assert "silent.wav" in str(outcomes[2])
    assert "nothing varies" in str(outcomes[2])
    assert not any(isinstance(outcomes[place], SpeakerdError) for place in (1, 3))


class Watched:
    """A list that counts how many of its entries were taken."""

    def __init__(self, recordings: list[Listed]) -> None:
        self.recordings, self.taken = recordings, 0

    def __iter__(self) -> Iterator[Listed]:
        for listed in self.recordings:
            self.taken += 1
            yield listed


def test_only_a_few_files_are_read_ahead(extractor: Extractor, recordings: list[Listed]) -> None:
    watched = Watched(recordings)
    outcomes = extractor.embed_files(watched)  # type: ignore[arg-type]
    assert len(list(islice(outcomes, 2))) == 2
    assert watched.taken <= 2 + 2 * extractor.threads
    outcomes.close()


def test_closing_ends_the_work_within_a_recording(bundle: Bundle, tmp_path: Path) -> None:
    hour = np.resize(eval_utterance("1688-142285-0000"), 900 * RATE_HZ)
    soundfile.write(tmp_path / "long.wav", hour, RATE_HZ)
    one = Listed("short", tmp_path / "short.wav", 1)
    soundfile.write(one.path, hour[:32_000], RATE_HZ)
    outcomes = Extractor(bundle, threads=2).embed_files(
        [one, Listed("long", tmp_path / "long.wav", 2)]
    )
    assert isinstance(next(outcomes)[1], Embedded)
    before = threading.active_count()
    assert before > 1
    outcomes.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("extract")]


def test_a_file_is_embedded_as_its_samples_are(
    extractor: Extractor, recordings: list[Listed]
) -> None:
    samples, _ = soundfile.read(recordings[5].path, dtype="float32")
    found = extractor.embed_file(recordings[5].path)
    np.testing.assert_array_equal(found.embedding, extractor.embed(samples))


def test_there_is_a_core_to_use() -> None:
    assert usable_cores() >= 1
