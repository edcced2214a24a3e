"""Options of `speakerd evaluate` for calibrations, thresholds and the report, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from speakerd_server.evaluation.bootstrap import Interval
    from speakerd_server.evaluation.calibrate import Cost, Fitted
    from speakerd_server.evaluation.further import Found
    from speakerd_server.evaluation.report_tables import Shown
    from speakerd_server.evaluation.thresholds import Suggestion

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--target-far",
        type=float,
        metavar="RATE",
        help="Suggest the threshold for this false-accept rate, such as 0.01; with --sequential,"
        " learn boundaries for it.",
    ),
    click.option(
        "--calibrate",
        is_flag=True,
        help="Fit whole recordings' scores, normalised ones with a cohort, to log-likelihood"
        " ratios; measured on speakers left out of the fit.",
    ),
    click.option(
        "--with-durations",
        is_flag=True,
        help="Fit the seconds of speech too, over whole recordings and all --durations.",
    ),
    click.option(
        "--profile-name",
        metavar="NAME",
        help="Channel type of the calibration or the boundaries; scores use wide-wide, wide-narrow,"
        " narrow-narrow by the bands of both sides, and default where there is none for them."
        " [default: default, or by --over-telephone]",
    ),
    click.option(
        "--fitted-on",
        metavar="TEXT",
        help="What a fit says that it was made from. [default: the lists' names]",
    ),
    click.option("--profile-output", type=_FILE, help="Write the fit to this profile (TOML)."),
    click.option(
        "--into-card", is_flag=True, help="Write what is fitted into the card of --model."
    ),
    click.option(
        "--profile",
        type=_FILE,
        help="Measure Cllr and actual costs with this profile, not with the card's calibration.",
    ),
    click.option(
        "--report", type=_FILE, help="Write this page (.html), and its pictures beside it as PNG."
    ),
)


def calibration_options(command: F) -> F:
    """Give a command the options of `evaluation.further.Further`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def found_document(found: Found) -> dict[str, Any]:
    """Give what came of these options for JSON; rates in percent, Cllr in bits."""
    document: dict[str, Any] = {}
    suggested = [
        _suggestion_document(row, row.suggestion)
        for row in found.rows
        if row.suggestion or row.refused
    ]
    if suggested:
        document["thresholds"] = suggested
    if found.fitted is not None:
        document["calibration"] = _fitted_document(found.fitted)
    if found.written:
        document["written"] = [str(path) for path in found.written]
    return document


def _suggestion_document(row: Shown, one: Suggestion | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "trials": str(row.evaluated.trials.path),
        "speech": row.evaluated.speech,
        "scale": row.evaluated.scale.value,
    }
    if one is None:
        return document | {"problem": row.refused}
    return document | {
        "target_far_percent": 100 * one.target_far,
        "threshold": one.threshold,
        "threshold_interval": list(one.threshold_interval),
        "far_percent": 100 * one.far,
        "far_interval_percent": [100 * end for end in one.far_interval],
        "frr_percent": 100 * one.frr,
        "frr_interval_percent": [100 * end for end in one.frr_interval],
        "impostor_pairs": one.impostor_pairs,
        "impostor_speaker_pairs": one.impostor_speaker_pairs,
        "genuine_pairs": one.genuine_pairs,
        "genuine_speakers": one.genuine_speakers,
        "measured": one.measured,
        "smallest_far_percent": 100 * one.smallest_far,
    }


def _fitted_document(fitted: Fitted) -> dict[str, Any]:
    from speakerd_server.models.card import llr_table

    def cost(one: Cost) -> dict[str, Any]:
        return {"cllr": one.cllr, "interval": list(one.interval), "minimum": one.minimum}

    return {
        "llr": llr_table(fitted.calibration),
        "fitted_trials": fitted.trials,
        "left_out_groups": fitted.folds,
        "before": cost(fitted.before),
        "after": cost(fitted.after),
    }


def found_text(found: Found) -> str:
    """Give what came of these options for people; empty where there were none."""
    parts = [_suggestion_text(row, row.suggestion) for row in found.rows if row.suggestion]
    parts += [
        f"No threshold, {row.evaluated.scale.value}, {row.evaluated.trials.path},"
        f" {row.evaluated.speech}: {row.refused}."
        for row in found.rows
        if row.refused
    ]
    if found.fitted is not None:
        parts.append("\n".join(_fitted_lines(found.fitted)))
    if found.written:
        parts.append("\n".join(f"Written: {path}" for path in found.written))
    return "\n\n".join(parts)


def _suggestion_text(row: Shown, one: Suggestion) -> str:
    evaluated = row.evaluated
    lines = [
        f"Threshold for a false-accept rate of {100 * one.target_far:g} %, {evaluated.scale.value},"
        f" {evaluated.trials.path}, {evaluated.speech}:"
        f" {one.threshold:.5f} ({_range(one.threshold_interval)})",
        f"  FAR {_rate(one.far, one.far_interval)} of {one.impostor_pairs} impostor pairs, which"
        f" are of {one.impostor_speaker_pairs} pairs of speakers",
        f"  FRR {_rate(one.frr, one.frr_interval)} of {one.genuine_pairs} genuine pairs, which are"
        f" of {one.genuine_speakers} speakers",
    ]
    if not one.measured:
        lines.append(
            f"  An indication, no more: {one.false_accepts} of these impostor pairs are accepted,"
            " and a rate is called measured from 30 on (Doddington's rule)."
        )
    return "\n".join(lines)


def _fitted_lines(fitted: Fitted) -> Iterator[str]:
    from speakerd_server.evaluation.report_tables import formula

    one = fitted.calibration
    yield f'Calibration "{one.profile}": {formula(one)}'
    yield f"  fitted on {fitted.trials} trials of {one.speakers} speakers: {one.trials}"
    yield f"  on speakers left out of the fit ({fitted.folds} groups in turn), in bits:"
    yield f"    before  Cllr {_cost(fitted.before)}, the scores taken as ratios as they are"
    yield f"    after   Cllr {_cost(fitted.after)}"


def _cost(one: Cost) -> str:
    low, high = one.interval
    return f"{one.cllr:.3f} ({low:.3f} to {high:.3f}), minCllr {one.minimum:.3f}"


def _rate(rate: float, around: Interval) -> str:
    return f"{100 * rate:.3f} % ({100 * around.low:.2f} to {100 * around.high:.2f})"


def _range(around: Interval) -> str:
    return f"{around.low:.5f} to {around.high:.5f}"
