from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.audio.decode import Decoder, check_format
from speakerd_server.errors import (
    AudioIncompleteSample,
    AudioNotFinite,
    AudioOutOfRange,
    SampleRateUnsupported,
)
from speakerd_server.values import AudioFormat, Encoding, Float32
from support.signals import pieces, splits

# First and last decoder outputs of every positive segment of G.711's tables 2a and 1a, as printed
# there (13 and 12 bits of magnitude), beside the byte on the line.
MULAW_VALUES = {
    0x80: 8031, 0x8F: 4191, 0x90: 3999, 0x9F: 2079, 0xA0: 1983, 0xAF: 1023, 0xB0: 975, 0xBF: 495,
    0xC0: 471, 0xCF: 231, 0xD0: 219, 0xDF: 99, 0xE0: 93, 0xEF: 33, 0xF0: 30, 0xFE: 2, 0xFF: 0,
}  # fmt: skip
ALAW_VALUES = {
    0xFF: 4032, 0xF0: 2112, 0xEF: 2016, 0xE0: 1056, 0xDF: 1008, 0xD0: 528, 0xCF: 504, 0xC0: 264,
    0xBF: 252, 0xB0: 132, 0xAF: 126, 0xA0: 66, 0x9F: 63, 0x90: 33, 0x8F: 31, 0x80: 1,
}  # fmt: skip


def decoder(encoding: Encoding) -> Decoder:
    return Decoder(AudioFormat(encoding, 8_000))


def decoded(encoding: Encoding, whole: bytes, at: list[int]) -> Float32:
    one = decoder(encoding)
    samples = np.concatenate([one.push(piece) for piece in pieces(whole, at)])
    one.end()
    assert one.samples == len(samples)
    return samples


def test_pcm16_has_full_scale_32768() -> None:
    whole = struct.pack("<5h", -32_768, -1, 0, 1, 32_767)
    expected = [-1.0, -1 / 32_768, 0.0, 1 / 32_768, 32_767 / 32_768]
    assert decoded(Encoding.PCM16LE, whole, []).tolist() == expected


def test_floats_come_through_bit_for_bit() -> None:
    values = [0.0, -1.0, 1e-30, 0.1, 32_768.0, -32_768.0]
    samples = decoded(Encoding.FLOAT32LE, struct.pack("<6f", *values), [])
    assert samples.tolist() == np.array(values, np.float32).tolist()
    assert samples.dtype == np.float32


@pytest.mark.parametrize(("code", "value"), MULAW_VALUES.items())
def test_mulaw_is_the_standards_table(code: int, value: int) -> None:
    samples = decoded(Encoding.MULAW, bytes([code, code & 0x7F]), [])
    assert samples.tolist() == [value * 4 / 32_768, -value * 4 / 32_768]


@pytest.mark.parametrize(("code", "value"), ALAW_VALUES.items())
def test_alaw_is_the_standards_table_with_even_bits_inverted(code: int, value: int) -> None:
    samples = decoded(Encoding.ALAW, bytes([code ^ 0x55, code & 0x7F ^ 0x55]), [])
    assert samples.tolist() == [value * 8 / 32_768, -value * 8 / 32_768]


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_a_law_grows_with_its_code_and_is_symmetric(encoding: Encoding) -> None:
    mask = 0x55 if encoding is Encoding.ALAW else 0x7F
    positive = decoded(encoding, bytes((0x80 | code) ^ mask for code in range(128)), [])
    negative = decoded(encoding, bytes(code ^ mask for code in range(128)), [])
    assert (np.diff(positive) > 0).all()
    assert (positive == -negative).all()


@given(st.data())
def test_where_the_bytes_are_split_never_matters(data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(Encoding))
    samples = data.draw(st.lists(st.integers(-32_768, 32_767), max_size=60))
    kind = "f" if encoding is Encoding.FLOAT32LE else "h"
    whole = struct.pack(f"<{len(samples)}{kind}", *samples)
    at = data.draw(splits(len(whole)))
    assert np.array_equal(decoded(encoding, whole, at), decoded(encoding, whole, []))


