from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.cards import Card, LlrCalibration
from speakerd_server.errors import (
    CohortTooSmall,
    OptionInvalid,
    ProfileUnusable,
    VectorsUnusable,
)
from speakerd_server.models.profile import write_profile
from speakerd_server.offline.comparison import (
    Cohort,
    Threshold,
    choose_threshold,
    compare,
    find_calibration,
    read_cohort,
)
from speakerd_server.offline.embedding import Embedded
from speakerd_server.offline.vectors import write_npz
from speakerd_server.values import ScoreScale
from support.signals import DIM, card

COSINE, SIMILARITY, ASNORM, LLR = ScoreScale
FLAT = LlrCalibration("default", COSINE, -3.0, 10.0, 0.0, 0.0, 40, 0.9, 0.1, "made up")


def side(seed: int, seconds: float = 4.0) -> Embedded:
    return Embedded(np.random.default_rng(seed).standard_normal(DIM), 2, seconds)


def calibrated(*llr: LlrCalibration, accept_at: float | None = 0.5) -> Card:
    one = card()
    calibration = replace(one.calibration, llr=llr, accept_at=accept_at)
    return replace(one, calibration=calibration)


def threshold(
    scale: ScoreScale | None = None,
    value: float | None = None,
    *,
    of: Card | None = None,
    calibration: LlrCalibration | None = None,
    has_cohort: bool = False,
) -> Threshold:
    return choose_threshold(
        of or calibrated(), scale, value, calibration=calibration, has_cohort=has_cohort
    )


def cohort(count: int = 20, top_n: int = 10) -> Cohort:
    return Cohort(np.random.default_rng(99).standard_normal((count, DIM)), top_n)


@given(first=st.integers(0, 500), second=st.integers(0, 500))
def test_both_plain_scales_are_always_there_and_agree(first: int, second: int) -> None:
    scores = compare(side(first), side(second))
    assert set(scores) == {COSINE, SIMILARITY}
    assert -1 <= scores[COSINE] <= 1
    assert scores[SIMILARITY] == (scores[COSINE] + 1) / 2
    assert scores == compare(side(second), side(first))


def test_asnorm_is_worked_out_as_by_hand() -> None:
    one, other, impostors = side(1), side(2), cohort()
    scores = compare(one, other, cohort=impostors)

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        lengths: NDArray[np.float64] = np.linalg.norm(rows, axis=-1, keepdims=True)
        return rows / lengths

    halves = []
    for mine in (one, other):
        top = np.sort(unit(impostors.embeddings) @ unit(mine.embedding))[-10:]
        halves.append((scores[COSINE] - top.mean()) / top.std())
    assert scores[ASNORM] == pytest.approx(sum(halves) / 2)


def test_llr_is_the_calibrations_map_of_score_and_seconds() -> None:
    scores = compare(side(1), side(2), calibration=FLAT)
    assert scores[LLR] == pytest.approx(-3 + 10 * scores[COSINE])
    by_length = replace(FLAT, shorter=0.5, longer=0.25)
    scores = compare(side(1, 9.0), side(2, 3.0), calibration=by_length)
    expected = -3 + 10 * scores[COSINE] + 0.5 * np.log(3) + 0.25 * np.log(9)
    assert scores[LLR] == pytest.approx(expected)


def test_a_calibration_of_asnorm_scores_takes_those() -> None:
    of_asnorm = replace(FLAT, scale=ASNORM)
    scores = compare(side(1), side(2), cohort=cohort(), calibration=of_asnorm)
    assert scores[LLR] == pytest.approx(-3 + 10 * scores[ASNORM])
    assert LLR not in compare(side(1), side(2), calibration=of_asnorm)


def test_a_cohort_smaller_than_top_n_is_refused() -> None:
    with pytest.raises(CohortTooSmall):
        compare(side(1), side(2), cohort=cohort(9, 10))


def test_the_models_own_threshold_is_taken_unless_another_is_given() -> None:
    assert threshold() == Threshold(COSINE, 0.5, "the model's")
    assert threshold(SIMILARITY) == Threshold(SIMILARITY, 0.75, "the model's")
    assert threshold(COSINE, 0.3) == Threshold(COSINE, 0.3, "given")


def test_even_odds_decide_on_the_llr_scale() -> None:
    assert threshold(LLR, calibration=FLAT) == Threshold(LLR, 0.0, "even odds before")
    assert threshold(LLR, 2.5, calibration=FLAT).value == 2.5


