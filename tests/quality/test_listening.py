from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.quality.clipping import Clipping
from speakerd_server.quality.listening import Listening
from speakerd_server.quality.meter import Meter
from speakerd_server.values import Band, Encoding, Float32
from support.speech import RATE_HZ, VOICES, read

VOICE = read(VOICES / "rms-call.flac")[:40_000]


def listening(samples: Float32) -> Listening:
    found = Listening(Encoding.PCM16LE)
    found.push(samples)
    return found


def waiting(found: Listening) -> int:
    return sum(len(one) for one in found._waiting)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=8), st.lists(st.integers(0, 45_000), max_size=8))
def test_what_is_said_of_a_place_does_not_depend_on_what_came_after(
    at: list[int], asked: list[int]
) -> None:
    voice = VOICE
    joined, split = Listening(Encoding.PCM16LE), Listening(Encoding.PCM16LE)
    joined.push(voice)
    places = sorted(asked)
    expected = [joined.at(place) for place in places]
    found, pushed = [], 0
    for place in [*places, len(voice)]:
        for one in sorted(at):
            if pushed < one and pushed < place:
                split.push(voice[pushed:one])
                pushed = one
        if pushed < min(place, len(voice)):
            split.push(voice[pushed:place])
            pushed = min(place, len(voice))
        found.append(split.at(place))
    assert found[:-1] == expected


def test_it_says_what_meter_and_clipping_say_of_the_signal_up_to_there() -> None:
    loud = np.clip(VOICE * 30, -1, 32_767 / 32_768).astype(np.float32)
    for place in (20_000, 33_333, len(loud)):
        meter, clipping = Meter(), Clipping(Encoding.PCM16LE)
        meter.push(loud[:place])
        clipping.push(loud[:place])
        quality, band = listening(loud).at(place)
        assert quality is not None
        assert (quality.snr_db, quality.level_dbfs) == meter.ratio_and_level()
        assert quality.clipping_share == clipping.share > 0.01
        assert band is meter.band is Band.WIDE


def test_the_end_of_the_scale_is_that_of_the_encoding() -> None:
    """The loudest code of mu-law is 32 124 of 32 768: as 16-bit samples nothing is clipped."""
    cut = np.clip(VOICE * 30, -32_124 / 32_768, 32_124 / 32_768).astype(np.float32)
    shares = []
    for encoding in (Encoding.MULAW, Encoding.PCM16LE):
        found = Listening(encoding)
        found.push(cut)
        quality, _ = found.at(len(cut))
        assert quality is not None
        shares.append(quality.clipping_share)
    assert shares[0] > 0.01
    assert shares[1] == 0.0


@pytest.mark.parametrize(
    "samples", [VOICE[:8_000], np.zeros(3 * RATE_HZ, np.float32), np.empty(0, np.float32)]
)
def test_of_silence_and_of_less_than_a_second_nothing_is_said(samples: Float32) -> None:
    assert listening(samples).at(len(samples)) == (None, None)


def test_what_was_heard_is_let_go_and_what_was_not_is_kept() -> None:
    found = listening(VOICE)
    found.hear(30_000)
    assert waiting(found) == len(VOICE) - 30_000
    found.hear(10_000)  # fewer than before: nothing to do
    assert waiting(found) == len(VOICE) - 30_000
    found.hear(99_999)  # more than there are: all of them
    assert waiting(found) == 0
    assert found.at(len(VOICE)) == listening(VOICE).at(len(VOICE))
