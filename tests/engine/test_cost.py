from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.engine.cost import choose, measure


def test_the_parts_of_a_batchs_time_are_told_apart() -> None:
    cost = choose([(windows, 0.003 + 0.010 * windows) for windows in (1, 2, 4, 8)])
    assert cost.fixed_s == pytest.approx(0.003)
    assert cost.window_s == pytest.approx(0.010)


def test_a_batch_that_saves_less_than_one_percent_is_not_worth_its_wait() -> None:
    assert choose([(1, 0.0103), (2, 0.0201), (4, 0.0400)]).best_windows == 2
    assert choose([(1, 0.0100), (2, 0.0199), (4, 0.0397)]).best_windows == 1
    assert choose([(1, 0.010), (2, 0.011), (4, 0.012), (8, 0.014)]).best_windows == 8


def test_one_size_alone_has_no_fixed_part() -> None:
    cost = choose([(1, 0.5)])
    assert (cost.best_windows, cost.fixed_s, cost.window_s) == (1, 0.0, 0.5)


@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=8))
def test_the_chosen_size_is_one_that_was_measured_and_nearly_the_best(seconds: list[float]) -> None:
    measured = [(1 << n, one) for n, one in enumerate(seconds)]
    cost = choose(measured)
    each_s = {windows: one / windows for windows, one in measured}
    assert each_s[cost.best_windows] <= 1.01 * min(each_s.values())
    assert cost.fixed_s >= 0.0
    assert cost.window_s >= 0.0


def test_sizes_are_doubled_up_to_the_largest_that_is_allowed() -> None:
    asked: list[int] = []

    def seconds_of(windows: int) -> float:
        asked.append(windows)
        return 1.0 + windows / 1000

    assert [size for size, _ in measure(seconds_of, 24, 60.0).measured] == [1, 2, 4, 8, 16, 24]
    assert asked == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 24, 24]


def test_the_shortest_time_of_each_size_counts() -> None:
    times = iter([0.5, 0.1, 0.4, 0.2])
    assert measure(lambda _: next(times), 2, 60.0).measured == ((1, 0.1), (2, 0.2))


def test_sizes_that_gain_nothing_end_the_measuring() -> None:
    cost = measure(lambda windows: 0.01 * windows, 256, 60.0)
    assert [size for size, _ in cost.measured] == [1, 2]


def test_a_batch_that_takes_too_long_is_not_chosen_but_one_window_always_may() -> None:
    assert measure(lambda windows: 0.1 + 0.05 * windows, 64, 0.31).best_windows == 4
    assert measure(lambda _: 9.0, 64, 0.2).best_windows == 1