def test_a_model_without_a_threshold_needs_one() -> None:
    bare = calibrated(accept_at=None)
    for scale in (None, COSINE, SIMILARITY):
        with pytest.raises(OptionInvalid, match="has none of its own"):
            threshold(scale, of=bare)
    assert threshold(COSINE, 0.4, of=bare).value == 0.4


def test_asnorm_has_no_threshold_of_its_own() -> None:
    with pytest.raises(OptionInvalid, match="none of its own on the asnorm scale"):
        threshold(ASNORM, has_cohort=True)
    assert threshold(ASNORM, 3.0, has_cohort=True).value == 3.0


def test_a_threshold_without_its_scale_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="--scale"):
        threshold(None, 0.5)


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        (COSINE, 1.01),
        (COSINE, -1.01),
        (SIMILARITY, -0.1),
        (SIMILARITY, 50.0),
        (COSINE, float("nan")),
        (LLR, float("inf")),
        (ASNORM, float("nan")),
    ],
)
def test_a_threshold_out_of_its_scale_is_refused(scale: ScoreScale, value: float) -> None:
    with pytest.raises(OptionInvalid, match="--threshold"):
        threshold(scale, value, calibration=FLAT, has_cohort=True)


def test_a_scale_that_cannot_be_given_is_refused_with_what_it_needs() -> None:
    with pytest.raises(OptionInvalid, match="asnorm needs a --cohort"):
        threshold(ASNORM, 3.0)
    with pytest.raises(OptionInvalid, match="give one with --profile"):
        threshold(LLR)
    several = calibrated(replace(FLAT, profile="near"), replace(FLAT, profile="far"))
    with pytest.raises(OptionInvalid, match="near, far"):
        threshold(LLR, of=several)
    with pytest.raises(OptionInvalid, match="of asnorm scores: give a --cohort"):
        threshold(LLR, calibration=replace(FLAT, scale=ASNORM))


@pytest.mark.parametrize(
    ("scale", "value", "warned"),
    [
        (SIMILARITY, 0.5, True),
        (SIMILARITY, 0.2, True),
        (SIMILARITY, 0.51, False),
        (COSINE, 0.0, True),
        (COSINE, 0.01, False),
        (ASNORM, -1.0, False),
        (LLR, -1.0, False),
    ],
)
def test_a_threshold_that_lets_everyone_in_is_warned_of(
    scale: ScoreScale, value: float, warned: bool
) -> None:
    warning = Threshold(scale, value, "given").warning
    assert (warning is not None) == warned
    if warning:
        assert "accepts every non-negative cosine" in warning


def test_a_calibration_is_found_by_name_in_the_card_or_in_a_file(tmp_path: Path) -> None:
    telephone = replace(FLAT, profile="telephone")
    of_both = calibrated(telephone, FLAT)
    assert find_calibration(calibrated(), None) is None
    assert find_calibration(calibrated(telephone), None) == telephone
    assert find_calibration(of_both, None) == FLAT
    assert find_calibration(of_both, "telephone") == telephone
    far = replace(FLAT, profile="far")
    assert find_calibration(calibrated(telephone, far), None) is None
    write_profile(tmp_path / "far.toml", of_both.identity, far)
    assert find_calibration(of_both, str(tmp_path / "far.toml")) == far


def test_a_profile_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileUnusable, match="the model's card has default"):
        find_calibration(calibrated(FLAT), "telefone")
    with pytest.raises(ProfileUnusable, match="the model's card has none"):
        find_calibration(calibrated(), "telefone")
    other = replace(card().identity, version="2")
    write_profile(tmp_path / "p.toml", other, FLAT)
    with pytest.raises(ProfileUnusable, match="another model"):
        find_calibration(calibrated(), str(tmp_path / "p.toml"))


def test_a_cohort_of_another_model_or_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    write_npz(path, ["a", "b"], np.ones((2, DIM), np.float32))
    assert read_cohort(path, DIM, 2).embeddings.shape == (2, DIM)
    with pytest.raises(VectorsUnusable, match=f"{DIM} values, the model's have 192"):
        read_cohort(path, 192, 2)
    write_npz(path, ["a", "b"], np.stack([np.ones(DIM), np.zeros(DIM)]).astype(np.float32))
    with pytest.raises(VectorsUnusable, match="b is zero"):
        read_cohort(path, DIM, 2)
