"""Error rates through the running daemon, held to a floor.

Every utterance is enrolled as a speaker of its own and every one is searched among all of them: the
scores go through enrolment, store, search index and policy as those of a real call do.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.error_rates import equal_error_rate
from support.shared import shared_path
from support.speech import RATE_HZ, Float32, eval_ids, eval_utterance, pcm16

pytestmark = [pytest.mark.accuracy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def scoring_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    names = [_domain(seconds, chunk) for seconds in (None, 4, 2, 1) for chunk in (-1, 32000)]
    names += [f"gated-{seconds or 'all'}" for seconds in (None, 4, 2)]
    folder = tmp_path_factory.mktemp("accuracy")
    with Daemon(folder, f"--calls-domains=default,{','.join(names)}") as running:
        yield running


@pytest.mark.parametrize("samples_per_chunk", [32000, -1])
@pytest.mark.parametrize(
    ("middle_s", "highest_rate"), [(None, 0.001), (4, 0.005), (2, 0.015), (1, 0.05)]
)
def test_the_equal_error_rate_stays_under_its_bar(
    scoring_daemon: Daemon, middle_s: int | None, highest_rate: float, samples_per_chunk: int
) -> None:
    domain = _domain(middle_s, samples_per_chunk)
    scores = _all_scores(scoring_daemon, domain, _recordings(middle_s), samples_per_chunk)
    targets, nontargets = _by_label(scores)
    rate = equal_error_rate(targets, nontargets)
    print(  # noqa: T201 - shown with -s and in a failure
        f"middle {middle_s} s, samples_per_chunk {samples_per_chunk}: EER {100 * rate:.3f} %"
        f" ({len(targets)} target, {len(nontargets)} non-target)"
    )
    assert len(targets) > 100
    assert len(nontargets) > 500
    assert rate <= highest_rate


@pytest.mark.parametrize(("middle_s", "highest_rate"), [(None, 0.001), (4, 0.01), (2, 0.03)])
def test_speech_alone_tells_speakers_apart_as_well(
    scoring_daemon: Daemon, middle_s: int | None, highest_rate: float
) -> None:
    domain = f"gated-{middle_s or 'all'}"
    scores = _all_scores(
        scoring_daemon, domain, _recordings(middle_s), 32000, audio_pb2.SPEECH_GATE_ON
    )
    targets, nontargets = _by_label(scores)
    rate = equal_error_rate(targets, nontargets)
    print(  # noqa: T201 - shown with -s and in a failure
        f"middle {middle_s} s, speech alone: EER {100 * rate:.3f} %"
        f" ({len(targets)} target, {len(nontargets)} non-target)"
    )
    assert len(targets) > 100
    assert len(nontargets) > 500
    assert rate <= highest_rate


def _recordings(middle_s: int | None) -> dict[str, bytes]:
    audio = {name: _middle(eval_utterance(name), middle_s) for name in eval_ids()}
    return {name: pcm16(samples) for name, samples in audio.items() if samples is not None}


def _domain(middle_s: int | None, samples_per_chunk: int) -> str:
    return f"middle-{middle_s or 'all'}-{'whole' if samples_per_chunk < 0 else 'windows'}"


def _middle(samples: Float32, seconds: int | None) -> Float32 | None:
    """Cut the middle out; None where the utterance is shorter."""
    if seconds is None:
        return samples
    wanted = seconds * RATE_HZ
    if len(samples) < wanted:
        return None
    start = (len(samples) - wanted) // 2
    return samples[start : start + wanted]


def _all_scores(
    daemon: Daemon,
    domain: str,
    audio: dict[str, bytes],
    samples_per_chunk: int,
    gate: audio_pb2.SpeechGate.ValueType = audio_pb2.SPEECH_GATE_OFF,
) -> dict[tuple[str, str], float]:
    with wire.connected(daemon.address) as stubs, ThreadPoolExecutor(4) as pool:

        def enroll(name: str) -> None:
            wire.enroll(
                stubs,
                name,
                audio[name],
                domain=domain,
                samples_per_chunk=samples_per_chunk,
                minimum_net_speech=Duration(),
                speech_gate=gate,
            )

        def search(name: str) -> dict[tuple[str, str], float]:
            config = pb.VerificationConfig(
                domain=domain,
                audio_format=wire.PCM16,
                samples_per_chunk=samples_per_chunk,
                whole_domain=pb.WholeDomain(top_k=100),
                policy=pb.Policy(minimum_net_speech=Duration()),
                speech_gate=gate,
            )
            request = pb.VerifyRequest(config=config, audio=audio[name])
            result = stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result
            assert result.speakers_compared == len(audio)
            return {(name, one.speaker_id): one.score.value for one in result.scores}

        list(pool.map(enroll, audio))
        merged: dict[tuple[str, str], float] = {}
        for part in pool.map(search, audio):
            merged |= part
        return merged


def _by_label(
    scores: dict[tuple[str, str], float],
) -> tuple[np.ndarray, np.ndarray]:
    trials = shared_path("data/trials/all_pairs.txt").read_text().splitlines()
    labelled: dict[str, list[float]] = {"target": [], "nontarget": []}
    for line in trials:
        enrolled, tested, label = line.split()
        if (tested, enrolled) in scores:
            labelled[label].append(scores[tested, enrolled])
    return np.array(labelled["target"]), np.array(labelled["nontarget"])
