from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.audio.ingest import Ingest
from speakerd_server.offline.telephone import LINE_FORMAT, to_line, with_noise
from speakerd_server.quality.meter import Meter
from speakerd_server.values import Band, Float32
from support.signals import noise
from support.speech import RATE_HZ, VOICES, eval_ids, eval_utterance, read


def meter(samples: Float32) -> Meter:
    found = Meter()
    found.push(samples)
    return found


def line(samples: Float32) -> Float32:
    ingest = Ingest(LINE_FORMAT, RATE_HZ)
    return np.concatenate([ingest.push(to_line(samples, RATE_HZ)), ingest.end()])


def pink(samples: int, seed: int) -> Float32:
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    found = np.fft.irfft(white / np.sqrt(np.maximum(np.arange(len(white)), 1)), samples)
    return np.asarray(found / found.std(), np.float32)


def power_in_band(samples: Float32) -> float:
    """Give the mean square of a signal from 62 Hz up, where the estimate looks."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE_HZ) < 62] = 0
    return float(2 * spectrum.sum() / len(samples) ** 2)


@pytest.mark.parametrize("wanted_db", [0, 5, 10, 15, 20, 25, 30])
@pytest.mark.parametrize("kind", ["white", "pink"])
def test_the_estimate_is_within_3_db_of_speech_with_added_noise(kind: str, wanted_db: int) -> None:
    """Speech is what lies above its own noise, which counts as noise beside what is added."""
    errors = []
    for seed, name in enumerate(eval_ids()[::4]):
        clean = eval_utterance(name)
        own = meter(clean)
        assert own.snr_db is not None
        assert own.level_dbfs is not None
        speech = 0.5 * 10 ** (own.level_dbfs / 10)
        added = noise(len(clean), seed) if kind == "white" else pink(len(clean), seed)
        gain = np.sqrt(speech / 10 ** (wanted_db / 10) / power_in_band(added))
        mixed = speech / (speech / 10 ** (wanted_db / 10) + speech / 10 ** (own.snr_db / 10))
        estimate = meter(np.asarray(clean + gain * added, np.float32)).snr_db
        assert estimate is not None
        errors.append(estimate - 10 * np.log10(mixed))
    assert np.abs(errors).max() <= 3.0
    assert abs(np.mean(errors)) <= 2.0


def test_a_telephone_line_is_narrow_and_a_microphone_is_not() -> None:
    for name in eval_ids():
        clean = eval_utterance(name)
        middle = len(clean) // 2
        for samples in (clean, clean[middle - RATE_HZ : middle + RATE_HZ]):
            assert meter(samples).band is Band.WIDE
            assert meter(line(samples)).band is Band.NARROW


def test_noise_before_the_line_leaves_it_narrow() -> None:
    voice = read(VOICES / "slt-call.flac")
    for snr_db in (20.0, 10.0, 0.0):
        assert meter(line(with_noise(voice, snr_db, 1))).band is Band.NARROW


def test_the_level_is_relative_to_a_full_scale_sine() -> None:
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    bursts = np.sin(2 * np.pi * 500 * time_s) * np.where(time_s % 1 < 0.5, 1.0, 0.01)
    for level_db in (0.0, -20.0, -40.0):
        samples = np.asarray(bursts * 10 ** (level_db / 20), np.float32)
        assert meter(samples).level_dbfs == pytest.approx(level_db, abs=0.7)


@pytest.mark.parametrize("samples", [np.zeros(RATE_HZ * 3, np.float32), noise(8_000)])
def test_silence_and_less_than_a_second_are_not_judged(samples: Float32) -> None:
    found = meter(samples)
    assert (found.snr_db, found.level_dbfs, found.band) == (None, None, None)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=20))
def test_nothing_depends_on_splits(at: list[int]) -> None:
    voice = read(VOICES / "rms-call.flac")[:40_000]
    whole, split = meter(voice), Meter()
    for start, end in zip([0, *sorted(at)], [*sorted(at), len(voice)], strict=True):
        split.push(voice[start:end])
    assert (split.snr_db, split.level_dbfs, split.band) == (
        whole.snr_db,
        whole.level_dbfs,
        whole.band,
    )


@pytest.mark.parametrize("hush", [0.0, 1e-5], ids=["zeros", "dither"])
def test_what_is_silent_beside_noise_says_nothing_of_the_noise(hush: float) -> None:
    """A line that is muted for a while is as noisy as it is when it is not."""
    voice = read(VOICES / "slt-call.flac")
    for wanted_db in (0.0, 10.0, 20.0):
        noisy = with_noise(voice, wanted_db, 1)
        alone = meter(noisy).snr_db
        silence = np.asarray(hush * noise(len(noisy), 2), np.float32)
        for parts in ([noisy, silence], [silence, noisy], [noisy, silence, noisy]):
            assert meter(np.concatenate(parts)).snr_db == pytest.approx(alone, abs=2.0)
