"""What came of a load, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from speakerd_client.cli.render import printable, say
from speakerd_client.load.capacity import CapacityResult, Step
from speakerd_client.load.closed_result import ClosedResult
from speakerd_client.load.facts import Generator, Sent
from speakerd_client.load.live_result import LiveResult, LiveSettings
from speakerd_client.load.samples import Figure
from speakerd_client.load.tally import Failure

_BETWEEN = 3
_PIPE_WIDTH = 200
"""Columns, so that hardly a sentence is broken where there is no terminal."""


def live_report(result: LiveResult) -> None:
    """Write what came of live streams."""
    settings, streams = result.settings, result.streams
    say(f"LIVE LOAD  {streams.asked} streams of {settings.seconds:g} s")
    say(_asked(settings))
    figures = {
        "connect": result.connect_ms,
        "decision lag": result.decision_lag_ms,
        "time to decision": result.time_to_decision_ms,
        "finish": result.finish_ms,
        "sent late": result.send_lateness_ms,
    }
    rows = [[name, str(each.count), *_cells(each)] for name, each in figures.items()]
    _show(("ms", "count", "mean", "p50", "p90", "p99", "max"), rows)
    say(
        f"streams    {streams.asked} asked, {streams.opened} opened, {streams.finished} finished,"
        f" {streams.failed} failed"
    )
    say(f"windows    {result.windows.answered} of {result.windows.expected} answered")
    pace = "-" if result.pace is None else f"{result.pace:.3f} of real time"
    say(f"pace       {pace}, {result.messages} messages sent")
    decisions = [f"{count} {name.upper()}" for name, count in result.decisions.items()]
    say(f"decisions  {', '.join(decisions) or '-'}")
    say(f"generator  {_cores(result.generator)}")
    _end(result.errors, result.notes, result.interrupted)


def capacity_report(result: CapacityResult) -> None:
    """Write what a search has found."""
    settings = result.settings
    say(
        f"SEARCH  up to {result.maximum} streams within a p99 decision lag of {result.lag_ms:g} ms,"
        f" no error; steps of {settings.seconds:g} s, {settings.settle_s:g} s not counted"
    )
    say(_asked(settings))
    names = ("streams", "why", "lag p50", "lag p99", "late p99", "pace", "cores", "carried")
    _show(names, [_step_cells(step) for step in result.steps], words=(1, 7))
    bound = "at least " if result.generator_was_limit or result.bound_was_reached else ""
    checked = "confirmed" if result.confirmed else "not confirmed"
    say(f"CAPACITY  {bound}{result.streams} streams, to {result.resolution_percent:g} %, {checked}")
    _end((), result.notes, result.interrupted)


def step_text(step: Step) -> str:
    """Say in a line how a step went."""
    verdict = "carried" if step.carried else f"missed: {step.missed}"
    return f"{step.streams} streams, lag p99 {_number(step.decision_lag_ms.p99)} ms, {verdict}"


def _step_cells(step: Step) -> list[str]:
    return [
        str(step.streams),
        f"{step.purpose}{' again' * (step.attempt - 1)}",
        _number(step.decision_lag_ms.p50),
        _number(step.decision_lag_ms.p99),
        _number(step.send_lateness_ms.p99),
        "-" if step.pace is None else f"{step.pace:.3f}",
        f"{max(step.generator.cores, default=0.0):.2f}",
        "yes" if step.carried else f"no: {step.missed}",
    ]


def closed_report(result: ClosedResult) -> None:
    """Write what came of a closed loop."""
    say(f"CLOSED LOOP  {result.kind}, {result.seconds:g} s each, {result.settle_s:g} s not counted")
    say(f"{_sound(result.tracks)}; throughput in answers per second, times in ms")
    names = ("concurrency", "throughput", "audio s/s", "average", "p50", "p90", "p99", "max")
    rows = [
        [
            str(row.concurrency),
            f"{row.throughput:.2f}",
            f"{row.audio_per_s:.1f}",
            *_cells(row.latency_ms),
            str(sum(failure.count for failure in row.errors)),
            f"{max(row.generator.cores, default=0.0):.2f}",
        ]
        for row in result.rows
    ]
    _show((*names, "failed", "cores"), rows, words=())
    failures = [failure for row in result.rows for failure in row.errors]
    _end(failures, result.notes, result.interrupted)


def _asked(settings: LiveSettings) -> str:
    """Say what was sent, and to what."""
    window = f"window {settings.window_s:.2f} s" if settings.window_s else "one window over all"
    claim = f"claiming {settings.speaker_id}" if settings.speaker_id else "no target"
    jitter = f" late by up to {settings.jitter_ms:g} ms" if settings.jitter_ms else ""
    return printable(
        f"{_sound(settings.tracks)} in messages of {settings.message_ms} ms{jitter}"
        f", {settings.connections} connection{'s' * (settings.connections != 1)};"
        f" {settings.model}, {window}, {claim}"
    )


def _sound(tracks: Sequence[Sent]) -> str:
    formats = dict.fromkeys(f"{track.encoding} {track.sample_rate_hz} Hz" for track in tracks)
    name = printable(tracks[0].name) if len(tracks) == 1 else f"{len(tracks)} files"
    return f"{name} as {', '.join(formats)}"


def _end(errors: Sequence[Failure], notes: Sequence[str], interrupted: bool) -> None:
    if errors:
        rows = [
            [
                printable(failure.reason),
                str(failure.count),
                f"{100 * failure.share:.1f} %",
                printable(" ".join(failure.message.split())),
            ]
            for failure in errors
        ]
        _show(("error", "count", "share", "first message"), rows, words=(0, 3))
    for note in notes:
        say(f"note: {printable(note)}")
    if interrupted:
        say("interrupted: this is what was measured until then")


def _cores(generator: Generator) -> str:
    shares = ", ".join(f"{share:.2f}" for share in generator.cores)
    count = len(generator.cores)
    return f"{shares} of a core ({count} process{'es' * (count != 1)})"


def _show(names: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> None:
    """Write a table; columns but those of words are to the right and never cut.

    A terminal that is too narrow for them breaks the lines.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    least = 2
    for place, (name, *cells) in enumerate(zip(names, *rows, strict=True)):
        left = place in words
        table.add_column(name, justify="left" if left else "right", no_wrap=not left)
        parts = [each.split() if left else [each] for each in (name, *cells)]
        least += _BETWEEN + max(len(part) for each in parts for part in each)
    for row in rows:
        table.add_row(*row)
    wide = Console(width=_PIPE_WIDTH)
    if wide.is_terminal:
        wide = Console(width=max(Console().width, least))
    for line in wide.render_lines(table, pad=False):
        say("".join(segment.text for segment in line).rstrip())


def _cells(figure: Figure) -> list[str]:
    return [_number(v) for v in (figure.mean, figure.p50, figure.p90, figure.p99, figure.max)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
