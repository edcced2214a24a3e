from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from speakerd_server.errors import OptionInvalid
from speakerd_server.evaluation.wanted import Wanted

LISTS = (Path("trials.txt"),)
SCP, WAV, COHORT = Path("x.scp"), Path("wav.scp"), Path("c.scp")


@pytest.mark.parametrize(
    "given",
    [
        {"scp": SCP},
        {"wav_scp": WAV, "durations": "4,1", "channel": 0, "samples_per_chunk": -1, "threads": 2},
        {"scp": SCP, "cohort_scp": COHORT, "norm": "snorm", "mean_vec": SCP},
        {"scp": SCP, "cohort_scp": COHORT, "norm": "asnorm", "top_n": 2, "mean_scp": SCP},
        {"scp": SCP, "p_target": (0.5, 0.999), "c_fa": 0.1, "bootstrap": 0},
    ],
)
def test_what_fits_together_is_taken(given: dict[str, Any]) -> None:
    Wanted(LISTS, **given).check()


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({}, "--scp"),
        ({"scp": SCP, "wav_scp": WAV}, "--scp"),
        ({"scp": SCP, "mean_scp": SCP, "mean_vec": SCP}, "--mean-scp"),
        ({"scp": SCP, "durations": "1"}, "--durations"),
        ({"scp": SCP, "samples_per_chunk": -1}, "--samples-per-chunk"),
        ({"scp": SCP, "wav_root": WAV}, "--wav-root"),
        ({"scp": SCP, "threads": 2}, "--threads"),
        ({"scp": SCP, "channel": 1}, "--channel"),
        ({"scp": SCP, "top_n": 50}, "--top-n"),
        ({"scp": SCP, "norm": "asnorm"}, "--norm"),
        ({"scp": SCP, "cohort_scp": COHORT, "norm": "snorm", "top_n": 50}, "--top-n"),
        ({"scp": SCP, "cohort_scp": COHORT, "top_n": 1}, "--top-n"),
        ({"scp": SCP, "p_target": (0.01, 0.0)}, "--p-target"),
        ({"scp": SCP, "p_target": (float("nan"),)}, "--p-target"),
        ({"scp": SCP, "c_miss": 0.0}, "--c-miss"),
        ({"scp": SCP, "c_fa": float("inf")}, "--c-fa"),
        ({"scp": SCP, "bootstrap": -1}, "--bootstrap"),
        ({"scp": SCP, "bootstrap": 10**9}, "--bootstrap"),
        ({"scp": SCP, "seed": -1}, "--seed"),
        ({"wav_scp": WAV, "threads": 0}, "--threads"),
        ({"wav_scp": WAV, "channel": -1}, "--channel"),
        ({"wav_scp": WAV, "durations": "1;2"}, "--durations"),
        ({"wav_scp": WAV, "durations": ""}, "--durations"),
        ({"wav_scp": WAV, "durations": "0"}, "--durations"),
        ({"wav_scp": WAV, "durations": "1,nan"}, "--durations"),
        ({"wav_scp": WAV, "durations": ",".join(map(str, range(1, 30)))}, "--durations"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_options_name(
    given: dict[str, Any], option: str
) -> None:
    with pytest.raises(OptionInvalid) as refused:
        Wanted(LISTS, **given).check()
    assert refused.value.option == option


def test_two_lists_of_one_name_cannot_share_a_folder_of_scores() -> None:
    twice = (Path("a/trials.txt"), Path("b/trials.txt"))
    Wanted(twice, scp=SCP).check()
    with pytest.raises(OptionInvalid, match=r"2 lists are named trials\.txt"):
        Wanted(twice, scp=SCP, output=Path("scores")).check()


def test_what_is_not_given_has_its_default() -> None:
    wanted = Wanted(LISTS, scp=SCP, cohort_scp=COHORT)
    assert [(one.p_target, one.c_miss, one.c_fa) for one in wanted.applications] == [
        (0.01, 1, 1),
        (0.005, 1, 1),
    ]
    assert wanted.cohort_top_n == 300
    assert wanted.durations_s == ()
    assert Wanted(LISTS, wav_scp=WAV, durations="4,1,0.5,4").durations_s == (0.5, 1, 4)
    assert Wanted(LISTS, cohort_scp=COHORT, norm="snorm").cohort_top_n is None
