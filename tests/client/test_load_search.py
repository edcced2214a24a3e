"""The search finds the most streams that are carried, even where a step lies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client.load.search import Search, Trial


def searched(search: Search, carries: Callable[[Trial], bool]) -> list[Trial]:
    trials: list[Trial] = []
    while (trial := search.trial) is not None:
        trials.append(trial)
        search.report(carries(trial))
        assert len(trials) < 500
    return trials


@given(
    maximum=st.integers(1, 5_000),
    share=st.floats(0.0, 1.3),
    resolution=st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5]),
    first=st.integers(1, 50),
)
def test_what_is_found_is_carried_and_little_more_would_not_be(
    maximum: int, share: float, resolution: float, first: int
) -> None:
    capacity = int(share * maximum)
    search = Search(maximum, resolution, first)
    trials = searched(search, lambda trial: trial.streams <= capacity)
    assert search.found <= min(capacity, maximum)
    assert search.found >= min(capacity, maximum) - max(0, int(resolution * search.found))
    assert search.confirmed is (search.found > 0)
    assert search.bound_was_reached is (capacity >= maximum)
    assert max(trial.streams for trial in trials) <= maximum
    if search.found:
        assert trials[-1] == Trial(search.found, "confirm", 1)


@given(capacity=st.integers(1, 300), lie=st.integers(0, 12))
def test_one_noisy_step_changes_nothing_but_the_number_of_steps(capacity: int, lie: int) -> None:
    quiet, noisy = Search(300, 0.05), Search(300, 0.05)
    searched(quiet, lambda trial: trial.streams <= capacity)
    calls = iter(range(1000))

    def carries(trial: Trial) -> bool:
        return trial.streams <= capacity and next(calls) != lie

    searched(noisy, carries)
    assert noisy.found == quiet.found


@given(st.lists(st.booleans(), max_size=400))
def test_it_ends_whatever_is_reported(answers: list[bool]) -> None:
    given_answers = iter(answers)
    search = Search(1000, 0.01)
    searched(search, lambda trial: next(given_answers, False))
    assert search.trial is None
    assert 0 <= search.found <= 1000
    with pytest.raises(ValueError, match="over"):
        search.report(True)


def test_it_grows_by_two_then_bisects_then_confirms() -> None:
    trials = searched(Search(1000, 0.05), lambda trial: trial.streams <= 75)
    assert [(trial.streams, trial.purpose, trial.attempt) for trial in trials] == [
        (8, "grow", 1),
        (16, "grow", 1),
        (32, "grow", 1),
        (64, "grow", 1),
        (128, "grow", 1),
        (128, "grow", 2),
        (96, "bisect", 1),
        (96, "bisect", 2),
        (80, "bisect", 1),
        (80, "bisect", 2),
        (72, "bisect", 1),
        (76, "bisect", 1),
        (76, "bisect", 2),
        (74, "bisect", 1),
        (74, "confirm", 1),
    ]


def test_a_number_that_is_missed_when_tried_once_more_was_too_high() -> None:
    search = Search(1000, 0.05)
    seen: list[int] = []

    def carries(trial: Trial) -> bool:
        seen.append(trial.streams)
        return trial.streams <= 60 or (trial.streams <= 75 and trial.purpose != "confirm")

    trials = searched(search, carries)
    confirms = [trial.streams for trial in trials if trial.purpose == "confirm"]
    assert confirms[0] > 60
    assert confirms == sorted(confirms, reverse=True)
    assert search.found <= 60
    assert search.confirmed


def test_not_even_one_stream_is_found_by_bisection() -> None:
    search = Search(1000, 0.05)
    trials = searched(search, lambda trial: False)
    assert [trial.streams for trial in trials if trial.attempt == 2] == [8, 4, 2, 1]
    assert (search.found, search.confirmed, search.bound_was_reached) == (0, False, False)
