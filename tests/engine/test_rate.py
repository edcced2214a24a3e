from __future__ import annotations

import time

import pytest
from speakerd_server.engine.rate import ArrivalRate


def test_nothing_is_known_before_the_second_arrival() -> None:
    rate = ArrivalRate()
    assert rate.per_s == 0.0
    rate.count(time.monotonic())
    assert rate.per_s == 0.0


def test_even_arrivals_give_their_rate() -> None:
    rate, now_s = ArrivalRate(), time.monotonic()
    for number in range(100):
        rate.count(now_s - (99 - number) * 0.5)
    assert rate.per_s == pytest.approx(2.0, rel=0.01)


def test_a_new_pace_is_learnt_within_some_twenty_arrivals() -> None:
    rate, now_s = ArrivalRate(), time.monotonic()
    for number in range(50):
        rate.count(now_s - 60 * 0.1 - (49 - number) * 1.0)
    for number in range(60):
        rate.count(now_s - (59 - number) * 0.1)
    assert 6.0 < rate.per_s <= 10.0


def test_a_rate_falls_while_nothing_comes() -> None:
    rate, now_s = ArrivalRate(), time.monotonic()
    for number in range(50):
        rate.count(now_s - 100.0 - (49 - number) * 0.01)
    assert rate.per_s <= 0.01


def test_arrivals_at_one_instant_do_no_harm() -> None:
    rate = ArrivalRate()
    for _ in range(5):
        rate.count(1.0)
    assert rate.per_s == 0.0
