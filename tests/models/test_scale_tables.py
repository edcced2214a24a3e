from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from speakerd_server.cards import CohortDescription, ScaleThresholds
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.card import CARD_NAME, card_text, read_card
from speakerd_server.models.scale_tables import (
    cohort_table,
    read_cohort_table,
    read_scales_table,
    scales_table,
)
from speakerd_server.values import ScoreScale

COHORT = CohortDescription("cohort.npz", "0" * 64, 110, 110, "nobody's voices")
SCALES = (
    ScaleThresholds(ScoreScale.ASNORM, 3.5, 2.5, "ours"),
    ScaleThresholds(ScoreScale.LLR, 3.0, -1.0, "ours"),
)


def test_a_card_gives_back_what_was_written(tmp_path: Path) -> None:
    plain = read_card(shipped_bundle())
    card = replace(plain, cohort=COHORT, calibration=replace(plain.calibration, scales=SCALES))
    (tmp_path / CARD_NAME).write_text(card_text(card), encoding="utf-8")
    found = read_card(tmp_path)
    assert (found.cohort, found.calibration.scales) == (COHORT, SCALES)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"scale": "cosine"}, "scale must be asnorm or llr"),
        ({"accept_at": 2.0}, "reject_below <= accept_at"),
        ({"accept_at": float("nan")}, "accept_at must be finite"),
        ({"accept_at": 3}, "accept_at must be a float"),
        ({"accepts_at": 3.0}, "does not know calibration.scales.accepts_at"),
    ],
)
def test_thresholds_that_are_none_are_refused(wrong: dict[str, Any], problem: str) -> None:
    table = scales_table(SCALES)[0] | wrong
    with pytest.raises(ModelUnusable, match=problem):
        read_scales_table(Path("mine"), [table])


def test_a_scale_has_one_pair_of_thresholds() -> None:
    with pytest.raises(ModelUnusable, match="a scale twice"):
        read_scales_table(Path("mine"), scales_table((SCALES[0], SCALES[0])))


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"top_n": 1}, "top_n must be 2"),
        ({"top_n": 111}, "top_n must be 2"),
        ({"speakers": 1, "top_n": 1}, "top_n must be 2"),
        ({"file": "../cohort.npz"}, "is not the name of a file"),
        ({"file": ""}, "is not the name of a file"),
        ({"file": 3}, "file must be a str"),
        ({"sha": "0"}, "does not know cohort.sha"),
    ],
)
def test_a_cohort_that_is_none_is_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelUnusable, match=problem):
        read_cohort_table(Path("mine"), cohort_table(COHORT) | wrong)
