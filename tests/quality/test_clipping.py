from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.audio.decode import Decoder
from speakerd_server.quality.clipping import Clipping
from speakerd_server.values import AudioFormat, Encoding
from support.speech import VOICES, read


def share(samples: list[float], at: list[int] | None = None) -> float:
    clipping = Clipping(Encoding.FLOAT32LE)
    values = np.array(samples, np.float32)
    places = sorted(min(one, len(values)) for one in at or [])
    for start, end in zip([0, *places], [*places, len(values)], strict=True):
        clipping.push(values[start:end])
    return clipping.share


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], 0.0),
        ([0.5] * 10, 0.0),
        ([0.0, 1.0, 1.0, 0.0], 0.0),
        ([0.0, 1.0, 1.0, 1.0, 0.0], 0.2),
        ([-1.0, -1.0, 1.0, 1.0], 0.5),
        ([2.0] * 4, 0.5),
    ],
)
def test_three_in_a_row_at_the_end_of_the_scale_are_clipped(
    samples: list[float], expected: float
) -> None:
    assert share(samples) == pytest.approx(expected)


@given(
    st.lists(st.sampled_from([0.0, 0.9, 1.0, -1.0]), max_size=40),
    st.lists(st.integers(0, 40), max_size=10),
)
def test_splits_do_not_matter(samples: list[float], at: list[int]) -> None:
    assert share(samples, at) == share(samples)


@pytest.mark.parametrize("encoding", Encoding)
def test_the_end_of_every_scale_is_known(encoding: Encoding) -> None:
    decoder = Decoder(AudioFormat(encoding, 8_000))
    highest = {
        Encoding.PCM16LE: b"\xff\x7f",
        Encoding.FLOAT32LE: np.float32(1).tobytes(),
        Encoding.MULAW: b"\x80",
        Encoding.ALAW: b"\xaa",
    }[encoding]
    clipping = Clipping(encoding)
    clipping.push(decoder.push(highest * 100))
    assert clipping.share == pytest.approx(0.98)


def test_speech_that_is_much_too_loud_is_clipped_and_other_speech_is_not() -> None:
    voice = read(VOICES / "slt-call.flac")
    voice = voice / np.abs(voice).max()
    for gain, low, high in ((0.99, 0.0, 0.0), (16.0, 0.1, 0.6)):
        clipping = Clipping(Encoding.PCM16LE)
        clipping.push(np.clip(voice * gain, -1, 32_767 / 32_768).astype(np.float32))
        assert low <= clipping.share <= high
