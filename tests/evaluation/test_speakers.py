from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ListInvalid, TrialsUnusable
from speakerd_server.evaluation.speakers import speakers_of
from speakerd_server.evaluation.trials import Trials


def trials(*pairs: tuple[str, str, bool]) -> Trials:
    enroll, test, target = zip(*pairs, strict=True)
    return Trials(Path("trials.txt"), enroll, test, np.array(target))


CHAIN = trials(("d", "b", True), ("c", "b", True), ("a", "z", False), ("d", "e", False))


def test_recordings_joined_by_target_trials_are_one_person() -> None:
    found = speakers_of([CHAIN])
    assert found == {"b": "b", "c": "b", "d": "b", "a": "a", "z": "z", "e": "e"}


def test_several_lists_join_together() -> None:
    more = trials(("e", "f", True), ("a", "b", True))
    found = speakers_of([CHAIN, more])
    assert len({found[one] for one in "abcd"}) == 1
    assert found["e"] == found["f"] != found["a"]


def test_a_label_against_the_joined_persons_is_refused_by_name() -> None:
    wrong = trials(("a", "b", True), ("b", "c", True), ("x", "y", False), ("a", "c", False))
    with pytest.raises(TrialsUnusable, match=r"1 label.*a c is nontarget, but target trials join"):
        speakers_of([wrong])


def told(folder: Path, text: str) -> Path:
    path = folder / "utt2spk"
    path.write_text(text)
    return path


def test_a_list_of_speakers_comes_first(tmp_path: Path) -> None:
    path = told(tmp_path, "a S1\nb S2\nc S2\nd S2\ne S1\nz S3\nunused S9\n")
    found = speakers_of([CHAIN], path)
    assert found == {"a": "S1", "b": "S2", "c": "S2", "d": "S2", "e": "S1", "z": "S3"}


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("a S1\nb S2\n", ListInvalid, r"4 id\(s\) .* the first is c"),
        ("a S1\na S2\n", ListInvalid, "line 2"),
        ("a S1 x\n", ListInvalid, "3 field"),
        ("a S1\nb S2\nc S2\nd S1\ne S1\nz S3\n", TrialsUnusable, "d b is target.*S1 and S2"),
        ("a S1\nb S2\nc S2\nd S2\ne S2\nz S3\n", TrialsUnusable, "d e is nontarget.*S2 and S2"),
    ],
)
def test_a_list_of_speakers_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        speakers_of([CHAIN], told(tmp_path, text))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.integers(0, 1000))
def test_the_true_persons_are_found_again(persons: list[int], seed: int) -> None:
    count = len(persons)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    np.random.default_rng(seed).shuffle(pairs)
    found = speakers_of([trials(*((f"u{i}", f"u{j}", persons[i] == persons[j]) for i, j in pairs))])
    for i, j in pairs:
        assert (found[f"u{i}"] == found[f"u{j}"]) == (persons[i] == persons[j])
