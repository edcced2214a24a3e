from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import kaldi_native_fbank
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import FrontEndDescription
from speakerd_server.errors import OptionInvalid
from speakerd_server.models.front_end import (
    FAMILIES,
    FLOOR,
    MEL_BINS,
    WINDOWS,
    fingerprint,
    front_end,
)
from speakerd_server.values import Float32
from support.shared import shared_path


def noise(samples: int) -> Float32:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_features_agree_with_torchaudio(family: FrontEndDescription) -> None:
    golden = np.load(shared_path(f"reference/fbank_{family.family}.npz"))
    for utterance, wanted in golden.items():
        speaker = utterance.split("-")[0]
        path = shared_path(f"data/librispeech/eval/{speaker}/{utterance}.flac")
        pcm, _ = soundfile.read(path, dtype="float32")
        features = front_end(family).log_mel(pcm)
        assert features.shape == wanted.shape
        assert np.abs(features - wanted).mean() <= 1e-3


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (559, 1), (560, 2), (32000, 198)])
def test_a_frame_needs_all_its_samples(samples: int, frames: int) -> None:
    features = front_end(FAMILIES["3dspeaker"]).log_mel(noise(samples))
    assert features.shape == (frames, MEL_BINS)
    assert features.dtype == np.float32


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_constant_is_as_silent_as_silence(family: FrontEndDescription) -> None:
    table = front_end(family)
    np.testing.assert_array_equal(table.log_mel(np.zeros(400, np.float32)), np.log(FLOOR))
    # DC is removed up to rounding: what remains is 200 dB below the constant.
    peak = np.square(table.spectrum).sum(axis=1).max()
    loud = np.square(table.spectrum.sum(axis=1)).max()
    assert loud < 1e-10 * peak


def test_a_tone_is_loudest_in_the_bin_of_its_pitch() -> None:
    mels = 1127 * np.log1p(np.array([20.0, 8000.0]) / 700)
    for centre in (10, 40, 70):
        mel = mels[0] + (mels[1] - mels[0]) * (centre + 1) / (MEL_BINS + 1)
        tone_hz = 700 * np.expm1(mel / 1127)
        pcm = np.sin(2 * np.pi * tone_hz / 16000 * np.arange(400)).astype(np.float32)
        (features,) = front_end(FAMILIES["3dspeaker"]).log_mel(pcm)
        assert abs(int(features.argmax()) - centre) <= 1


def test_fingerprints_tell_the_families_apart_and_stay() -> None:
    # Stored voiceprints carry these: a change here makes every stored voiceprint unusable.
    assert fingerprint(FAMILIES["wespeaker"]) == "wespeaker-61c2ee95130b"
    assert fingerprint(FAMILIES["3dspeaker"]) == "3dspeaker-43544c32006a"


def test_the_tables_of_the_families_stay_byte_for_byte() -> None:
    # They are inside the shipped model, which the recipe makes byte for byte.
    digests = {
        name: hashlib.sha256(front_end(family).spectrum.tobytes()).hexdigest()[:16]
        for name, family in FAMILIES.items()
    }
    assert digests == {"wespeaker": "25d3e8fac24e122b", "3dspeaker": "66fa0c78b164490b"}
    for family in FAMILIES.values():
        digest = hashlib.sha256(front_end(family).mel.tobytes()).hexdigest()
        assert digest.startswith("245a6ba69aea9cc1")