@pytest.mark.parametrize(("encoding", "size"), [(Encoding.PCM16LE, 2), (Encoding.FLOAT32LE, 4)])
def test_audio_that_ends_inside_a_sample_is_refused(encoding: Encoding, size: int) -> None:
    one = decoder(encoding)
    one.push(bytes(3 * size - 1))
    with pytest.raises(AudioIncompleteSample, match="inside a sample") as caught:
        one.end()
    assert caught.value.extra_bytes == size - 1
    assert caught.value.sample_bytes == size


@pytest.mark.parametrize("pattern", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7FA00000, 0xFFFFFFFF])
@pytest.mark.parametrize("piece_bytes", [1, 3, 44])
def test_nan_and_infinity_are_refused_by_index(pattern: int, piece_bytes: int) -> None:
    whole = struct.pack("<6f", *[0.5] * 6) + struct.pack("<I", pattern) + struct.pack("<f", 1e9)
    at = list(range(piece_bytes, len(whole), piece_bytes))
    with pytest.raises(AudioNotFinite) as caught:
        decoded(Encoding.FLOAT32LE, whole, at)
    assert caught.value.sample_index == 6


@pytest.mark.parametrize("value", [32_769.0, -1e30])
def test_floats_beyond_any_audio_are_refused_by_index(value: float) -> None:
    one = decoder(Encoding.FLOAT32LE)
    one.push(bytes(8))
    with pytest.raises(AudioOutOfRange) as caught:
        one.push(struct.pack("<3f", 0.0, value, float("nan")))
    assert caught.value.sample_index == 3
    assert caught.value.value == pytest.approx(value)


@pytest.mark.parametrize("rate_hz", [-1, 0, 7_999, 48_001, 1_000_000_000])
def test_a_rate_out_of_range_is_refused(rate_hz: int) -> None:
    audio_format = AudioFormat(Encoding.PCM16LE, rate_hz)
    for refuse in (check_format, Decoder):
        with pytest.raises(SampleRateUnsupported, match=f"{rate_hz} Hz") as caught:
            refuse(audio_format)
        assert caught.value.sample_rate_hz == rate_hz


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_the_lowest_and_highest_rates_are_taken(rate_hz: int) -> None:
    check_format(AudioFormat(Encoding.ALAW, rate_hz))


@given(st.sampled_from(Encoding), st.binary(max_size=400), st.sampled_from([1, 2]), st.data())
def test_of_two_channels_one_is_decoded_as_if_it_were_alone(
    encoding: Encoding, whole: bytes, channel: int, data: st.DataObject
) -> None:
    if encoding is Encoding.FLOAT32LE:
        numbers = np.frombuffer(whole[: len(whole) // 4 * 4], "<i4").astype(np.float64) / 2**31
        whole = numbers.astype("<f4").tobytes()
    alone = AudioFormat(encoding, 8_000)
    whole = whole[: len(whole) // (2 * alone.sample_bytes) * 2 * alone.sample_bytes]
    one = Decoder(AudioFormat(encoding, 8_000, 2, channel))
    at = data.draw(splits(len(whole)))
    found = np.concatenate([one.push(piece) for piece in pieces(whole, at)])
    one.end()
    side = np.frombuffer(whole, np.dtype((np.void, alone.sample_bytes)))[channel - 1 :: 2]
    assert np.array_equal(found, decoded(encoding, side.tobytes(), []))
    assert one.samples == len(found) == len(whole) // (2 * alone.sample_bytes)


def test_audio_that_ends_between_its_channels_is_incomplete() -> None:
    one = Decoder(AudioFormat(Encoding.PCM16LE, 8_000, 2, 1))
    one.push(b"\0\0\0\0\0\0")
    with pytest.raises(AudioIncompleteSample, match="has 4"):
        one.end()
