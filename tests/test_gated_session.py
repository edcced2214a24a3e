from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.errors import AudioTooLong, AudioTooShort, NoAudio
from speakerd_server.gate.settings import GateSettings
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding, Float32, Utterance
from support.driven import Call, assert_same, heard
from support.signals import card, noise, pieces, splits, to_bytes

PCM_16K = AudioFormat(Encoding.PCM16LE, 16_000)
RULE = GateSettings(hangover_ms=64, minimum_segment_ms=96).rule
GATED = SessionSettings(PCM_16K, card(), 3_000, gate=RULE)


def call(parts: list[tuple[bool, int]]) -> Float32:
    """Make a signal of parts, voice or nearly silence, each of so many samples."""
    pieces = [(1.0 if voiced else 0.02) * noise(n, i) for i, (voiced, n) in enumerate(parts)]
    return np.concatenate([*pieces, np.empty(0, np.float32)]).astype(np.float32)


def of(parts: list[tuple[bool, int]]) -> bytes:
    return to_bytes(call(parts), Encoding.PCM16LE)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6_000)), min_size=1, max_size=8),
    st.sampled_from([-1, 800, 3_000]),
    st.sampled_from([0, 1, 4_000]),
    st.sampled_from([None, None, 1_600, 4_321]),
    st.sampled_from([Encoding.PCM16LE, Encoding.FLOAT32LE]),
    st.sampled_from([8_000, 16_000]),
    st.booleans(),
    st.data(),
)
def test_nothing_depends_on_splits_or_on_when_embeddings_come_back(
    parts: list[tuple[bool, int]],
    length: int,
    interval: int,
    maximum: int | None,
    encoding: Encoding,
    rate_hz: int,
    late: bool,
    data: st.DataObject,
) -> None:
    signal = np.concatenate([call(parts), 0.02 * noise(1_000)]).astype(np.float32)
    wanted = SessionSettings(
        AudioFormat(encoding, rate_hz), card(), length, interval, maximum, gate=RULE
    )
    whole = to_bytes(signal, encoding)
    at = [one for one in data.draw(splits(len(whole))) if one % 7 == 0 or len(whole) < 8_000]
    split = Call(wanted, late)
    final = split.run(pieces(whole, at))
    expected, joined = heard(wanted, whole)
    assert_same(final, expected)
    assert split.session.received_samples == joined.session.received_samples
    assert split.session.settled == joined.session.settled
    assert len(split.updates) == len(joined.updates)
    for one, other in zip(split.updates, joined.updates, strict=True):
        assert_same(one, other)
    for window, same in zip(split.windows, joined.windows, strict=True):
        assert np.array_equal(window.pcm, same.pcm)
        assert (window.index, window.end_samples) == (same.index, same.end_samples)


def test_silence_between_speech_changes_no_window() -> None:
    voice = noise(16_384)
    silence = np.zeros(8_192, np.float32)
    joined = np.concatenate([silence, voice[:8_192], silence, voice[8_192:], silence])
    gated = Call(replace(GATED, gate=GateSettings(hangover_ms=0).rule))
    final = gated.run([to_bytes(joined, Encoding.PCM16LE)])
    # One frame before each of the two segments belongs to it as well: the lead.
    parts = [silence[:512], voice[:8_192], silence[:512], voice[8_192:]]
    plain = Call(replace(GATED, gate=None))
    expected = plain.run([to_bytes(np.concatenate(parts), Encoding.PCM16LE)])
    assert np.array_equal(final.sum, expected.sum)
    assert final.window_count == expected.window_count
    assert final.speech_samples == 16_384 + 1_024
    assert final.committed_samples == len(joined)


def test_committed_samples_are_those_of_the_signal_and_not_of_the_speech() -> None:
    gated = Call(GATED)
    gated.run([of([(False, 16_000), (True, 3_200), (False, 16_000), (True, 3_200)])])
    voiced = [one for one in gated.updates if one.window_count]
    assert 16_000 < voiced[0].committed_samples <= 16_000 + 3_200
    assert voiced[-1].committed_samples > 35_200
    assert voiced[0].speech_samples == 160 * 17


def test_a_silent_call_says_that_it_is_one_again_and_again() -> None:
    gated = Call(replace(GATED, samples_per_chunk=32_000))
    final = gated.run([of([(False, 160_000)])])
    assert len(gated.updates) == 5
    assert {one.window_count for one in gated.updates} == {0}
    assert final.speech_samples == 0
    assert final.committed_samples == 160_000


def test_the_cut_counts_speech_alone() -> None:
    signal = of([(False, 32_000), (True, 8_000), (False, 16_000), (True, 16_000)])
    call = Call(replace(GATED, maximum_speech_samples=12_000))
    final = call.run([signal])
    assert final.speech_samples == 12_000
    assert call.session.settled
    assert 56_000 < call.session.received_samples < 64_000


def test_the_cut_is_noticed_when_the_speech_for_it_is_there() -> None:
    call = Call(replace(GATED, samples_per_chunk=32_000, maximum_speech_samples=3_200))
    signal = of([(True, 32_000)])
    sent = 0
    while not call.session.settled:
        call.take(call.session.push(signal[sent : sent + 640]))
        sent += 640
    assert sent // 2 <= 3_200 + 8 * 512 + 320


@pytest.mark.parametrize("length", [-1, 3_000])
def test_audio_without_speech_is_no_error_and_no_window(length: int) -> None:
    call = Call(replace(GATED, samples_per_chunk=length))
    assert call.run([of([(False, 8_000)])]).window_count == 0


