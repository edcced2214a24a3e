"""The tables of a report: error rates, thresholds and calibrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speakerd_server.cards import LlrCalibration
from speakerd_server.evaluation.bootstrap import Interval
from speakerd_server.evaluation.calibrate import Fitted
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.measured import Application, Measured
from speakerd_server.evaluation.page import Cell, table
from speakerd_server.evaluation.thresholds import Suggestion


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One list of trials at one length of speech, on one scale."""

    evaluated: Evaluated
    """Its trials."""
    measured: Measured
    """Its numbers."""
    suggestion: Suggestion | None = None
    """The threshold that was asked for; None: that of the equal error rate is drawn."""
    refused: str = ""
    """Why there is none, where one was asked for."""


def rates_table(shown: Sequence[Shown], names: Sequence[str]) -> str:
    """Give the table of error rates, one row for each of `shown`, by `names`."""
    applications = list(
        dict.fromkeys(cost.application for one in shown for cost in one.measured.costs)
    )
    calibrated = any(one.measured.cllr is not None for one in shown)
    head = [
        "trials",
        "speakers",
        "EER, %",
        *(f"minDCF {_application(one)}" for one in applications),
    ]
    head += [f"actual DCF {_application(one)}" for one in applications if calibrated]
    head += ["minCllr, bits", *(["Cllr, bits"] if calibrated else [])]
    rows = [
        [*_who(name, one), *_costs(one.measured, applications, calibrated)]
        for name, one in zip(names, shown, strict=True)
    ]
    return table(head, rows)


def _who(name: str, one: Shown) -> list[Cell]:
    measured = one.measured
    short = f", {one.evaluated.left_out} left out as too short" if one.evaluated.left_out else ""
    pairs = f"{measured.target_trials} genuine, {measured.nontarget_trials} impostor{short}"
    rate = Cell(
        f"{100 * measured.equal_error_rate:.3f}",
        _interval(measured.equal_error_interval, "{:.2f}", 100.0),
    )
    return [Cell(name, pairs), Cell(str(measured.speakers)), rate]


def _costs(measured: Measured, applications: Sequence[Application], calibrated: bool) -> list[Cell]:
    costs = {cost.application: cost for cost in measured.costs}
    found = [costs.get(one) for one in applications]
    cells = [
        Cell("") if cost is None else Cell(f"{cost.minimum:.3f}", _interval(cost.minimum_interval))
        for cost in found
    ]
    if calibrated:
        cells += [Cell(_number(None if cost is None else cost.actual)) for cost in found]
    cells.append(Cell(f"{measured.minimum_cllr:.4f}"))
    return [*cells, Cell(_number(measured.cllr, 4))] if calibrated else cells


def thresholds_table(suggested: Sequence[tuple[str, Suggestion]]) -> str:
    """Give the table of suggested thresholds, by name."""
    head = [
        "trials",
        "wanted FAR, %",
        "threshold",
        "FAR, %",
        "FRR, %",
        "impostor pairs",
        "genuine pairs",
    ]
    return table(head, [_threshold_row(name, one) for name, one in suggested])


def _threshold_row(name: str, one: Suggestion) -> list[Cell]:
    return [
        Cell(name),
        Cell(f"{100 * one.target_far:g}"),
        Cell(f"{one.threshold:.5f}", _interval(one.threshold_interval)),
        Cell(f"{100 * one.far:.3f}", _interval(one.far_interval, "{:.2f}", 100.0)),
        Cell(f"{100 * one.frr:.3f}", _interval(one.frr_interval, "{:.2f}", 100.0)),
        Cell(str(one.impostor_pairs), f"of {one.impostor_speaker_pairs} pairs of speakers"),
        Cell(str(one.genuine_pairs), f"of {one.genuine_speakers} speakers"),
    ]


def calibration_table(fitted: Sequence[Fitted]) -> str:
    """Give the table of calibrations and of what they cost."""
    head = ["profile", "map", "Cllr before, bits", "Cllr after, bits", "minCllr after, bits"]
    return table(
        head,
        [
            [
                Cell(
                    one.calibration.profile,
                    f"{one.trials} trials, {one.calibration.speakers} speakers",
                ),
                Cell(formula(one.calibration)),
                *(
                    Cell(f"{cost.cllr:.4f}", _interval(cost.interval))
                    for cost in (one.before, one.after)
                ),
                Cell(f"{one.after.minimum:.4f}"),
            ]
            for one in fitted
        ],
    )


def formula(calibration: LlrCalibration) -> str:
    """Write a calibration as the sum that it is, for people."""
    terms = f"llr = {calibration.offset:.4g} + {calibration.slope:.4g} * {calibration.scale.value}"
    for weight, name in ((calibration.shorter, "shorter"), (calibration.longer, "longer")):
        terms += f" + {weight:.4g} * ln({name} side's s)" if weight else ""
    if calibration.shorter or calibration.longer:
        terms += f", s within {calibration.shortest_s:.3g} to {calibration.longest_s:.3g}"
    return terms.replace("+ -", "- ")


def _application(one: Application) -> str:
    costs = "" if one.c_miss == one.c_fa == 1 else f", costs {one.c_miss:g} and {one.c_fa:g}"
    return f"at p {one.p_target:g}{costs}"


def _interval(found: Interval | None, form: str = "{:.3f}", scale: float = 1.0) -> str:
    if found is None:
        return ""
    return f"{form.format(scale * found.low)} to {form.format(scale * found.high)}"


def _number(value: float | None, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
