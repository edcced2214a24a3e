from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.offline.telephone import (
    LINE_RATE_HZ,
    PACKET_SAMPLES,
    from_line,
    to_line,
    with_losses,
    with_noise,
)
from support.signals import noise, tone
from support.speech import RATE_HZ, VOICES, read

SILENCE = b"\xff"
CALL = to_line(read(VOICES / "slt-call.flac"), RATE_HZ)


def packets(content: bytes) -> list[bytes]:
    return [content[at : at + PACKET_SAMPLES] for at in range(0, len(content), PACKET_SAMPLES)]


def test_every_code_comes_back_as_itself() -> None:
    every = bytes(code for code in range(256) if code not in (0x7F, 0xFF))
    assert to_line(from_line(every), LINE_RATE_HZ) == every
    assert from_line(b"\x7f\xff").tolist() == [0, 0]  # of which one comes back


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=20))
def test_a_sample_becomes_the_nearest_that_there_is(values: list[float]) -> None:
    samples = np.array(values, np.float32)
    every = from_line(bytes(range(256))).astype(np.float64)
    least = np.abs(every - samples[:, None].astype(np.float64)).min(axis=1)
    found = np.abs(from_line(to_line(samples, LINE_RATE_HZ)) - samples.astype(np.float64))
    assert found == pytest.approx(least, abs=1e-6)


def test_a_line_is_half_as_wide_and_its_samples_are_half_as_many() -> None:
    low, high = tone(RATE_HZ, 1_000.0), tone(RATE_HZ, 6_000.0)
    assert len(to_line(low, RATE_HZ)) == LINE_RATE_HZ
    assert from_line(to_line(low, RATE_HZ)).std() == pytest.approx(low.std(), rel=0.02)
    assert from_line(to_line(high, RATE_HZ)).std() < 0.001


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_is_added_at_the_ratio_that_was_asked_for(snr_db: float) -> None:
    voice = read(VOICES / "slt-call.flac")
    added = with_noise(voice, snr_db, 3).astype(np.float64) - voice
    found_db = 10 * np.log10(np.mean(np.square(voice, dtype=np.float64)) / np.mean(added**2))
    assert found_db == pytest.approx(snr_db, abs=0.1)
    assert np.array_equal(with_noise(voice, snr_db, 3), with_noise(voice, snr_db, 3))
    assert not np.array_equal(with_noise(voice, snr_db, 3), with_noise(voice, snr_db, 4))


@pytest.mark.parametrize("concealed", [False, True])
def test_the_share_is_lost_in_whole_packets_and_the_rest_is_as_it_was(concealed: bool) -> None:
    content = (CALL * 10)[: 1_000 * PACKET_SAMPLES - 7]
    found = with_losses(content, 0.05, 1, concealed=concealed)
    assert len(found) == len(content)
    pairs = list(zip(packets(content), packets(found), strict=True))
    lost = sum(sent != heard for sent, heard in pairs)
    assert 30 <= lost <= 70
    assert found == with_losses(content, 0.05, 1, concealed=concealed)
    assert found != with_losses(content, 0.05, 2, concealed=concealed)
    assert with_losses(content, 0.0, 1, concealed=concealed) == content


def test_what_is_lost_is_silence_unless_it_is_concealed() -> None:
    assert with_losses(CALL, 1.0, 1, concealed=False) == SILENCE * len(CALL)
    # With nothing heard before it there is nothing to go on with.
    assert not from_line(with_losses(CALL, 1.0, 1, concealed=True)).any()


def test_a_concealed_packet_goes_on_with_the_last_period_and_a_long_gap_fades_away() -> None:
    hum = to_line(tone(2 * RATE_HZ // 5, 100.0), RATE_HZ)
    gap = _with_gap(hum, first=10, count=5)
    levels = [from_line(one).std() for one in packets(gap)[9:16]]
    assert levels[1] == pytest.approx(levels[0], rel=0.05)
    assert levels[1] > levels[2] > levels[3] > 0
    assert levels[4:6] == [0, 0]
    assert levels[6] == pytest.approx(levels[0], rel=0.05)
    # 100 Hz has 80 samples: the period that goes on is that of the sound itself.
    lost = from_line(packets(gap)[10])
    assert np.abs(lost - from_line(packets(hum)[10])).max() < 0.05


def _with_gap(content: bytes, first: int, count: int) -> bytes:
    """Lose these packets: the first seed, and share, with which no others are lost."""
    total = len(content) // PACKET_SAMPLES
    wanted = [first <= number < first + count for number in range(total)]
    for seed in range(100_000):
        draws = np.random.default_rng(seed).random(total)
        inside, outside = (
            draws[first : first + count],
            np.delete(draws, range(first, first + count)),
        )
        if inside.max() < outside.min():
            share = float((inside.max() + outside.min()) / 2)
            assert list(draws < share) == wanted
            return with_losses(content, share, seed, concealed=True)
    raise AssertionError("no such seed")


def test_noise_is_concealed_as_well() -> None:
    content = to_line(noise(RATE_HZ), RATE_HZ)
    found = with_losses(content, 0.2, 1, concealed=True)
    quiet = [one for one in packets(found) if one == SILENCE * PACKET_SAMPLES]
    assert len(quiet) <= 1
