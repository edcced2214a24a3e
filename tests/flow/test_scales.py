"""Scores on every scale, by the bands of both sides, through a real daemon."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speakerd_client import (
    Audio,
    AudioFormat,
    Client,
    Decision,
    Encoding,
    Everyone,
    InvalidRequest,
    Policy,
    ScoreScale,
    SpeakerScore,
    Verification,
    Watchlists,
)
from speakerd_server.cards import Cohort
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.profile import write_profile
from speakerd_server.offline.telephone import to_line
from speakerd_server.score.asnorm import as_norm, top_statistics
from speakerd_server.score.calibration import llr_of
from speakerd_server.values import Float32
from support.bundles import small_bundle
from support.daemon import Daemon, DaemonFailed
from support.speech import RATE_HZ, VOICES, pcm16, read

BUNDLE = load_bundle(shipped_bundle())
DOMAIN, NAMES = "search", ("slt", "rms", "awb")
LLR_OF = {one.profile: one for one in BUNDLE.card.calibration.llr}
DEFAULTS = {one.scale.value: one for one in BUNDLE.card.calibration.scales}


def wide(name: str) -> Audio:
    return Audio(pcm16(read(VOICES / f"{name}.flac")), AudioFormat(Encoding.PCM16LE, RATE_HZ))


def narrow(name: str) -> Audio:
    line = to_line(read(VOICES / f"{name}.flac"), RATE_HZ)
    return Audio(line, AudioFormat(Encoding.MULAW, 8000))


def cohort() -> Cohort:
    assert BUNDLE.cohort is not None
    return BUNDLE.cohort


def by_scale(score: SpeakerScore) -> dict[str, float]:
    return {one.scale.value: one.value for one in score.all_scores}


def offline(enrolled: Float32, tested: Float32, *, lines: tuple[bool, bool]) -> float:
    """Give asnorm as WeSpeaker's score_norm.py does, with the cohort of the other side's band."""
    rows = [one[None].astype(np.float64) for one in (enrolled, tested)]
    of_wide, of_narrow = cohort().wide, cohort().narrow
    sides = [
        top_statistics(row, of_narrow if line else of_wide, cohort().top_n)
        for row, line in zip(rows, reversed(lines), strict=True)
    ]
    one, other = (row / np.linalg.norm(row) for row in rows)
    return float(as_norm(np.sum(one * other, axis=1), *sides[0], *sides[1])[0])


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        for name in NAMES:
            connected.enroll(f"scales-{name}", wide(f"{name}-enrol"), domain=DOMAIN)
            connected.enroll(f"scales-{name}-line", narrow(f"{name}-enrol"), domain=DOMAIN)
        yield connected
        for name in NAMES:  # others search this domain too
            connected.delete_speaker(f"scales-{name}", domain=DOMAIN)
            connected.delete_speaker(f"scales-{name}-line", domain=DOMAIN)


@pytest.mark.parametrize(
    ("enrolled", "call", "profile"),
    [
        ("wide", "wide", "wide-wide"),
        ("wide", "narrow", "wide-narrow"),
        ("narrow", "wide", "wide-narrow"),
        ("narrow", "narrow", "narrow-narrow"),
    ],
)
def test_every_scale_is_what_it_is_offline(
    client: Client, enrolled: str, call: str, profile: str
) -> None:
    lines = (enrolled == "narrow", call == "narrow")
    of_enrolled, of_call = (
        (narrow if line else wide)(name)
        for line, name in zip(lines, ("slt-enrol", "slt-call"), strict=True)
    )
    speaker_id = "scales-slt-line" if lines[0] else "scales-slt"
    result = client.verify(speaker_id, of_call, domain=DOMAIN)
    (score,) = result.scores
    found = by_scale(score)
    assert list(found) == ["cosine", "similarity", "asnorm", "llr"]
    assert (score.profile, score.bands) == (profile, profile)
    vectors = [np.array(client.embed(one).vector, np.float32) for one in (of_enrolled, of_call)]
    assert found["asnorm"] == pytest.approx(offline(*vectors, lines=lines), abs=1e-5)
    (recording,) = client.get_speaker(speaker_id, domain=DOMAIN).recordings
    expected = llr_of(LLR_OF[profile], found["cosine"], recording.net_speech_s, result.net_speech_s)
    assert found["llr"] == pytest.approx(expected, abs=1e-5)
    compared = client.compare(of_enrolled, of_call)
    assert {one.scale.value: one.value for one in compared.scores} == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("scale", [ScoreScale.ASNORM, ScoreScale.LLR])
@pytest.mark.parametrize("sound", [wide, narrow])
def test_a_policy_decides_on_the_scale_that_it_names(
    client: Client, scale: ScoreScale, sound: object
) -> None:
    call = (wide if sound is wide else narrow)("slt-call")
    result = client.verify("scales-slt", call, domain=DOMAIN, policy=Policy(scale=scale))
    (score,) = result.scores
    assert (score.scale, score.score) == (scale, by_scale(score)[scale.value])
    card = DEFAULTS[scale.value]
    assert (score.accept_at, score.reject_below) == (card.accept_at, card.reject_below)
    assert result.decision is Decision.ACCEPT
    assert score.score is not None
    strict = Policy(scale=scale, accept_at=score.score + 1.0, reject_below=-1000.0)
    again = client.verify("scales-slt", call, domain=DOMAIN, policy=strict)
    assert again.decision is Decision.UNDECIDED
    stranger = wide("kal16-call")
    refused = client.verify("scales-slt", stranger, domain=DOMAIN, policy=Policy(scale=scale))
    assert refused.decision is Decision.REJECT


@pytest.mark.parametrize("scale", [ScoreScale.ASNORM, ScoreScale.LLR])
def test_a_search_ranks_and_leads_on_the_policys_scale(client: Client, scale: ScoreScale) -> None:
    def found(top_k: int) -> Verification:
        policy = Policy(scale=scale)
        return client.verify(Everyone(top_k), narrow("rms-call"), domain=DOMAIN, policy=policy)

    everyone = found(100)
    numbers = [one.score for one in everyone.scores if one.score is not None]
    assert len(numbers) >= 6
    assert numbers == sorted(numbers, reverse=True)
    assert everyone.scores[0].speaker_id == "scales-rms-line"
    for top_k in (1, 2):
        first = found(top_k)
        assert first.scores[0].speaker_id == everyone.scores[0].speaker_id
        assert first.scores[0].score == pytest.approx(numbers[0], abs=1e-5)
        assert first.margin == pytest.approx(numbers[0] - numbers[1], abs=1e-5)
    held = Policy(scale=scale, minimum_margin=100.0)
    turned = client.verify(Everyone(1), narrow("rms-call"), domain=DOMAIN, policy=held)
    assert turned.decision is Decision.UNDECIDED
    assert "less than the minimum margin" in turned.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"accept_at": math.nan},
        {"accept_at": math.inf},
        {"accept_at": 3.0, "reject_below": -math.inf},
        {"accept_at": 3.0, "reject_below": 3.1},
        {"minimum_margin": -0.1},
        {"minimum_margin": math.nan},
        {"minimum_margin": math.inf},
    ],
)
@pytest.mark.parametrize("scale", [ScoreScale.ASNORM, ScoreScale.LLR])
def test_what_is_no_number_of_its_scale_is_refused(
    client: Client, scale: ScoreScale, wrong: dict[str, float]
) -> None:
    policy = replace(Policy(scale=scale), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as caught:
        client.verify(Everyone(1), wide("slt-call"), domain=DOMAIN, policy=policy)
    assert caught.value.reason == "POLICY_INVALID"


def test_profiles_of_the_settings_and_models_without_a_cohort_in_several_processes(
    tmp_path: Path,
) -> None:
    small = small_bundle(tmp_path / "models")
    path = tmp_path / "ours.toml"
    ours = replace(LLR_OF["wide-narrow"], offset=1.5)
    write_profile(path, BUNDLE.card.identity, ours)
    flags = ("--workers=2", f"--model-load={small}", f"--model-profiles={path}")
    call = narrow("slt-call")
    with Daemon(tmp_path, *flags) as daemon, Client(daemon.address) as client:
        client.enroll("slt", wide("slt-enrol"))
        (score,) = client.verify("slt", call).scores
        found = by_scale(score)
        assert {"asnorm", "llr"} < set(found)
        with_card_s = found["llr"] - ours.offset + LLR_OF["wide-narrow"].offset
        (wanted,) = (one.value for one in client.compare(wide("slt-enrol"), call).scores[3:])
        assert found["llr"] == pytest.approx(wanted, abs=1e-5)
        assert with_card_s < found["llr"]
        for scale in (ScoreScale.ASNORM, ScoreScale.LLR):
            with pytest.raises(InvalidRequest, match="use cosine or similarity") as caught:
                client.compare(call, call, model="small", policy=Policy(scale=scale))
            assert caught.value.reason == "SCALE_UNAVAILABLE"
        plain = Policy(scale=ScoreScale.COSINE, accept_at=0.5)
        told = client.compare(call, call, model="small", policy=plain).scores
        assert [one.scale for one in told] == [ScoreScale.COSINE, ScoreScale.SIMILARITY]


def test_a_profile_of_another_model_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "theirs.toml"
    theirs = replace(BUNDLE.card.identity, name="theirs")
    write_profile(path, theirs, LLR_OF["default"])
    daemon = Daemon(tmp_path, f"--model-profiles={path}")
    with pytest.raises(DaemonFailed) as failed:
        daemon.wait_until_serving()
    daemon.stop()
    assert "it is one of another model: theirs/1" in failed.value.errors
    assert "Traceback" not in failed.value.errors


def test_a_watchlist_is_looked_through_on_the_policys_scale(client: Client) -> None:
    client.create_group("scales-watched", domain=DOMAIN)
    for name in NAMES:
        client.update_group("scales-watched", add=[f"scales-{name}"], domain=DOMAIN)
    for scale in (ScoreScale.ASNORM, ScoreScale.LLR):
        result = client.verify(
            "scales-awb",
            narrow("slt-call"),
            domain=DOMAIN,
            policy=Policy(scale=scale),
            watchlists=Watchlists(["scales-watched"]),
        )
        assert result.decision is Decision.REJECT
        (hit,) = result.watchlist_hits
        assert (hit.speaker_id, hit.scale) == ("scales-slt", scale)
        assert hit.hit_at == DEFAULTS[scale.value].accept_at
        assert hit.score > hit.hit_at
