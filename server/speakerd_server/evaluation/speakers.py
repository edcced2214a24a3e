"""Who speaks in each recording of trial lists: as told, or as the target trials imply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from speakerd_server.errors import ListInvalid, TrialsUnusable
from speakerd_server.evaluation.trials import Trials
from speakerd_server.offline.lists import check_unique, read_fields


def speakers_of(lists: Sequence[Trials], utt2spk: Path | None = None) -> Mapping[str, str]:
    """Give the person of every recording that the trial lists name.

    Without utt2spk, recordings joined by target trials, directly or through others, of any of the
    lists, are one person, named after the first of their ids; a recording without a target trial
    is a person of its own.

    Args:
        lists: Their ids mean the same recording in each list.
        utt2spk: Kaldi's list with an id and its speaker on each line; None to derive.

    Raises:
        ListInvalid: utt2spk cannot be read, or does not name every recording.
        TrialsUnusable: A label contradicts what is known of who speaks.
    """
    named = _read_utt2spk(utt2spk, lists) if utt2spk is not None else _joined(lists)
    for trials in lists:
        _check_labels(trials, named, derived=utt2spk is None)
    return named


def _joined(lists: Iterable[Trials]) -> dict[str, str]:
    """Connect the recordings of target trials (union-find with path halving)."""
    parent: dict[str, str] = {}

    def root(one: str) -> str:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for trials in lists:
        for first, second, target in zip(trials.enroll, trials.test, trials.target, strict=True):
            parent.setdefault(first, first)
            parent.setdefault(second, second)
            if target:
                one, other = sorted((root(first), root(second)))
                parent[other] = one
    return {one: root(one) for one in parent}


def _read_utt2spk(path: Path, lists: Sequence[Trials]) -> dict[str, str]:
    """Read the persons of every recording of the lists."""
    entries = read_fields(path, {2}, "an id and its speaker")
    check_unique(path, [(number, fields[0]) for number, fields in entries])
    known = {fields[0]: fields[1] for _, fields in entries}
    wanted = {one for trials in lists for one in (*trials.enroll, *trials.test)}
    if missing := sorted(wanted - known.keys()):
        problem = f"{len(missing)} id(s) of the trials are missing, the first is {missing[0]}"
        raise ListInvalid(path, None, problem)
    return {one: known[one] for one in wanted}


def _check_labels(trials: Trials, named: Mapping[str, str], *, derived: bool) -> None:
    """Raise TrialsUnusable for the first trial whose label contradicts who speaks."""
    sides = zip(trials.enroll, trials.test, trials.target, strict=True)
    wrong = [
        (first, second, target)
        for first, second, target in sides
        if (named[first] == named[second]) != target
    ]
    if not wrong:
        return
    first, second, target = wrong[0]
    label = "target" if target else "nontarget"
    why = (
        "target trials join the two as one person"
        if derived
        else f"their speakers are {named[first]} and {named[second]}"
    )
    raise TrialsUnusable(
        trials.path,
        f"{len(wrong)} label(s) contradict who speaks: {first} {second} is {label}, but {why}",
    )
