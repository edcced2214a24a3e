"""The report people look at: one HTML file with its pictures in it, and the same as PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speakerd_server import __version__
from speakerd_server.errors import ExtraMissing, OutputUnusable
from speakerd_server.evaluation import sequential_report
from speakerd_server.evaluation.calibrate import Fitted
from speakerd_server.evaluation.curves import DurationPoint, Panel, histograms, rate_curves
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.page import (
    definitions,
    escaped,
    heading,
    page,
    picture,
)
from speakerd_server.evaluation.report_tables import (
    Shown,
    calibration_table,
    rates_table,
    thresholds_table,
)
from speakerd_server.evaluation.sequential import Learnt
from speakerd_server.models.bundle import write_whole
from speakerd_server.values import ScoreScale

TITLE = "Speaker verification: error rates"
PICTURES = ("det", "scores", "far_frr", "durations", "sequential")
"""What `out.html` puts beside itself: out_det.png and so on, the last two only where asked for."""


def write_report(
    path: Path,
    shown: Sequence[Shown],
    facts: Sequence[tuple[str, str]],
    *,
    fitted: Sequence[Fitted] = (),
    learnt: Learnt | None = None,
) -> list[Path]:
    """Write the page and, beside it, its pictures as PNG; the same arguments give the same bytes.

    Args:
        path: Of the page; its folder is made if it does not exist.
        shown: At least one.
        facts: Names and values of what the numbers were made from: model, SHA-256, options. They
            are shown as they are given, so no more of a path than its name should be in them.
        fitted: Calibrations that were fitted in the same run.
        learnt: Sequential boundaries that were learnt in it.

    Returns:
        The files written, the page first.

    Raises:
        ExtraMissing: matplotlib or scipy is not installed.
        OutputUnusable: A file cannot be written.
    """
    try:
        from speakerd_server.evaluation import drawing, plots, sequential_plot
    except ImportError as error:
        raise ExtraMissing("evaluate", "matplotlib") from error
    names = labels([one.evaluated for one in shown])
    panels = [_panel(one, name) for one, name in zip(shown, names, strict=True)]
    figures = {
        "det": plots.det_figure(panels),
        "scores": plots.scores_figure(panels),
        "far_frr": plots.rates_figure(panels),
    }
    durations = _durations(shown)
    if durations:
        figures["durations"] = plots.durations_figure(durations)
    if learnt is not None:
        figures["sequential"] = sequential_plot.boundaries_figure(learnt)
    pictures = {name: drawing.as_svg(figure, name) for name, figure in figures.items()}
    whole = page(
        TITLE, _parts(shown, names, facts, fitted, learnt, pictures), drawing.LIGHT, drawing.DARK
    )
    contents = {path: whole.encode()} | {
        path.with_name(f"{path.stem}_{name}.png"): drawing.as_png(figure)
        for name, figure in figures.items()
    }
    for one, content in contents.items():
        _write(one, content)
    return list(contents)


def labels(evaluated: Sequence[Evaluated]) -> list[str]:
    """Name each: by its list, and by its length of speech and scale where these differ."""
    paths = list(dict.fromkeys(one.trials.path for one in evaluated))
    alike = Counter(one.name for one in paths)
    several = len({one.scale for one in evaluated}) > 1
    cut = len({one.speech for one in evaluated}) > 1
    names = []
    for one in evaluated:
        path = one.trials.path
        name = path.name if alike[path.name] == 1 else f"{path.name} ({1 + paths.index(path)})"
        name += f", {one.speech}" if cut else ""
        names.append(f"{name}, {one.scale.value}" if several else name)
    return names


def _panel(one: Shown, name: str) -> Panel:
    scores, target = one.evaluated.scores, one.evaluated.trials.target
    given = one.suggestion
    return Panel(
        label=name,
        curves=rate_curves(scores, target),
        spread=histograms(scores, target),
        scale=one.evaluated.scale,
        equal_error=one.measured.equal_error_rate,
        threshold=one.measured.threshold if given is None else given.threshold,
        threshold_label="equal errors at" if given is None else "threshold",
    )


def _durations(shown: Sequence[Shown]) -> dict[str, list[DurationPoint]]:
    """Gather the equal error rates of lists that were evaluated at several lengths of speech."""
    lists: dict[tuple[Path, ScoreScale], list[Shown]] = {}
    for one in shown:
        lists.setdefault((one.evaluated.trials.path, one.evaluated.scale), []).append(one)
    named = labels([replace(of[0].evaluated, speech="") for of in lists.values()])
    return {
        name: [_point(one) for one in of]
        for name, of in zip(named, lists.values(), strict=True)
        if len(of) > 1
    }


def _point(one: Shown) -> DurationPoint:
    rate = one.measured.equal_error_rate
    low, high = one.measured.equal_error_interval or (rate, rate)
    return DurationPoint(one.evaluated.speech, rate, low, high, len(one.evaluated.trials))


def _calibrations_used(shown: Sequence[Shown]) -> Iterator[str]:
    for used in dict.fromkeys(one.measured.calibration for one in shown):
        if used is not None:
            told = f'Cllr and actual DCF are by the calibration "{used.profile}", fitted on'
            told += f" {used.trials}: they flatter it where these trials are among them."
            yield f'<p class="lesser">{escaped(told)}</p>'


def _parts(
    shown: Sequence[Shown],
    names: Sequence[str],
    facts: Sequence[tuple[str, str]],
    fitted: Sequence[Fitted],
    learnt: Learnt | None,
    pictures: Mapping[str, str],
) -> Iterator[str]:
    """Give what stands on the page, from top to bottom."""
    yield f"<h1>{escaped(TITLE)}</h1>"
    yield f'<p class="lesser">Made by speakerd {escaped(__version__)}.</p>'
    yield definitions(facts)
    yield heading("Error rates", _ABOUT_RATES)
    yield rates_table(shown, names)
    yield from _calibrations_used(shown)
    suggested = [
        (name, one.suggestion)
        for name, one in zip(names, shown, strict=True)
        if one.suggestion is not None
    ]
    if suggested:
        yield heading("Threshold", _ABOUT_THRESHOLDS)
        yield thresholds_table(suggested)
        for name, one in zip(names, shown, strict=True):
            if one.refused:
                yield f'<p class="lesser">{escaped(f"{name}: {one.refused}.")}</p>'
    if fitted:
        yield heading("Calibration", _ABOUT_CALIBRATION)
        yield calibration_table(fitted)
    if learnt is not None:
        yield from sequential_report.parts(learnt, pictures["sequential"])
    for name, (title, caption) in _CAPTIONS.items():
        if name in pictures:
            yield heading(title)
            yield picture(pictures[name], caption)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error


_ABOUT_RATES = (
    "Ranges under the numbers hold the true value with 95 %: they come from drawing speakers, not"
    " trials, with replacement. EER is the rate at which as many genuine pairs are rejected as"
    " impostor pairs are accepted; minDCF the detection cost at the best threshold, 1 being that"
    " of a blind answer; Cllr the cost of likelihood ratios, 0 for perfect ones and 1 for none."
    " From 0 to 0 says that no draw of these speakers has an error, not that others have none."
)
_ABOUT_THRESHOLDS = (
    "Accept at the threshold or above. It is the smallest at which no more than the wanted rate of"
    " these impostor pairs is accepted; FAR is that rate, FRR the rate of genuine pairs below the"
    " threshold. With fewer than 30 false accepts behind it, take it as an indication."
)
_ABOUT_CALIBRATION = (
    "Both costs are of speakers that were left out of the fit, in turn. Before: the scores taken as"
    " natural-log likelihood ratios, as they are."
)
_CAPTIONS = {
    "det": (
        "Detection error trade-off",
        "False rejects against false accepts at every threshold, on probit axes; nearer to the"
        " lower left is better. A rate of 0 lies on the edge.",
    ),
    "scores": (
        "Scores",
        "How the scores of genuine and impostor pairs are spread; each kind adds up to 100 %.",
    ),
    "far_frr": (
        "False accepts and false rejects against the threshold",
        "Where the threshold is put decides between the two errors. A rate of 0 lies on the lower"
        " edge.",
    ),
    "durations": (
        "Error against the length of speech",
        "Equal error rate by seconds of speech on each side.",
    ),
}
