"""The pictures of a report; each function gives a figure, drawn in the style of `drawing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from speakerd_server.evaluation.curves import DurationPoint, Panel, probit
from speakerd_server.evaluation.drawing import LIGHT, drawable, line_of, styled

_GENUINE, _IMPOSTOR = LIGHT["s0"], LIGHT["s1"]
_RATE_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_DECADES = [10.0**power for power in range(-6, 1)]
_RATES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
_PANEL_INCHES = (4.6, 2.9)


def det_figure(panels: Sequence[Panel]) -> Figure:
    """Draw the detection error trade-off of each panel on probit axes.

    A rate of 0 is drawn at the edges, half a trial from 0, since probit axes have no 0.
    """
    with styled():
        figure = Figure(figsize=(6.4, 5.6), layout="constrained")
        axes = figure.add_subplot()
        floor = min(min(panel.curves.far_floor, panel.curves.frr_floor) for panel in panels)
        worst = max(panel.equal_error for panel in panels)
        limits = probit(np.array([0.75 * floor, 0.6 if worst < 0.4 else 0.99]), floor / 2)
        axes.plot(limits, limits, color=LIGHT["rule"], linewidth=1.0, zorder=1)
        for number, panel in enumerate(panels):
            curves = panel.curves
            far, frr = probit(curves.far, floor), probit(curves.frr, floor)
            label = f"{drawable(panel.label)}: EER {100 * panel.equal_error:.2f} %"
            colour, dashes = line_of(number)
            axes.plot(far, frr, color=colour, linestyle=dashes, linewidth=1.8, label=label)
            equal = probit(np.array([panel.equal_error]), floor)
            axes.plot(equal, equal, "o", color=colour, markersize=4.5, clip_on=False, zorder=5)
        _probit_axis(axes, limits)
        axes.set_xlabel("false accepts, % of impostor pairs")
        axes.set_ylabel("false rejects, % of genuine pairs")
        figure.legend(
            loc="outside upper left", title="dots: equal error rate (EER)", alignment="left"
        )
        return figure


def scores_figure(panels: Sequence[Panel]) -> Figure:
    """Draw how the scores of genuine and impostor pairs are spread, with the threshold."""
    with styled():
        figure, places = _panels(panels)
        for axes, panel in zip(places, panels, strict=True):
            spread = panel.spread
            for shares, colour, label in (
                (spread.impostors, _IMPOSTOR, f"impostor ({panel.curves.impostors})"),
                (spread.targets, _GENUINE, f"genuine ({panel.curves.targets})"),
            ):
                axes.stairs(100 * shares, spread.edges, fill=True, alpha=0.3, color=colour)
                axes.stairs(100 * shares, spread.edges, color=colour, linewidth=1.4, label=label)
            axes.set_ylim(bottom=0)
            axes.set_ylabel("% of the pairs of a kind")
            _score_axis(axes, panel)
            _legend_above(axes)
        return figure


def rates_figure(panels: Sequence[Panel]) -> Figure:
    """Draw both error rates against the threshold, the rates on a logarithmic axis.

    A rate of 0 is drawn at the lower edge.
    """
    with styled():
        figure, places = _panels(panels)
        for axes, panel in zip(places, panels, strict=True):
            curves = panel.curves
            floor = min(curves.far_floor, curves.frr_floor)
            for rates, colour, label in (
                (curves.far, _IMPOSTOR, "false accepts"),
                (curves.frr, _GENUINE, "false rejects"),
            ):
                drawn = np.maximum(rates, floor)
                axes.step(curves.thresholds, drawn, color=colour, linewidth=1.8, label=label)
            axes.set_yscale("log")
            axes.set_ylim(floor, 1.0)
            axes.yaxis.set_major_formatter(FuncFormatter(_percent))
            axes.yaxis.set_major_locator(FixedLocator(_RATES if floor > 0.01 else _DECADES))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylabel("error rate, %")
            _score_axis(axes, panel)
            _legend_above(axes)
        return figure


def durations_figure(series: Mapping[str, Sequence[DurationPoint]]) -> Figure:
    """Draw the equal error rate of each list against the seconds of speech, with intervals."""
    with styled():
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        names = list(dict.fromkeys(point.speech for points in series.values() for point in points))
        for number, (label, points) in enumerate(series.items()):
            shift = 0.12 * (number - (len(series) - 1) / 2)
            places = [names.index(point.speech) + shift for point in points]
            rates = 100 * np.array([point.rate for point in points])
            reach = 100 * np.array([[point.low, point.high] for point in points]).T
            around = np.maximum(np.abs(reach - rates), 0.0)
            colour, dashes = line_of(number)
            axes.errorbar(
                places,
                rates,
                yerr=around,
                color=colour,
                linestyle=dashes,
                marker="o",
                markersize=4.5,
                capsize=3,
                label=drawable(label),
            )
        axes.set_xticks(range(len(names)), [drawable(name) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("speech on each side")
        axes.set_ylabel("equal error rate, %")
        figure.legend(
            loc="outside upper left", title="bars: 95 % over speakers", ncols=2, alignment="left"
        )
        return figure


def _panels(panels: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    """Give a figure with a place for each panel, two in a row where there are several."""
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    wide, high = _PANEL_INCHES
    figure = Figure(
        figsize=(6.4 if across == 1 else wide * across, high * down + 0.3), layout="constrained"
    )
    places = [figure.add_subplot(down, across, 1 + number) for number in range(len(panels))]
    for axes, panel in zip(places, panels, strict=True):
        # The title's padding is the legend's room, which the layout does not count.
        axes.set_title(drawable(panel.label), loc="left", fontsize=9.5, pad=20)
    return figure, places


def _score_axis(axes: Axes, panel: Panel) -> None:
    """Label the axis of scores and mark the threshold on it."""
    axes.set_xlabel(f"score, {panel.scale.value}")
    if panel.threshold is not None:
        axes.axvline(
            panel.threshold,
            color=LIGHT["ink"],
            linewidth=1.2,
            linestyle="dashed",
            label=f"{panel.threshold_label} {panel.threshold:.5g}",
        )


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2, fontsize=8,
        handlelength=1.4, columnspacing=1.2, borderpad=0.2,
    ).set_in_layout(False)  # fmt: skip


def _probit_axis(axes: Axes, limits: NDArray[np.float64]) -> None:
    """Put the same rates, in percent, on both axes."""
    places = probit(np.array(_RATE_TICKS), 1e-9)
    seen = [
        (place, rate)
        for place, rate in zip(places, _RATE_TICKS, strict=True)
        if limits[0] <= place <= limits[1]
    ]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([float(place) for place, _ in seen]))
        axis.set_ticklabels([_percent(rate) for _, rate in seen])
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.set_aspect("equal")


def _percent(rate: float, _place: object = None) -> str:
    return f"{100 * rate:.4g}"
