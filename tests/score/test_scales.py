from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import BAND_PAIRS, Card, Cohort, CohortDescription, LlrCalibration
from speakerd_server.score.asnorm import as_norm, top_of_one, top_statistics
from speakerd_server.score.calibration import llr_of
from speakerd_server.score.scales import Scorer, Side
from speakerd_server.score.similarity import cosine
from speakerd_server.values import Band, Float32, ScoreScale
from support.signals import card as some_card

DIM, PEOPLE, TOP_N = 16, 30, 20
BANDS = st.sampled_from([None, *Band])
SEEDS = st.integers(0, 10_000)


def vectors(seed: int, count: int = 2) -> Float32:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def unit(values: Float32) -> Float32:
    divided: Float32 = values / np.linalg.norm(values, axis=1, keepdims=True)
    return divided


COHORT = Cohort(unit(vectors(1, PEOPLE)), unit(vectors(2, PEOPLE) + 0.5), TOP_N)


def calibration(profile: str, scale: ScoreScale = ScoreScale.COSINE) -> LlrCalibration:
    slope = 10.0 + len(profile)
    return LlrCalibration(profile, scale, -3.0, slope, -1.0, -0.5, 40, 0.9, 0.1, "ours", 1.0, 60.0)


def card(*profiles: LlrCalibration, cohort: bool = True) -> Card:
    described = CohortDescription("cohort.npz", "0" * 64, PEOPLE, TOP_N, "nobody's")
    plain = some_card()
    return replace(
        plain,
        dim=DIM,
        calibration=replace(plain.calibration, llr=profiles),
        cohort=described if cohort else None,
    )


ALL = card(*(calibration(name) for name in BAND_PAIRS))


def sides(
    seed: int, first: Band | None = None, second: Band | None = None, speech_s: float = 4.0
) -> tuple[Side, Side]:
    one, other = vectors(seed)
    return Side(one, first, 12.0), Side(other.astype(np.float64), second, speech_s)


@given(SEEDS, BANDS, BANDS)
def test_asnorm_is_the_textbooks_with_the_cohort_of_the_other_sides_band(
    seed: int, first: Band | None, second: Band | None
) -> None:
    enrolled, tested = sides(seed, first, second)
    found = Scorer(ALL, COHORT).scored(enrolled, tested).by_scale
    rows = []
    for one, other in ((enrolled, tested), (tested, enrolled)):
        people = COHORT.narrow if other.band is Band.NARROW else COHORT.wide
        rows.append(top_statistics(one.embedding[None], people, TOP_N))
    alike = np.array([cosine(tested.embedding, enrolled.embedding)])
    expected = as_norm(alike, *rows[0], *rows[1])[0]
    assert found[ScoreScale.ASNORM] == pytest.approx(expected, abs=1e-5)
    assert found[ScoreScale.COSINE] == alike[0]
    assert found[ScoreScale.SIMILARITY] == (alike[0] + 1) / 2


@given(SEEDS, BANDS, BANDS)
def test_a_comparison_has_no_direction(seed: int, first: Band | None, second: Band | None) -> None:
    enrolled, tested = sides(seed, first, second)
    scorer = Scorer(ALL, COHORT)
    there = scorer.scored(enrolled, tested, remember=False)
    back = scorer.scored(
        Side(tested.embedding, tested.band, tested.speech_s),
        Side(enrolled.embedding, enrolled.band, enrolled.speech_s),
        remember=False,
    )
    assert there.profile == back.profile
    for scale, score in there.by_scale.items():
        assert back.by_scale[scale] == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "pair"),
    [
        (None, None, "wide-wide"),
        (Band.WIDE, None, "wide-wide"),
        (Band.NARROW, None, "wide-narrow"),
        (Band.WIDE, Band.NARROW, "wide-narrow"),
        (Band.NARROW, Band.WIDE, "wide-narrow"),
        (Band.NARROW, Band.NARROW, "narrow-narrow"),
    ],
)
def test_the_bands_choose_the_calibration(
    first: Band | None, second: Band | None, pair: str
) -> None:
    enrolled, tested = sides(3, first, second)
    scored = Scorer(ALL, COHORT).scored(enrolled, tested)
    assert scored.profile == pair
    expected = llr_of(calibration(pair), scored.cosine, 12.0, 4.0)
    assert scored.by_scale[ScoreScale.LLR] == pytest.approx(expected, abs=1e-12)
    other = Scorer(card(calibration("default"), calibration("wide-narrow")), None)
    wanted = pair if pair == "wide-narrow" else "default"
    assert other.scored(enrolled, tested).profile == wanted


