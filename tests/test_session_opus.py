"""Signals that come as Ogg/Opus: the same windows and updates, however the bytes are split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.errors import AudioFileInvalid, AudioTooLong
from speakerd_server.gate.settings import GateSettings
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import OggOpus
from support.driven import Call, assert_same, heard
from support.opus import ogg_opus
from support.signals import card, noise, pieces, splits

STREAM = ogg_opus(np.concatenate([noise(20_000), 0.01 * noise(9_000), noise(11_000)]))
RULE = GateSettings(hangover_ms=64, minimum_segment_ms=96).rule
SETTINGS = SessionSettings(OggOpus(), card(), 3_000)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.sampled_from([None, RULE]), st.sampled_from([None, 20_001]), st.booleans())
def test_nothing_depends_on_splits(
    data: st.DataObject, gate: object, maximum: int | None, late: bool
) -> None:
    wanted = replace(SETTINGS, gate=gate, maximum_speech_samples=maximum)  # type: ignore[arg-type]
    whole, one = heard(wanted, STREAM)
    split = Call(wanted, late)
    assert_same(split.run(pieces(STREAM, data.draw(splits(len(STREAM))))), whole)
    assert len(split.windows) == len(one.windows)
    for mine, other in zip(split.windows, one.windows, strict=True):
        assert np.array_equal(mine.pcm, other.pcm)
    assert split.session.received_samples == one.session.received_samples


def test_audio_is_counted_in_samples_at_16_khz() -> None:
    final, call = heard(SETTINGS, STREAM)
    assert call.session.received_samples == final.speech_samples == 40_000
    assert final.committed_samples == 40_000


def test_a_long_signal_in_few_bytes_is_bounded_all_the_same() -> None:
    silent = ogg_opus(np.zeros(16_000 * 70, np.float32))
    with pytest.raises(AudioTooLong):
        heard(replace(SETTINGS, samples_per_chunk=-1), silent)
    with pytest.raises(AudioTooLong):
        heard(replace(SETTINGS, maximum_signal_samples=16_000), silent)


def test_a_stream_that_is_cut_says_so_and_what_was_heard_stays() -> None:
    call = Call(SETTINGS)
    call.take(call.session.push(STREAM[:-7]))
    counted = call.session.utterance.window_count
    assert counted > 0
    with pytest.raises(AudioFileInvalid, match="in the middle of a page"):
        call.session.end()
    assert call.session.utterance.window_count == counted
