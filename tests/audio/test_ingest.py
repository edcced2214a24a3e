from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.audio.ingest import Ingest
from speakerd_server.errors import AudioIncompleteSample, AudioNotFinite, SampleRateUnsupported
from speakerd_server.values import AudioFormat, Encoding, Float32
from support.signals import RATES_HZ, noise, pieces, splits, to_bytes


def ingested(ingest: Ingest, chunks: list[bytes]) -> Float32:
    out = [ingest.push(chunk) for chunk in chunks]
    return np.concatenate([*out, ingest.end()])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_splits_matter_neither_to_the_samples_nor_to_the_cut(data: st.DataObject) -> None:
    audio_format = AudioFormat(
        data.draw(st.sampled_from(Encoding)), data.draw(st.sampled_from(RATES_HZ))
    )
    maximum = data.draw(st.none() | st.integers(1, 2_000))
    whole = to_bytes(noise(1_500), audio_format.encoding)
    at = data.draw(splits(len(whole)))
    split, joined = (Ingest(audio_format, 16_000, maximum) for _ in range(2))
    samples = ingested(split, list(pieces(whole, at)))
    assert np.array_equal(samples, ingested(joined, [whole]))
    assert split.received_bytes == joined.received_bytes
    assert split.full == joined.full


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("maximum", [1, 400, 1_601])
def test_the_signal_is_cut_exactly_and_nothing_after_it_matters(rate_hz: int, maximum: int) -> None:
    audio_format = AudioFormat(Encoding.FLOAT32LE, rate_hz)
    nan = np.full(3, np.nan, "<f4").tobytes()
    needed = -(-maximum * rate_hz // 16_000)
    signal = to_bytes(noise(needed), Encoding.FLOAT32LE)
    ingest = Ingest(audio_format, 16_000, maximum)
    first = ingest.push(signal[:-1])
    assert not ingest.full
    rest = ingest.push(signal[-1:] + nan + b"\x00")
    assert ingest.full
    assert ingest.push(nan).size == 0
    assert len(first) + len(rest) + len(ingest.end()) == maximum
    assert ingest.received_bytes == len(signal)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("samples", [1, 2, 399, 400, 31_920])
def test_fewer_bytes_than_it_says_never_give_the_samples(rate_hz: int, samples: int) -> None:
    ingest = Ingest(AudioFormat(Encoding.MULAW, rate_hz), 16_000)
    first = rate_hz // 100
    given = len(ingest.push(bytes(first)))
    until = ingest.bytes_until(samples)
    assert first + until == ingest_length(rate_hz, samples)
    given += len(ingest.push(bytes(max(0, until - 1))))
    assert given < samples or until <= 0


def ingest_length(rate_hz: int, samples: int) -> int:
    """Fewest samples of which `samples` are made, by trying."""
    lengths = range(samples * rate_hz // 16_000 - 2, samples * rate_hz // 16_000 + 3)
    return next(n for n in lengths if (2 * n * 16_000 + rate_hz) // (2 * rate_hz) >= samples)


def test_a_cut_comes_before_what_more_bytes_would_give() -> None:
    ingest = Ingest(AudioFormat(Encoding.PCM16LE, 16_000), 16_000, 500)
    assert (ingest.bytes_until(400), ingest.bytes_until(32_000)) == (800, 1_000)
    ingest.push(bytes(900))
    assert (ingest.bytes_until(400), ingest.bytes_until(32_000)) == (-100, 100)


def test_an_odd_byte_is_received_and_refused_at_the_end() -> None:
    ingest = Ingest(AudioFormat(Encoding.PCM16LE, 8_000), 16_000)
    ingest.push(bytes(2 * 1_000 + 1))
    assert ingest.received_bytes == 2_001
    with pytest.raises(AudioIncompleteSample):
        ingest.end()


def test_what_the_decoder_refuses_is_refused() -> None:
    with pytest.raises(SampleRateUnsupported):
        Ingest(AudioFormat(Encoding.MULAW, 7_999), 16_000)
    ingest = Ingest(AudioFormat(Encoding.FLOAT32LE, 8_000), 16_000)
    with pytest.raises(AudioNotFinite):
        ingest.push(np.float32(np.inf).tobytes())


def test_no_audio_gives_no_samples() -> None:
    assert ingested(Ingest(AudioFormat(Encoding.ALAW, 8_000), 16_000), [b"", b""]).size == 0
