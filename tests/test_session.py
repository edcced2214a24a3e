from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speakerd_server.audio.ingest import Ingest
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding, Float32, Window
from support.driven import Call, assert_same, heard
from support.signals import RATES_HZ, card, embed, noise, pieces, splits, to_bytes, tone

PCM_16K = AudioFormat(Encoding.PCM16LE, 16_000)
TWO_SECONDS = SessionSettings(PCM_16K, card(), 32_000)


def with_silences(samples: int, silences: list[tuple[int, int]]) -> Float32:
    signal = noise(samples)
    for start, length in silences:
        signal[start : start + length] = 0.0
    return signal


@st.composite
def calls(draw: st.DrawFn) -> tuple[SessionSettings, bytes]:
    audio_format = AudioFormat(draw(st.sampled_from(Encoding)), draw(st.sampled_from(RATES_HZ)))
    wanted = SessionSettings(
        audio_format,
        card(),
        samples_per_chunk=draw(st.sampled_from([-1, 720, 800, 1_234, 2_000, 32_000])),
        update_interval_samples=draw(st.sampled_from([0, 1, 1_000, 2_500])),
        maximum_speech_samples=draw(st.sampled_from([None, None, 1_600, 4_321])),
    )
    samples = draw(st.integers(audio_format.sample_rate_hz // 20, audio_format.sample_rate_hz // 4))
    place = st.tuples(st.integers(0, samples), st.integers(0, 3_000))
    signal = with_silences(samples, draw(st.lists(place, max_size=3)))
    return wanted, to_bytes(signal, audio_format.encoding)


@settings(max_examples=150, deadline=None)
@given(calls(), st.booleans(), st.data())
def test_nothing_depends_on_splits_or_on_when_embeddings_come_back(
    call: tuple[SessionSettings, bytes], late: bool, data: st.DataObject
) -> None:
    wanted, whole = call
    split = Call(wanted, late)
    final = split.run(pieces(whole, data.draw(splits(len(whole)))))
    expected, joined = heard(wanted, whole)
    assert_same(final, expected)
    assert split.session.received_samples == joined.session.received_samples
    assert split.session.settled == joined.session.settled
    assert len(split.updates) == len(joined.updates)
    for one, other in zip(split.updates, joined.updates, strict=True):
        assert_same(one, other)
    for window, same in zip(split.windows, joined.windows, strict=True):
        assert (window.index, window.end_samples) == (same.index, same.end_samples)
        assert np.array_equal(window.pcm, same.pcm)
        assert np.array_equal(window.rows, same.rows)


@settings(max_examples=50, deadline=None)
@given(st.integers(3_000, 6_000), st.sampled_from([800, 1_234]), st.booleans(), st.data())
def test_a_handover_is_the_same_however_the_audio_is_split(
    change: int, length: int, late: bool, data: st.DataObject
) -> None:
    signal = np.concatenate([noise(change), 0.02 * noise(5_000, 1)]).astype(np.float32)
    whole = to_bytes(signal, Encoding.PCM16LE)
    plain = card()
    watching = replace(plain, calibration=replace(plain.calibration, handover_below=0.9))
    wanted = SessionSettings(PCM_16K, watching, length)
    split = Call(wanted, late)
    final = split.run(pieces(whole, data.draw(splits(len(whole)))))
    expected, joined = heard(wanted, whole)
    assert expected.handover is not None
    assert final.handover == expected.handover
    assert [one.handover for one in split.updates] == [one.handover for one in joined.updates]


@settings(max_examples=60, deadline=None)
@given(calls())
@example((replace(TWO_SECONDS, samples_per_chunk=800), bytes(2 * 5_000)))
def test_the_utterance_is_what_the_seeds_rule_says_of_the_signal(
    call: tuple[SessionSettings, bytes],
) -> None:
    wanted, whole = call
    final, run = heard(wanted, whole)
    ingest = Ingest(wanted.audio_format, 16_000, wanted.maximum_speech_samples)
    signal = np.concatenate([ingest.push(whole), ingest.end()])
    total = np.zeros(card().dim)
    voiced = 0
    windows = frames_by_the_rule(signal, wanted.samples_per_chunk)
    for frames in windows:
        if np.abs(frames - frames[0]).max() > 2.0**-11:
            voiced += 1
            total += embed_frames(frames)
    assert (final.window_count, final.windows_without_variance) == (voiced, len(windows) - voiced)
    assert np.array_equal(final.sum, total)
    assert final.speech_samples == len(signal)
    assert final.committed_samples == run.session.received_samples


def frames_by_the_rule(signal: Float32, samples_per_chunk: int) -> list[Float32]:
    frames = np.lib.stride_tricks.sliding_window_view(signal, 400)[::160]
    wanted = len(frames) if samples_per_chunk == -1 else 1 + (samples_per_chunk - 400) // 160
    if len(frames) < wanted:
        return [frames[np.arange(wanted) % len(frames)]]
    windows = [frames[k : k + wanted] for k in range(0, len(frames), wanted)]
    windows[-1] = np.concatenate([windows[-1], frames])[:wanted]
    return windows


def embed_frames(frames: Float32) -> Float32:
    apart = np.pad(frames, [(0, 0), (0, 80)]).reshape(-1)
    return embed(Window(0, apart, 3 * np.arange(len(frames)), 0))


def test_the_worked_exchange_of_the_contract() -> None:
    call = Call(TWO_SECONDS)
    final = call.run(pieces(to_bytes(noise(64_000), Encoding.PCM16LE), [32_000, 64_000, 96_000]))
    assert [u.speech_samples for u in call.updates] == [31_680, 63_360]
    assert [u.window_count for u in call.updates] == [1, 2]
    assert [u.committed_samples for u in call.updates] == [31_680, 63_360]
    assert (final.window_count, final.speech_samples, final.committed_samples) == (
        3,
        64_000,
        64_000,
    )
    assert final.consistency < 1.0
    assert np.array_equal(final.mean, final.sum / 3)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_committed_samples_are_wire_samples_rounded_down(rate_hz: int) -> None:
    wanted = replace(TWO_SECONDS, audio_format=AudioFormat(Encoding.PCM16LE, rate_hz))
    final, call = heard(wanted, to_bytes(noise(3 * rate_hz), Encoding.PCM16LE))
    assert [u.committed_samples for u in call.updates] == [31_680 * rate_hz // 16_000]
    assert (final.committed_samples, call.session.received_samples) == (3 * rate_hz, 3 * rate_hz)


def test_updates_keep_the_interval_on_the_audios_clock() -> None:
    whole = to_bytes(noise(16_000), Encoding.PCM16LE)
    every = replace(TWO_SECONDS, samples_per_chunk=720)
    _, often = heard(every, whole)
    _, seldom = heard(replace(every, update_interval_samples=1_000), whole)
    _, never = heard(replace(every, update_interval_samples=16_000), whole)
    assert [u.speech_samples for u in often.updates] == [480 * k for k in range(1, 33)]
    assert [u.speech_samples for u in seldom.updates] == [1_440 * k for k in range(1, 11)]
    assert never.updates == []


@pytest.mark.parametrize("encoding", Encoding)
def test_a_window_comes_with_the_very_sample_that_completes_it(encoding: Encoding) -> None:
    session = Session(replace(TWO_SECONDS, audio_format=AudioFormat(encoding, 16_000)))
    whole = to_bytes(noise(2 * 31_680 + 240), encoding)
    sample_bytes = AudioFormat(encoding, 16_000).sample_bytes
    for end in (31_920, 31_920 + 31_680):
        before, last = (end - 1) * sample_bytes, end * sample_bytes
        start = (end - 31_680 if end > 31_920 else 0) * sample_bytes
        assert session.push(whole[start:before]).windows == ()
        assert session.received_samples == end - 1
        assert len(session.push(whole[before:last]).windows) == 1


def test_one_window_over_everything_gives_no_updates() -> None:
    final, call = heard(
        replace(TWO_SECONDS, samples_per_chunk=-1), to_bytes(noise(50_000), Encoding.PCM16LE)
    )
    assert (final.window_count, call.updates) == (1, [])


def test_windows_without_variance_are_counted_in_order_and_make_updates() -> None:
    session = Session(replace(TWO_SECONDS, samples_per_chunk=720))
    signal = with_silences(480 * 6 + 240, [(480, 720), (480 * 4, 2_000)])
    step = session.push(to_bytes(signal, Encoding.PCM16LE))
    assert [w.index for w in step.windows] == [0, 2, 3]
    assert (step.updates, session.utterance.windows_without_variance) == ((), 0)
    first = session.absorb_embedding(step.windows[0], embed(step.windows[0]))
    assert [(u.window_count, u.windows_without_variance) for u in first] == [(1, 0), (1, 1)]
    second = session.absorb_embedding(step.windows[1], embed(step.windows[1]))
    assert [(u.window_count, u.windows_without_variance) for u in second] == [(2, 1)]
    third = session.absorb_embedding(step.windows[2], embed(step.windows[2]))
    assert [(u.windows_without_variance, u.speech_samples) for u in third] == [
        (1, 480 * 4),
        (2, 480 * 5),
        (3, 480 * 6),
    ]
    more = session.push(bytes(2 * 480))
    assert [u.windows_without_variance for u in more.updates] == [4]


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("samples_per_chunk", [-1, 720, 32_000])
def test_silence_and_constants_never_become_windows(
    encoding: Encoding, rate_hz: int, samples_per_chunk: int
) -> None:
    wanted = SessionSettings(AudioFormat(encoding, rate_hz), card(), samples_per_chunk)
    one_sample = {
        Encoding.PCM16LE: b"\x00\x60",
        Encoding.FLOAT32LE: np.float32(0.3).tobytes(),
    }.get(encoding, b"\x2a")
    for sample in (bytes(len(one_sample)), one_sample):
        final, call = heard(wanted, sample * rate_hz)
        assert call.windows == []
        assert final.window_count == 0
        assert final.windows_without_variance >= 1
        assert final.speech_samples == 16_000


def test_one_frame_repeated_never_becomes_a_window() -> None:
    for signal in (tone(40_000, 100), np.tile(noise(160), 250)):
        final, call = heard(TWO_SECONDS, to_bytes(signal, Encoding.PCM16LE))
        assert (call.windows, final.windows_without_variance) == ([], 2)


def test_embeddings_are_absorbed_in_order_or_not_at_all() -> None:
    session = Session(replace(TWO_SECONDS, samples_per_chunk=720))
    first, second = session.push(to_bytes(noise(1_200), Encoding.PCM16LE)).windows
    with pytest.raises(ValueError, match="window 1 is not the oldest"):
        session.absorb_embedding(second, embed(second))
    session.absorb_embedding(first, embed(first))
    with pytest.raises(ValueError, match="window 0 is not the oldest"):
        session.absorb_embedding(first, embed(first))
    session.absorb_embedding(second, embed(second))
    with pytest.raises(ValueError, match="window 2"):
        session.absorb_embedding(replace(second, index=2), embed(second))
    assert session.utterance.window_count == 2


def test_before_any_window_the_utterance_is_empty() -> None:
    utterance = Session(TWO_SECONDS).utterance
    assert (utterance.window_count, utterance.speech_samples, utterance.consistency) == (0, 0, 1.0)
    assert not utterance.sum.any()
