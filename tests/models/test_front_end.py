from __future__ import annotations

import numpy as np
import pytest
import soundfile
from speakerd_server.cards import FrontEndDescription
from speakerd_server.models.front_end import (
    FAMILIES,
    FLOOR,
    MEL_BINS,
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
