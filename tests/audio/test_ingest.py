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
    assert split.received_samples == joined.received_samples
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
    assert ingest.received_samples == needed


def test_received_samples_are_wire_samples_and_whole() -> None:
    ingest = Ingest(AudioFormat(Encoding.PCM16LE, 8_000), 16_000)
    ingest.push(bytes(2 * 1_000 + 1))
    assert ingest.received_samples == 1_000
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
