from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ListInvalid, TrialsUnusable
from speakerd_server.evaluation.trials import check_known, read_trials


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "trials.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a b target\na c nontarget\n",
        "1 a b\n0 a c\n",
        "\ufeffa b target\r\na c nontarget\r\n\r\n",
        "a\tb   target\n\na c nontarget",
    ],
)
def test_both_forms_give_the_same_trials(tmp_path: Path, text: str) -> None:
    trials = read_trials(written(tmp_path, text))
    assert trials.enroll == ("a", "a")
    assert trials.test == ("b", "c")
    assert trials.target.tolist() == [True, False]
    assert (len(trials), trials.repeated) == (2, 0)


def test_ids_may_look_like_labels_of_the_other_form(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, "1 0 target\n0 1 nontarget\n"))
    assert trials.enroll == ("1", "0")
    trials = read_trials(written(tmp_path, "1 a 0\n0 a 1\n"))
    assert trials.test == ("0", "1")


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a b target\na c\n", 2, "2 field"),
        ("a b target\na c d nontarget\n", 2, "4 field"),
        ("a b target\n\na c impostor\n", 3, "'impostor'"),
        ("a b 1\na c 0\n", 1, "'1'"),
        ("1 a b\n2 a c\n", 2, "'2'"),
        ("a b target\n0 a c\n", 2, "'c'"),
        ("1 a b\na c nontarget\n", 2, "'a'"),
        ("", None, "empty"),
        (b"a b target\na \xff nontarget\n", 2, "UTF-8"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(
    tmp_path: Path, text: str | bytes, line: int | None, told: str
) -> None:
    with pytest.raises(ListInvalid, match=told) as refused:
        read_trials(written(tmp_path, text))
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a b target\na c target\n", "2 trials is a non-target"),
        ("0 a b\n", "1 trials is a target"),
        ("a b target\na c nontarget\na b nontarget\n", "line 3"),
    ],
)
def test_a_list_that_cannot_be_measured_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(TrialsUnusable, match=told):
        read_trials(written(tmp_path, text))


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_list_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ListInvalid, match="cannot be read"):
        read_trials(tmp_path / name)


def test_repeated_pairs_are_counted_and_kept(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, "a b target\na c nontarget\na b target\nb a target\n"))
    assert (len(trials), trials.repeated) == (4, 1)
    kept = trials.only(trials.target)
    assert kept.enroll == ("a", "a", "b")
    assert (kept.repeated, kept.target.tolist()) == (1, [True] * 3)
    assert len(trials.only(~trials.target & trials.target)) == 0


def test_an_unknown_id_is_told_with_its_line_and_how_many_there_are(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, "a b target\n\na z nontarget\ny a nontarget\n"))
    check_known(trials, {"a", "b", "y", "z"}, tmp_path / "x.scp")
    with pytest.raises(ListInvalid, match=r"line 3: z is not in .*x\.scp \(2 such") as refused:
        check_known(trials, {"a", "b"}, tmp_path / "x.scp")
    assert refused.value.line == 3


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    try:
        trials = read_trials(path)
    except (ListInvalid, TrialsUnusable):
        return
    assert 0 < trials.target.sum() < len(trials)
