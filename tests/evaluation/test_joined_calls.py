from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import AudioFileUnusable
from speakerd_server.evaluation.call_ear import CallEar
from speakerd_server.evaluation.joined_calls import Dealing, Voices, join_calls
from speakerd_server.evaluation.score_paths import score_paths
from speakerd_server.gate.settings import GateSettings
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.lists import Listed
from speakerd_server.offline.recordings import Reading
from support.speech import RATE_HZ, VOICES, Float32, read

NAMES = ("awb", "rms", "slt")


@pytest.fixture(scope="module")
def ear() -> CallEar:
    return CallEar(load_bundle(shipped_bundle()), gate=None)


def listed(name: str) -> list[Listed]:
    paths = [VOICES / f"{name}-enrol.flac", VOICES / f"{name}-call.flac"]
    return [Listed(path.stem, path, number) for number, path in enumerate(paths)]


def speech() -> Float32:
    return np.concatenate([read(one.path) for one in listed("slt")])


def joined(ear: CallEar, maximum_s: int = 3, threads: int = 1) -> Voices:
    cohort = [Listed("kal16", VOICES / "kal16-call.flac", 1)]
    dealing = Dealing(rounds=2, enroll_s=1.0, maximum_s=maximum_s, seed=5)
    people = {name: listed(name) for name in NAMES[:2]}
    return join_calls(ear, people, cohort, dealing, reading=Reading(), threads=threads)


def test_a_call_is_heard_after_each_full_window_up_to_the_maximum(ear: CallEar) -> None:
    voices = joined(ear)
    assert voices.persons == ["awb", "rms"]
    for call in voices.calls:
        assert call.heard.seconds == pytest.approx([1.98])
        assert call.heard.means.shape == (1, 192)


def test_running_means_are_those_of_the_windows_one_by_one(ear: CallEar) -> None:
    samples = speech()
    heard = ear.hear(iter([samples]), 6)
    assert heard is not None
    extractor = Extractor(load_bundle(shipped_bundle()))
    first = extractor.embed(samples[:32_000])
    assert len(heard.seconds) == 3
    likeness = first @ heard.means[0] / np.linalg.norm(first) / np.linalg.norm(heard.means[0])
    assert likeness > 0.9


def test_where_recordings_are_joined_makes_no_difference(ear: CallEar) -> None:
    samples = speech()
    whole, split = (ear.hear(iter(pieces), 5) for pieces in ([samples], _pieces(samples)))
    assert whole is not None
    assert split is not None
    assert split.seconds.tolist() == whole.seconds.tolist()
    assert split.means == pytest.approx(whole.means, abs=1e-4)


def _pieces(samples: Float32) -> Iterator[Float32]:
    places = sorted(random.Random(1).sample(range(len(samples)), 6))
    yield from np.split(samples, places)


def test_too_little_speech_makes_no_call(ear: CallEar) -> None:
    assert ear.hear(iter([read(VOICES / "slt-enrol.flac")[: 2 * RATE_HZ]]), 3) is None
    gated = CallEar(load_bundle(shipped_bundle()), gate=GateSettings().rule)
    silence = np.zeros(10 * RATE_HZ, np.float32)
    assert gated.hear(iter([silence]), 3) is None


def test_threads_change_nothing(ear: CallEar) -> None:
    one, two = joined(ear, threads=1), joined(ear, threads=2)
    assert [call.person for call in one.calls] == [call.person for call in two.calls]
    for first, second in zip(one.calls, two.calls, strict=True):
        assert first.heard.means.tolist() == second.heard.means.tolist()


def test_a_call_is_compared_with_its_own_round_the_others_and_the_cohort(ear: CallEar) -> None:
    voices = joined(ear)
    paths = score_paths(voices, 3, 0)
    assert set(paths.claimed) == {"awb", "rms", "kal16"}
    assert paths.highest.shape == (3 * len(voices.calls), 3)
    assert np.isnan(paths.highest[:, [0, 2]]).all()
    assert paths.highest[paths.target, 1].min() > paths.highest[~paths.target, 1].max()
    assert (paths.highest[:, 1] == paths.lowest[:, 1]).all()


def test_what_cannot_be_enrolled_is_named(ear: CallEar, tmp_path: Path) -> None:
    dealing = Dealing(rounds=1, enroll_s=1.0, maximum_s=2, seed=0)
    absent = [Listed("x", tmp_path / "absent.wav", 1)]
    with pytest.raises(AudioFileUnusable, match=r"absent\.wav"):
        join_calls(ear, {"x": absent}, [], dealing, reading=Reading())


def test_a_telephone_line_changes_what_is_heard() -> None:
    bundle = load_bundle(shipped_bundle())
    samples = read(VOICES / "slt-enrol.flac")
    calls = [
        CallEar(bundle, gate=None, calls_by_telephone=line).hear(iter([samples]), 3)
        for line in (False, True)
    ]
    first, second = (one.means[0] for one in calls if one is not None)
    likeness = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert 0.3 < likeness < 0.99
