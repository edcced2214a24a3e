from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speakerd_server.evaluation.embeddings import Embeddings
from speakerd_server.evaluation.over_telephone import as_heard, heard_sides, joined
from speakerd_server.evaluation.trials import Trials
from speakerd_server.offline.lists import Listed

TRIALS = Trials(Path("trials"), ("a", "a"), ("b", "c"), np.array([True, False]))
LISTED = tuple(Listed(name, Path(f"{name}.wav"), line) for line, name in enumerate("abc", 1))
SPEAKERS = {"a": "x", "b": "x", "c": "y"}


@pytest.mark.parametrize("over_telephone", [None, "both"])
def test_where_both_sides_are_heard_alike_ids_stay(over_telephone: str | None) -> None:
    (side,) = heard_sides(LISTED, [TRIALS], over_telephone)
    assert (side.listed, side.over_telephone) == (LISTED, over_telephone == "both")
    assert as_heard(TRIALS, SPEAKERS, over_telephone) == (TRIALS, SPEAKERS)


def test_calls_alone_are_other_recordings_of_the_same_persons() -> None:
    wide, line = heard_sides(LISTED, [TRIALS], "calls")
    assert [one.id for one in wide.listed] == ["a"]
    assert [one.id for one in line.listed] == ["b", "c"]
    assert (wide.over_telephone, line.over_telephone) == (False, True)
    trials, speakers = as_heard(TRIALS, SPEAKERS, "calls")
    assert trials.enroll == ("a", "a")
    assert trials.test == ("b@telephone", "c@telephone")
    assert speakers["c@telephone"] == "y"


def test_embeddings_of_both_sides_come_together_at_each_length() -> None:
    def some(ids: str, first: float) -> Embeddings:
        values = np.full((len(ids), 2), first, np.float32)
        return Embeddings(Path("wav.scp"), tuple(ids), values, np.full(len(ids), 2.0))

    sides = heard_sides(LISTED, [TRIALS], "calls")
    none = Embeddings(Path("wav.scp"), (), np.empty((0, 0), np.float32), np.empty(0))
    found = joined(
        [{"2 s": some("a", 1.0), "whole": none}, {"2 s": some("bc", 3.0), "whole": some("b", 5.0)}],
        sides,
    )
    assert found["2 s"].ids == ("a", "b@telephone", "c@telephone")
    assert found["2 s"].values[:, 0].tolist() == [1.0, 3.0, 3.0]
    assert found["whole"].ids == ("b@telephone",)
    assert found["whole"].values.shape == (1, 2)
    assert found["2 s"].seconds is not None
    assert found["2 s"].seconds.tolist() == [2.0, 2.0, 2.0]
