"""What `speakerd evaluate` shows: a table for each list, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speakerd_server.evaluation.bootstrap import LEAST_SPEAKERS, Interval
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.measured import Measured, MeasuredCost
from speakerd_server.evaluation.trials import Trials
from speakerd_server.evaluation.wanted import Wanted

Row = tuple[Evaluated, Measured | None]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One list and what came of it."""

    trials: Trials
    """The whole list."""
    rows: Sequence[Row]
    """Rising length of speech, the whole last; cosines before normalised scores."""


def as_document(shown: Sequence[Shown], wanted: Wanted, further: Mapping[str, Any]) -> str:
    """Write everything as one JSON document; rates in percent, costs normalised, Cllr in bits.

    `further` is added to it.
    """
    document = {
        "bootstrap_draws": wanted.bootstrap,
        "interval_level": 0.95,
        "output": str(wanted.output) if wanted.output is not None else None,
        "lists": [
            {
                "trials": str(one.trials.path),
                "target_trials": int(one.trials.target.sum()),
                "nontarget_trials": int((~one.trials.target).sum()),
                "repeated_trials": one.trials.repeated,
                "results": [_result(*row) for row in one.rows],
            }
            for one in shown
        ],
    }
    return json.dumps({**document, **further}, indent=2)


def _result(evaluated: Evaluated, measured: Measured | None) -> dict[str, Any]:
    identity = evaluated.model
    found: dict[str, Any] = {
        "speech": evaluated.speech,
        "scale": evaluated.scale.value,
        "model": str(identity) if identity else None,
        "trials": len(evaluated.trials),
        "left_out_trials": evaluated.left_out,
    }
    if measured is None:
        return found | {"problem": _problem(evaluated)}
    around = measured.equal_error_interval
    return found | {
        "target_trials": measured.target_trials,
        "nontarget_trials": measured.nontarget_trials,
        "speakers": measured.speakers,
        "equal_error_percent": 100 * measured.equal_error_rate,
        "equal_error_interval_percent": [100 * end for end in around] if around else None,
        "threshold": measured.threshold,
        "costs": [_cost(one) for one in measured.costs],
        "minimum_cllr": measured.minimum_cllr,
        "cllr": measured.cllr,
        "calibration": None
        if measured.calibration is None
        else {"profile": measured.calibration.profile, "trials": measured.calibration.trials},
    }


def _cost(one: MeasuredCost) -> dict[str, Any]:
    return {
        "p_target": one.application.p_target,
        "c_miss": one.application.c_miss,
        "c_fa": one.application.c_fa,
        "minimum": one.minimum,
        "minimum_interval": list(one.minimum_interval) if one.minimum_interval else None,
        "actual": one.actual,
    }


def _problem(evaluated: Evaluated) -> str:
    kind = "non-target" if evaluated.trials.target.any() else "target"
    return f"{evaluated.left_out} trials have a shorter side; no {kind} trial is left"


def as_text(shown: Sequence[Shown], wanted: Wanted) -> str:
    """Write a table for each list, and below them what the reader has to know."""
    parts = [_list_as_text(one, wanted) for one in shown]
    return "\n\n".join([*parts, "\n".join(_notes(shown, wanted))])


def _list_as_text(shown: Shown, wanted: Wanted) -> str:
    trials = shown.trials
    targets = int(trials.target.sum())
    head = f"{trials.path}: {targets} target and {len(trials) - targets} non-target trials"
    if trials.repeated:
        head += f"; {trials.repeated} repeat a pair and count again"
    calibrated = any(row is not None and row.cllr is not None for _, row in shown.rows)
    titles = _titles(wanted, calibrated)
    table = [titles]
    for one, measured in shown.rows:
        start = [one.speech, one.scale.value, str(len(one.trials))]
        found = [] if measured is None else _cells(measured, calibrated)
        table.append([*start, *found, *["-"] * (len(titles) - len(start) - len(found))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_aligned(cells, widths) for cells in table]
    problems = [
        f"  {one.speech}, {one.scale.value}: {_problem(one)}"
        for one, measured in shown.rows
        if measured is None
    ]
    return "\n".join([head, *lines, *problems])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    words = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return ("  " + "  ".join([*words, *numbers])).rstrip()


def _titles(wanted: Wanted, calibrated: bool) -> list[str]:
    titles = ["speech", "score", "trials", "speakers", "EER %", "95 %", "threshold"]
    for one in wanted.applications:
        titles.append(f"minDCF {one.p_target:g}")
        titles += [f"actDCF {one.p_target:g}"] if calibrated else []
    return [*titles, *(["Cllr"] if calibrated else []), "minCllr"]


def _cells(measured: Measured, calibrated: bool) -> list[str]:
    """Give the cells from `speakers` on."""
    rate, around = measured.equal_error_rate, measured.equal_error_interval
    percents = Interval(100 * around.low, 100 * around.high) if around else None
    cells = [str(measured.speakers), f"{100 * rate:.3f}", _range(percents)]
    cells.append(f"{measured.threshold:.5f}")
    for one in measured.costs:
        cells.append(f"{one.minimum:.3f}")
        cells += [_number(one.actual)] if calibrated else []
    return [
        *cells,
        *([_number(measured.cllr)] if calibrated else []),
        _number(measured.minimum_cllr),
    ]


def _range(around: Interval | None) -> str:
    return f"{around.low:.3f} to {around.high:.3f}" if around else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _notes(shown: Sequence[Shown], wanted: Wanted) -> list[str]:
    rows = [(one, row) for list_ in shown for one, row in list_.rows if row is not None]
    notes = [
        "Accept at the threshold or above; it is the one of the equal error rate on these trials.",
        f"Costs are normalised, with c_miss {wanted.c_miss:g} and c_fa {wanted.c_fa:g}; Cllr is in"
        " bits.",
    ]
    if wanted.bootstrap:
        notes.append(
            f"95 % intervals: {wanted.bootstrap} draws of speakers, not of trials, with seed"
            f" {wanted.seed}; those of the costs are in --json."
        )
    if any(row.equal_error_interval == (0.0, 0.0) for _, row in rows):
        notes.append(
            "An interval from 0 to 0 says that no draw of these speakers has an error, not that"
            " others have none."
        )
    if wanted.bootstrap and any(row.speakers < LEAST_SPEAKERS for _, row in rows):
        notes.append(f"No interval is given for fewer than {LEAST_SPEAKERS} speakers.")
    if wanted.utt2spk is None:
        notes.append("Speakers are told from the target trials; --utt2spk says who speaks.")
    used = dict.fromkeys(row.calibration for _, row in rows if row.calibration is not None)
    notes += [
        f'Cllr and actual costs are by the calibration "{one.profile}", fitted on {one.trials}:'
        " they flatter it where these trials are among them."
        for one in used
    ]
    if any(row.cllr is None for _, row in rows):
        notes.append(
            "Cllr and actual costs are of log-likelihood ratios, which cosines and normalised"
            " scores are not: without a calibration that fits they are not shown."
        )
    if wanted.output is not None:
        notes.append(f"Score files are in {wanted.output}.")
    return notes
