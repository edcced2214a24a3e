"""Score files as WeSpeaker's score.py and score_norm.py write them, so that its tools read them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from speakerd_server.errors import OutputUnusable
from speakerd_server.evaluation.scoring import Scored
from speakerd_server.evaluation.trials import Trials


def score_file_name(trials: Trials, speech: str = "whole", norm: str = "") -> str:
    """Give `LIST.score`, with `_2s` for cut speech and `_asnorm300` for a normalisation."""
    cut = "" if speech == "whole" else f"_{speech.replace(' ', '')}"
    return f"{trials.path.name}{cut}{f'_{norm}' if norm else ''}.score"


def make_folder(folder: Path) -> None:
    """Make a folder that files can be written into, if there is none; raises OutputUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputUnusable(folder, "it is a file, and must be a folder") from error
    except OSError as error:
        raise OutputUnusable(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputUnusable(folder, "it is read-only, or another user's")


def write_scores(path: Path, trials: Trials, scored: Scored) -> None:
    """Write `enroll test score label` on each line; with AS-norm, eight columns.

    The four more are the lengths of the enrolled and the tested embedding and the means of their
    top cosines to the cohort. The file is written whole or not at all.

    Raises:
        OutputUnusable: The folder cannot be made or written.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_lines(trials, scored))
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OutputUnusable(path, error.strerror or str(error)) from error


def _lines(trials: Trials, scored: Scored) -> Iterator[str]:
    labels = ("target" if target else "nontarget" for target in trials.target.tolist())
    rows = zip(trials.enroll, trials.test, scored.texts, labels, strict=True)
    if scored.sides is None:
        for row in rows:
            yield " ".join(row) + "\n"
        return
    sides = scored.sides
    columns = (sides.enroll_length, sides.test_length, sides.enroll_mean, sides.test_mean)
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    for row, more in zip(rows, numbers, strict=True):
        yield " ".join([*row, *(f"{number:.4f}" for number in more)]) + "\n"
