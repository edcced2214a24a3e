"""The same audio gives the same answer: however it is split, and whoever calls beside it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speakerd.v1 import admin_pb2, audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import noise, pcm16

TOLERANCE = 1e-6
CONTENT = pcm16(noise(4.5, seed=1))
MULAW_8K = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000)


@pytest.fixture(scope="module")
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        wire.enroll(connected, "exact", pcm16(noise(5.0, seed=2)))
        yield connected


def scores(stubs: wire.Stubs, content: bytes, cuts: list[int], **fields: object) -> list[float]:
    edges = [0, *sorted(cuts), len(content)]
    chunks = [content[a:b] for a, b in itertools.pairwise(edges)]
    config = pb.VerificationConfig(
        **({"speaker_id": "exact", "audio_format": wire.PCM16} | fields)  # type: ignore[arg-type]
    )
    answers = list(stubs.verification.StreamVerify(wire.stream_requests(config, chunks)))
    results = [answer.update for answer in answers[1:-1]] + [answers[-1].final]
    hop_samples = 31680 * config.audio_format.sample_rate_hz // 16000
    committed = [result.committed_samples for result in results[:-1]]
    assert committed == [hop_samples * k for k in range(1, len(results))]
    return [result.scores[0].score.value for result in results]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=40))
@pytest.mark.timeout(120)
def test_splits_never_change_the_scores(stubs: wire.Stubs, cuts: list[int]) -> None:
    expected = scores(stubs, CONTENT, [])
    assert scores(stubs, CONTENT, cuts) == pytest.approx(expected, abs=TOLERANCE)


def test_one_byte_a_message_gives_the_same_scores(stubs: wire.Stubs) -> None:
    content = CONTENT[: 2 * 33_000]
    expected = scores(stubs, content, [])
    found = scores(stubs, content, list(range(1, 4001)))
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_resampled_audio_is_as_exact(stubs: wire.Stubs) -> None:
    content = np.random.default_rng(3).integers(0, 256, 8000 * 5, np.uint8).tobytes()
    expected = scores(stubs, content, [], audio_format=MULAW_8K)
    found = scores(stubs, content, list(range(1, 40000, 7)), audio_format=MULAW_8K)
    assert found == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.timeout(60)
def test_calls_beside_each_other_never_change_the_scores(stubs: wire.Stubs) -> None:
    audio = [pcm16(noise(2.0 + 0.3 * (i % 5), seed=i)) for i in range(16)]
    alone = [scores(stubs, content, []) for content in audio]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda content: scores(stubs, content, [1001, 5003]), audio))
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=TOLERANCE)


@pytest.mark.timeout(60)
def test_two_hundred_streams_at_once_on_one_channel_are_all_answered(stubs: wire.Stubs) -> None:
    content = pcm16(noise(2.2, seed=9))
    expected = scores(stubs, content, [])
    config = pb.VerificationConfig(speaker_id="exact", audio_format=wire.PCM16)
    go_on = threading.Event()

    def requests(number: int) -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=config)
        go_on.wait(wire.DEADLINE_S)
        yield pb.StreamVerifyRequest(audio=content[:number])
        yield pb.StreamVerifyRequest(audio=content[number:])

    begin_s = time.monotonic()
    calls = [
        stubs.verification.StreamVerify(requests(number), timeout=wire.DEADLINE_S)
        for number in range(200)
    ]
    try:
        opened = [next(call).WhichOneof("response") for call in calls]
        info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest())
    finally:
        go_on.set()
    assert opened == ["opened"] * 200
    assert info.live_streams == 200
    for call in calls:
        *updates, last = call
        results = [*(answer.update for answer in updates), last.final]
        found = [result.scores[0].score.value for result in results]
        assert found == pytest.approx(expected, abs=TOLERANCE)
    assert time.monotonic() - begin_s < 20
