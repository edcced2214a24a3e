from __future__ import annotations

import pytest
from speakerd_server.errors import OptionInvalid, SampleRateUnsupported
from speakerd_server.offline.recordings import Reading, raw_reading
from speakerd_server.values import AudioFormat, Encoding


def test_a_raw_format_is_read_as_it_is_written() -> None:
    assert raw_reading("pcm16le:8000", None) == Reading(None, AudioFormat(Encoding.PCM16LE, 8000))
    expected = Reading(2, AudioFormat(Encoding.ALAW, 16000), 2)
    assert raw_reading("alaw:16000:2", 2) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "pcm16le", "pcm16:8000", "pcm16le:8k", "pcm16le:-8000", "mulaw:8000:0", "a:1:2:3"),
        f"pcm16le:{'9' * 5000}",
    ],
)
def test_another_raw_format_is_refused(text: str) -> None:
    with pytest.raises(OptionInvalid, match="--raw"):
        raw_reading(text, None)


def test_a_raw_rate_out_of_range_is_refused() -> None:
    with pytest.raises(SampleRateUnsupported):
        raw_reading("pcm16le:96000", None)