def test_a_calibration_of_asnorm_scores_is_fed_with_them() -> None:
    enrolled, tested = sides(4)
    of_asnorm = calibration("default", ScoreScale.ASNORM)
    found = Scorer(card(of_asnorm), COHORT).scored(enrolled, tested).by_scale
    expected = llr_of(of_asnorm, found[ScoreScale.ASNORM], 12.0, 4.0)
    assert found[ScoreScale.LLR] == pytest.approx(expected)


def test_without_cohort_and_calibration_there_are_the_two_scales_of_the_cosine() -> None:
    scored = Scorer(card(cohort=False), None).scored(*sides(5))
    assert set(scored.by_scale) == {ScoreScale.COSINE, ScoreScale.SIMILARITY}
    assert scored.profile == ""


@pytest.mark.parametrize(
    ("profiles", "cohort", "more"),
    [
        ((), False, ()),
        ((), True, ("asnorm",)),
        (("default",), False, ("llr",)),
        (BAND_PAIRS, True, ("asnorm", "llr")),
        (("wide-wide", "wide-narrow"), False, ()),
        (("telephone",), True, ("asnorm",)),
    ],
)
def test_a_card_offers_the_scales_that_it_has_scores_on_for_all_bands(
    profiles: tuple[str, ...], cohort: bool, more: tuple[str, ...]
) -> None:
    one = card(*map(calibration, profiles), cohort=cohort)
    assert [scale.value for scale in one.scales] == ["cosine", "similarity", *more]
    of_asnorm = card(calibration("default", ScoreScale.ASNORM), cohort=cohort)
    assert (ScoreScale.LLR in of_asnorm.scales) == cohort


def test_a_voiceprint_without_a_direction_has_no_asnorm_and_nothing_is_nan() -> None:
    enrolled, tested = sides(6)
    none = Side(np.zeros(DIM, np.float32), None, 12.0)
    for pair in ((none, tested), (enrolled, Side(np.zeros(DIM), None, 4.0)), (none, none)):
        scored = Scorer(ALL, COHORT).scored(*pair)
        assert ScoreScale.ASNORM not in scored.by_scale
        assert scored.cosine == 0.0
        assert all(math.isfinite(score) for score in scored.by_scale.values())


def test_without_the_seconds_that_a_calibration_counts_with_there_is_no_llr() -> None:
    enrolled, tested = sides(7, speech_s=0.0)
    scored = Scorer(ALL, COHORT).scored(enrolled, tested)
    assert ScoreScale.LLR not in scored.by_scale
    assert ScoreScale.ASNORM in scored.by_scale


def test_no_more_than_the_bound_is_remembered_and_a_changed_voiceprint_is_seen() -> None:
    scorer = Scorer(ALL, COHORT, remembered=3)
    tested = sides(8)[1]
    for seed in (*range(10), 9):
        scorer.scored(Side(vectors(seed)[0], None, 12.0), tested)
    assert scorer.remembered_count == 3
    embedding = vectors(9)[0].copy()
    before = scorer.scored(Side(embedding, None, 12.0), tested)
    embedding[0] += 1.0
    after = scorer.scored(Side(embedding, None, 12.0), tested)
    fresh = Scorer(ALL, COHORT).scored(Side(embedding, None, 12.0), tested)
    assert after == fresh
    assert after.by_scale != before.by_scale


def test_what_was_compared_before_never_changes_a_score() -> None:
    scorer, calls = Scorer(ALL, COHORT), [(Band.WIDE, 1), (Band.NARROW, 2), (None, 1), (None, 3)]
    for band, seed in [*calls, *reversed(calls)]:
        enrolled, tested = sides(seed, band, Band.NARROW)
        again = Scorer(ALL, COHORT).scored(
            Side(enrolled.embedding, band, 12.0), Side(tested.embedding, Band.NARROW, 4.0)
        )
        assert scorer.scored(enrolled, tested) == again


def test_two_met_once_leave_nothing_behind() -> None:
    scorer = Scorer(ALL, COHORT)
    scorer.scored(*sides(1), remember=False)
    assert scorer.remembered_count == 0


@given(SEEDS, st.integers(2, PEOPLE))
def test_top_of_one_is_top_statistics_of_one(seed: int, top_n: int) -> None:
    people = vectors(seed, PEOPLE).astype(np.float64)
    embedding = vectors(seed + 1)[0].astype(np.float64) * 50
    directions = people / np.linalg.norm(people, axis=1, keepdims=True)
    mean, deviation = top_statistics(embedding[None], people, top_n)
    assert top_of_one(embedding, directions, top_n) == pytest.approx((mean[0], deviation[0]))
    same = np.repeat(directions[:1], 5, axis=0)
    assert top_of_one(embedding, same, 5) is None