def test_audio_that_is_too_short_is_so_with_a_gate_as_well() -> None:
    with pytest.raises(NoAudio):
        Call(GATED).run([])
    with pytest.raises(AudioTooShort):
        Call(GATED).run([of([(True, 399)])])


def test_a_long_signal_is_refused_though_it_is_silence() -> None:
    with pytest.raises(AudioTooLong):
        Call(replace(GATED, maximum_signal_samples=16_000)).run([of([(False, 16_001)])])


def test_one_window_may_have_a_minute_of_speech_in_any_length_of_signal() -> None:
    whole = replace(GATED, samples_per_chunk=-1)
    silence = of([(False, 16_000 * 90)])
    assert Call(whole).run([silence, of([(True, 16_000)])]).window_count == 1
    with pytest.raises(AudioTooLong):
        Call(whole).run([of([(True, 16_000 * 61)])])


@pytest.mark.parametrize("length", [-1, 32_000])
def test_a_day_of_silence_leaves_nothing_behind(length: int) -> None:
    call = Call(replace(GATED, samples_per_chunk=length))
    minute = of([(False, 960_000)])
    for _ in range(10):
        call.take(call.session.push(minute))
        call.updates.clear()
        assert len(call.session._line) == 0
        assert call.session._gated is not None
        assert len(call.session._gated._map._stretches) <= 1
        assert len(call.session._gated._signal._kept) < 3_000
        assert sum(len(one) for one in call.session._listening._waiting) <= 32_000


def test_the_audio_of_one_window_is_judged_up_to_the_cut_and_not_beyond() -> None:
    """What is heard before the cut is known must be what is heard of the signal that ends there."""
    loud = [(True, 40_000), (False, 9_000), (True, 40_000)]
    rule = GateSettings(minimum_segment_ms=1_000).rule  # long undecided whether it is speech
    wanted = replace(GATED, samples_per_chunk=-1, maximum_speech_samples=46_000, gate=rule)
    cut, call = heard(wanted, of(loud))
    assert call.session.settled
    whole = of(loud)[: 2 * call.session.received_samples]
    ended, _ = heard(replace(wanted, maximum_speech_samples=None), whole)
    assert cut.quality == ended.quality
    assert cut.quality is not None
    for size in (640, 7_000, 32_000):
        split = Call(wanted)
        assert_same(split.run(pieces(of(loud), list(range(size, len(of(loud)), size)))), cut)


def test_a_session_without_a_gate_takes_no_probabilities() -> None:
    with pytest.raises(ValueError, match="no speech gate"):
        Session(replace(GATED, gate=None)).absorb_gate(np.zeros(1, np.float32))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6_000)), min_size=1, max_size=8),
    st.sampled_from([1, 4_000, 1_000_000]),
    st.booleans(),
)
def test_what_looks_at_every_window_sees_the_same_whatever_the_interval(
    parts: list[tuple[bool, int]], interval: int, late: bool
) -> None:
    whole = of([*parts, (False, 2_000)])
    wanted = replace(GATED, samples_per_chunk=800, every_window=True)
    expected = [
        (one.window_count, one.speech_samples)
        for one in windows_of(heard(wanted, whole)[1].updates)
    ]
    assert expected == [(count, 480 * count) for count in range(1, len(expected) + 1)]
    seldom = Call(replace(wanted, update_interval_samples=interval), late)
    seldom.run([whole])
    assert [(one.window_count, one.speech_samples) for one in windows_of(seldom.updates)] == (
        expected
    )
    plain = Call(replace(wanted, update_interval_samples=interval, every_window=False), late)
    plain.run([whole])
    due = [one for one in seldom.updates if one.is_due]
    assert len(due) == len(plain.updates)
    for one, other in zip(due, plain.updates, strict=True):
        assert_same(one, other)


def windows_of(updates: list[Utterance]) -> list[Utterance]:
    """Give those that a window made."""
    counts = [0, *(one.window_count for one in updates)]
    return [one for before, one in zip(counts, updates, strict=False) if one.window_count > before]


def test_without_an_interval_every_window_gives_an_update() -> None:
    for seed in range(40):
        generator = np.random.default_rng(seed)
        parts = [(bool(one % 2), int(generator.integers(400, 4_000))) for one in range(12)]
        _, call = heard(replace(GATED, samples_per_chunk=800), of([*parts, (False, 2_000)]))
        full = call.session.utterance.speech_samples // 480
        counts = {one.window_count for one in call.updates if one.window_count}
        assert len(counts) >= full - 1


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([-1, 800, 1_234]), st.sampled_from([None, 5_000]), st.booleans(), st.data())
def test_to_catch_up_in_between_changes_no_answer(
    length: int, cut: int | None, gated: bool, data: st.DataObject
) -> None:
    signal = of([(True, 3_000), (False, 9_000), (True, 5_000)])
    wanted = replace(GATED, samples_per_chunk=length, maximum_speech_samples=cut)
    if not gated:
        wanted = replace(wanted, gate=None)
    expected, joined = heard(wanted, signal)
    call = Call(wanted)
    for piece in pieces(signal, data.draw(splits(len(signal)))):
        if not call.session.settled:
            call.take(call.session.push(piece))
        if not call.session.settled and data.draw(st.booleans()):
            call.take(call.session.catch_up())
    assert_same(call.run([]), expected)
    assert len(call.updates) == len(joined.updates)
    for one, other in zip(call.updates, joined.updates, strict=True):
        assert_same(one, other)