def kaldi_log_mel(described: FrontEndDescription, pcm: Float32) -> Float32:
    """Give what Kaldi's code, as a library, makes of a description: float32[T, M]."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = described.window
    options.frame_opts.preemph_coeff = described.pre_emphasis
    options.mel_opts.num_bins = described.mel_bins
    options.mel_opts.low_freq = described.low_hz
    options.mel_opts.high_freq = described.high_hz
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(16000, (described.sample_scale * pcm).tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])


BASE = FrontEndDescription("described", 32768.0, "povey")


@pytest.mark.parametrize(
    "described",
    [
        *(replace(BASE, window=window) for window in WINDOWS),
        replace(BASE, mel_bins=40),
        replace(BASE, mel_bins=64, low_hz=60.0, high_hz=7600.0),
        replace(BASE, high_hz=-400.0),
        replace(BASE, high_hz=0.0, low_hz=0.0),
        replace(BASE, pre_emphasis=0.0),
        replace(BASE, pre_emphasis=1.0, window="hanning"),
        replace(BASE, sample_scale=1.0, window="rectangular", pre_emphasis=0.5),
        replace(BASE, mel_bins=23, high_hz=3800.0),
    ],
    ids=str,
)
def test_described_front_ends_are_what_kaldi_makes_of_them(described: FrontEndDescription) -> None:
    pcm = noise(16000)
    features, wanted = front_end(described).log_mel(pcm), kaldi_log_mel(described, pcm)
    assert features.shape == wanted.shape == (98, described.mel_bins)
    assert np.abs(features - wanted).max() <= 2e-3
    assert np.abs(features - wanted).mean() <= 1e-4


def test_kaldi_s_offset_from_the_nyquist_rate_is_the_same_front_end() -> None:
    absolute, offset = replace(BASE, high_hz=7600.0), replace(BASE, high_hz=-400.0)
    np.testing.assert_array_equal(front_end(absolute).mel, front_end(offset).mel)
    assert fingerprint(absolute) == fingerprint(offset)


CHANGES: dict[str, tuple[Any, ...]] = {
    "sample_scale": (1.0, 32767.0, 32767.99),
    "window": ("hamming", "hanning", "rectangular"),
    "mel_bins": (40, 64, 81),
    "low_hz": (0.0, 20.000001, 60.0),
    "high_hz": (7999.9999, 7600.0, -500.0),
    "pre_emphasis": (0.0, 0.95, 0.9700001),
    "mean_removed": (False,),
}


def test_every_number_of_a_description_decides_its_fingerprint() -> None:
    others = [replace(BASE, **{key: value}) for key, row in CHANGES.items() for value in row]
    assert len({fingerprint(one) for one in [BASE, *others]}) == len(others) + 1
    assert fingerprint(BASE).startswith("described-")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mel_bins": 0}, "mel_bins: 0 is not between 1 and 256"),
        ({"mel_bins": 257}, "mel_bins"),
        ({"window": "blackman"}, "window: 'blackman' is unknown; there is hamming, povey"),
        ({"low_hz": -1.0}, "low_hz"),
        ({"low_hz": 8000.0}, "low_hz"),
        ({"low_hz": float("nan")}, "low_hz"),
        ({"high_hz": 8000.1}, "high_hz: 8000.1 is above 8000"),
        ({"high_hz": float("inf")}, "high_hz"),
        ({"high_hz": float("nan")}, "high_hz"),
        ({"high_hz": -8000.0}, "high_hz"),
        ({"low_hz": 300.0, "high_hz": 300.0}, "the upper edge, 300 Hz, is not above low_hz, 300"),
        ({"low_hz": 1.0, "high_hz": 20.0}, "nothing lies between 1 and 20 Hz"),
        ({"pre_emphasis": 1.01}, "pre_emphasis"),
        ({"pre_emphasis": -0.1}, "pre_emphasis"),
        ({"sample_scale": 0.0}, "sample_scale"),
        ({"sample_scale": float("nan")}, "sample_scale"),
    ],
)
def test_impossible_descriptions_are_refused_by_the_field(
    change: dict[str, Any], problem: str
) -> None:
    described = replace(BASE, **change)
    for refuse in (front_end, fingerprint):
        with pytest.raises(OptionInvalid, match=problem):
            refuse(described)


@given(
    st.builds(
        FrontEndDescription,
        st.just("described"),
        st.floats(1e-3, 1e6),
        st.sampled_from(WINDOWS),
        st.integers(1, 128),
        st.floats(0, 7900),
        st.floats(-8000, 8000),
        st.floats(0, 1),
        st.booleans(),
    )
)
def test_any_description_gives_finite_features_or_a_refusal(described: FrontEndDescription) -> None:
    try:
        features = front_end(described).log_mel(noise(720))
    except OptionInvalid:
        return
    assert features.shape == (3, described.mel_bins)
    assert np.isfinite(features).all()
