"""A plan that no load can follow is refused when it is made, in the words of the options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import AudioFormat, Encoding, InvalidLoad
from speakerd_client.load.plan import (
    ClosedPlan,
    LivePlan,
    connections_of,
    message_samples,
)

ADDRESS = "127.0.0.1:1"
NAN = float("nan")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"streams": 0}, "--streams must be 1 to 100000, not 0"),
        ({"streams": -3}, "--streams must be 1 to"),
        ({"streams": 10**9}, "--streams must be 1 to 100000, not 1000000000"),
        ({"seconds": 0}, "--seconds must be above 0 and at most 86400, not 0"),
        ({"seconds": -1.5}, "--seconds must be above 0"),
        ({"seconds": 1e9}, "at most 86400, not 1e.09"),
        ({"seconds": NAN}, "--seconds must be above 0"),
        ({"seconds": 0.05}, "--seconds 0.05 is less than one message"),
        ({"settle_s": 20}, "--settle must be from 0 to below --seconds 20, not 20"),
        ({"settle_s": -1}, "--settle must be from 0"),
        ({"message_ms": 0}, "--message-ms must be 1 to 10000, not 0"),
        ({"message_ms": 10_001}, "--message-ms must be 1 to 10000"),
        ({"jitter_ms": 101}, r"--jitter-ms must be 0 to 100 \(at most one message\), not 101"),
        ({"jitter_ms": -1}, "--jitter-ms must be 0 to 100"),
        ({"jitter_ms": NAN}, "--jitter-ms must be 0 to 100"),
        ({"processes": 0}, "--processes must be 1 to 256, not 0"),
        ({"processes": 257}, "--processes must be 1 to 256"),
        ({"connections": 0}, "--connections must be 1 to 60000"),
        (
            {"connections": 2, "processes": 3},
            r"--connections must be 3 to 60000 \(one for each process\), not 2",
        ),
        (
            {"options": {"samples_per_chunk": -1}, "seconds": 61},
            "--seconds is 61, but with --samples-per-chunk -1 a stream has at most 60 s",
        ),
    ],
)
def test_live_plans_are_checked(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidLoad, match=words):
        LivePlan(ADDRESS, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"concurrencies": ()}, "--concurrency names no number"),
        ({"concurrencies": (8, 0)}, "--concurrency must be 1 to 100000, not 0"),
        ({"seconds": 0}, "--seconds must be above 0"),
        ({"settle_s": 30}, "--settle must be from 0 to below"),
        ({"processes": 0}, "--processes must be 1"),
    ],
)
def test_closed_plans_are_checked(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidLoad, match=words):
        ClosedPlan(ADDRESS, "embed", **fields)


@given(st.integers(1, 10_000), st.integers(1, 600_000))
def test_a_stream_has_as_many_messages_as_fit(message_ms: int, total_ms: int) -> None:
    if total_ms < message_ms:
        return
    plan = LivePlan(ADDRESS, seconds=total_ms / 1000, message_ms=message_ms)
    assert plan.messages == total_ms // message_ms


@given(st.integers(8_000, 48_000), st.integers(1, 10_000), st.sampled_from(Encoding))
def test_a_message_is_whole_samples_below_one_mebibyte(
    rate_hz: int, message_ms: int, encoding: Encoding
) -> None:
    audio_format = AudioFormat(encoding, rate_hz)
    size_bytes = rate_hz * message_ms / 1000 * encoding.sample_bytes
    try:
        samples = message_samples(audio_format, message_ms)
    except InvalidLoad as error:
        assert (rate_hz * message_ms) % 1000 or size_bytes > 1 << 20
        if "take a multiple of" in error.message:
            step_ms = int(error.message.split()[-1])
            assert rate_hz * step_ms % 1000 == 0
            assert all(rate_hz * ms % 1000 for ms in range(1, step_ms))
    else:
        assert samples * 1000 == rate_hz * message_ms
        assert size_bytes <= 1 << 20


def test_a_message_that_is_no_whole_number_of_samples_is_named_with_one_that_is() -> None:
    with pytest.raises(InvalidLoad) as caught:
        message_samples(AudioFormat(Encoding.MULAW, 11_025), 20)
    assert caught.value.message == (
        "--message-ms 20 at 11025 Hz is 220.5 samples; take a multiple of 40"
    )


def test_connections_follow_the_streams_and_the_processes() -> None:
    assert connections_of(None, 1, 1) == 1
    assert connections_of(None, 50, 1) == 1
    assert connections_of(None, 51, 1) == 2
    assert connections_of(None, 1000, 1) == 20
    assert connections_of(None, 100, 4) == 4
    assert connections_of(None, 2, 4) == 2
    assert connections_of(7, 1000, 4) == 7
    assert connections_of(100, 30, 2) == 30
