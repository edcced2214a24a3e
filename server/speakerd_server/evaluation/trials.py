"""Trial lists: which pairs of recordings are compared, and which are of one person.

Two forms are read, one for a whole file: WeSpeaker's and Kaldi's `enroll test target|nontarget`,
and VoxCeleb's `1|0 enroll test`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import ListInvalid, TrialsUnusable
from speakerd_server.offline.lists import read_fields

_LABELS = {"target": True, "nontarget": False}
_FIGURES = {"1": True, "0": False}
_WANTED = "`enroll test target|nontarget` or `1|0 enroll test`"


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """The pairs of one list, in its order."""

    path: Path
    """Where it was read."""
    enroll: tuple[str, ...]
    """Id of the enrolled side of each trial."""
    test: tuple[str, ...]
    """Id of the tested side of each trial."""
    target: NDArray[np.bool_]
    """bool[n]: whether both sides are one person."""
    repeated: int = 0
    """Trials whose pair, in this order, stood in the list before; they count again."""

    def __len__(self) -> int:
        return len(self.enroll)

    def only(self, kept: NDArray[np.bool_]) -> Trials:
        """Give the trials for which bool[n] `kept` is true; there may be none."""
        rows = np.flatnonzero(kept).tolist()
        enroll = tuple(self.enroll[row] for row in rows)
        test = tuple(self.test[row] for row in rows)
        pairs = len(set(zip(enroll, test, strict=True)))
        return Trials(self.path, enroll, test, self.target[kept], len(rows) - pairs)


def read_trials(path: Path) -> Trials:
    """Read a trial list.

    Raises:
        ListInvalid: It cannot be read, or a line is not of the form of the first one.
        TrialsUnusable: It has no target or no non-target trial, or one pair with both labels.
    """
    labels: dict[tuple[str, str], bool] = {}
    enroll, test, target = [], [], []
    for number, first, second, label in _lines(path):
        if labels.setdefault((first, second), label) != label:
            problem = f"{first} {second} is target and nontarget; the second is line {number}"
            raise TrialsUnusable(path, problem)
        enroll.append(first)
        test.append(second)
        target.append(label)
    trials = Trials(
        path, tuple(enroll), tuple(test), np.array(target, np.bool_), len(enroll) - len(labels)
    )
    _check_both_kinds(trials)
    return trials


def _lines(path: Path) -> Iterator[tuple[int, str, str, bool]]:
    """Give the number, both ids and the label of each line that is not blank."""
    form = None
    for number, fields in read_fields(path, {3}, _WANTED):
        form = form or _form(fields)
        yield number, *_read(form, fields, path, number)


def _form(fields: list[str]) -> str:
    """Tell the form of a list by its first line; "kaldi" where neither fits, to be refused."""
    return "voxceleb" if fields[2] not in _LABELS and fields[0] in _FIGURES else "kaldi"


def _read(form: str, fields: list[str], path: Path, number: int) -> tuple[str, str, bool]:
    """Give both ids and the label of one line."""
    if form == "kaldi":
        first, second, word = fields
        known = _LABELS
    else:
        word, first, second = fields
        known = _FIGURES
    if word not in known:
        problem = f"the label {word!r} is neither {' nor '.join(known)}; a line is {_WANTED}"
        raise ListInvalid(path, number, problem)
    return first, second, known[word]


def _check_both_kinds(trials: Trials) -> None:
    """Raise TrialsUnusable unless there are trials of one person and of two."""
    for kind, count in (
        ("target", int(trials.target.sum())),
        ("non-target", int((~trials.target).sum())),
    ):
        if not count:
            problem = f"none of its {len(trials)} trials is a {kind} trial, both kinds are needed"
            raise TrialsUnusable(trials.path, problem)


def check_known(trials: Trials, known: Collection[str], source: Path) -> None:
    """Raise ListInvalid, with the line, where trials name an id that `source` does not have."""
    missing = sorted({*trials.enroll, *trials.test}.difference(known))
    if not missing:
        return
    unknown = frozenset(missing)
    for number, first, second, _ in _lines(trials.path):
        if name := next((one for one in (first, second) if one in unknown), None):
            problem = f"{name} is not in {source} ({len(missing)} such id(s) in the list)"
            raise ListInvalid(trials.path, number, problem)
