from __future__ import annotations

import numpy as np
import pytest
from speakerd_server.score.handover import HandoverWatch
from speakerd_server.values import Float32, Handover

ALICE, BOB = np.eye(4, dtype=np.float32)[:2]


def watched(voices: list[Float32], below: float | None = 0.5) -> Handover | None:
    watch = HandoverWatch(4, below)
    for index, voice in enumerate(voices):
        watch.add(voice, index, 1_000 * (index + 1))
    return watch.found


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_one_voice_is_no_handover(count: int) -> None:
    assert watched([ALICE] * count) is None


def test_another_voice_is_noticed_by_its_second_window_and_placed_at_its_first() -> None:
    found = watched([ALICE] * 5 + [BOB] * 3)
    assert found == Handover(0.0, 6, 5_000)


def test_a_single_strange_window_is_no_handover() -> None:
    assert watched([ALICE] * 5 + [BOB] + [ALICE] * 5) is None


def test_two_windows_are_not_enough_to_know_a_voice_by() -> None:
    assert watched([ALICE, BOB, BOB]) is None
    assert watched([ALICE, ALICE, BOB, BOB]) is not None


def test_what_was_noticed_first_stays() -> None:
    first = watched([ALICE] * 5 + [BOB] * 2)
    assert watched([ALICE] * 5 + [BOB] * 20 + [ALICE] * 9) == first


def test_without_a_threshold_nothing_is_noticed() -> None:
    assert watched([ALICE] * 5 + [BOB] * 5, None) is None


def test_loud_windows_count_as_much_as_they_do_in_the_mean() -> None:
    assert watched([100 * ALICE] * 3 + [BOB, 3 * ALICE, BOB]) is None
