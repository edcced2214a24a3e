"""What came of a load, as a picture; needs the extra `plot` (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerd_client.errors import OutputUnusable
from speakerd_client.load.capacity import CapacityResult
from speakerd_client.load.closed_result import ClosedResult
from speakerd_client.load.live_result import LiveResult
from speakerd_client.load.samples import Figure as Times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MUTED, _RULE = "#5f646c", "#d8dbe0"
_P50: dict[str, Any] = {"color": "#1f6fb4", "marker": "o"}
_P99: dict[str, Any] = {"color": "#c8501e", "marker": "^"}
_RATE: dict[str, Any] = {"color": "#2a8a57", "marker": "s"}
_WIDE_INCHES, _HIGH_INCHES = 8.0, 4.5
_DPI = 144


class Picture:
    """A PNG to be drawn, or none; checked before anything is measured.

    Raises:
        OutputUnusable: matplotlib is not installed, or the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            return
        _require_matplotlib()
        folder = path.parent
        if not folder.is_dir():
            raise OutputUnusable(f"--plot {path}: there is no folder {folder}; make it first")
        if path.is_dir():
            raise OutputUnusable(f"--plot {path}: that is a folder; name a file, such as load.png")
        _require_writable(path)

    def live(self, result: LiveResult) -> None:
        """Draw decision lags over time."""
        if self._path is None:
            return
        figure, (axes,) = _figure(1, "time since the load began, s")
        _curves(axes, [(slot.from_s, slot.lag_ms) for slot in result.lag_over_time])
        axes.set_ylabel("decision lag, ms")
        lag = result.decision_lag_ms
        whole = "no window" if lag.p99 is None else f"p50 {lag.p50:.0f} ms, p99 {lag.p99:.0f} ms"
        axes.set_title(
            f"{result.streams.asked} live streams, {result.settings.model}: {whole},"
            f" {result.streams.failed} failed",
            loc="left",
        )
        _write(figure, self._path)

    def capacity(self, result: CapacityResult) -> None:
        """Draw decision lags against streams, with the limit."""
        if self._path is None:
            return
        figure, (axes,) = _figure(1, "live streams")
        steps = [step for step in result.steps if step.decision_lag_ms.count]
        steps.sort(key=lambda step: step.streams)
        for name, look in (("p50", _P50), ("p99", _P99)):
            for carried, fill in ((True, look["color"]), (False, "white")):
                chosen = [step for step in steps if step.carried is carried]
                if not chosen:
                    continue
                axes.plot(
                    [step.streams for step in chosen],
                    [getattr(step.decision_lag_ms, name) for step in chosen],
                    **(look | {"ls": "none", "mfc": fill}),
                    label=f"{name}, {'carried' if carried else 'missed'}",
                )
        axes.axhline(result.lag_ms, color=_MUTED, ls="--", label=f"limit {result.lag_ms:g} ms")
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.set_ylabel("decision lag, ms")
        bound = "at least " if result.generator_was_limit or result.bound_was_reached else ""
        axes.set_title(
            f"{bound}{result.streams} streams within {result.lag_ms:g} ms, {result.settings.model}",
            loc="left",
        )
        _write(figure, self._path)

    def closed(self, result: ClosedResult) -> None:
        """Draw throughput and latency against concurrency."""
        if self._path is None:
            return
        figure, (above, below) = _figure(2, "concurrency")
        rows = sorted(result.rows, key=lambda row: row.concurrency)
        above.plot(
            [row.concurrency for row in rows],
            [row.throughput for row in rows],
            **_RATE,
            label="answers per second",
        )
        above.set_ylabel("answers per second")
        above.set_title(f"{result.kind} in a closed loop", loc="left")
        _curves(below, [(row.concurrency, row.latency_ms) for row in rows])
        below.set_ylabel("latency, ms")
        _write(figure, self._path)


def _require_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise OutputUnusable(
            "--plot needs matplotlib: pip install 'speakerd-client[cli,plot]'"
        ) from error


def _require_writable(path: Path) -> None:
    """Try it: permissions alone do not tell. What was not there before is not left behind."""
    was_there = path.exists()
    try:
        with path.open("ab"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise OutputUnusable(
            f"--plot {path}: {error.strerror or error}; choose another place"
        ) from error


def _figure(panels: int, x_label: str) -> tuple[Figure, Sequence[Axes]]:
    """Make panels one below another over one x axis."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(_WIDE_INCHES, _HIGH_INCHES * (1 + panels) / 2), layout="constrained")
    found = list(figure.subplots(panels, sharex=True, squeeze=False)[:, 0])
    for axes in found:
        axes.grid(color=_RULE, lw=0.7)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    found[-1].set_xlabel(x_label)
    return figure, found


def _curves(axes: Axes, points: Sequence[tuple[float, Times]]) -> None:
    """Draw p50 and p99 over something; points without any time are left out."""
    for name, look in (("p50", _P50), ("p99", _P99)):
        drawn = [(at, getattr(times, name)) for at, times in points if times.count]
        axes.plot([at for at, _ in drawn], [value for _, value in drawn], **look, label=name)


def _plain_ticks(axes: Axes) -> None:
    """Write 100, 200, 500 on a logarithmic axis in place of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _write(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.legend(frameon=False, fontsize="small")
        if axes.get_yscale() == "linear":
            axes.set_ylim(bottom=0)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    try:
        path.write_bytes(written.getvalue())
    except OSError as error:
        raise OutputUnusable(f"--plot {path}: {error.strerror or error}") from error
