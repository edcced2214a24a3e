"""speakerctl sessions: the live calls that go on, as they go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from speakerd_client.admin_records import LiveSession, LiveSessions
from speakerd_client.blocking import Client
from speakerd_client.cli import options, render
from speakerd_client.cli.live import STYLES
from speakerd_client.errors import ServerFailed

_NAMES = ("CALL", "KIND", "DOMAIN", "MODEL", "SPEAKER")
_COLUMNS = (*_NAMES, "WORKER", "SINCE", "AUDIO", "SPEECH", "WINDOWS", "DECISION")
_SHORTENED = {"CALL", "DOMAIN", "MODEL", "SPEAKER", "DECISION"}
"""Columns that may be cut on a narrow terminal."""
_OTHER_LINES = 4
"""Title, head, and room for what follows."""

OneDomain = Annotated[str, typer.Option("--domain", help="Set of speakers; empty: all of them.")]
Interval = Annotated[
    float, typer.Option("--interval", min=0.1, max=60, help="Seconds between two answers.")
]
Once = Annotated[bool, typer.Option("--once", help="Say what goes on now, and end.")]


def sessions(
    domain: OneDomain = "",
    interval: Interval = 1.0,
    once: Once = False,
    address: options.Address = options.ADDRESS,
    in_json: options.Json = False,
) -> int:
    """Watch the live calls: a table that is redrawn on a terminal, until Ctrl-C.

    In a pipe one table is written and that is all; with --json one line again and again.
    """
    console = Console()
    with Client(address) as client:
        found = client.watch_sessions(domain=domain, interval_s=interval)
        with closing(found) as moments:
            if in_json:
                for moment in moments:
                    render.say(render.as_json(moment))
                    if once:
                        break
            elif once or not console.is_terminal:
                _say_rows(_first(moments))
            else:
                watch(moments, console)
    return 0


def watch(moments: Iterator[LiveSessions], console: Console) -> None:
    """Redraw a table until the daemon or the user ends it."""
    text = Text("waiting for the daemon")
    with Live(text, console=console, auto_refresh=False, transient=True) as view:
        for moment in moments:
            view.update(drawn(moment, console.height), refresh=True)


def _first(moments: Iterator[LiveSessions]) -> LiveSessions:
    for moment in moments:
        return moment
    raise ServerFailed("the daemon gave no answer")


def _say_rows(moment: LiveSessions) -> None:
    rows = [_COLUMNS, *(_cells(each, moment.time) for each in moment.sessions)]
    for line in render.columns(rows):
        render.say(line)


def drawn(moment: LiveSessions, height: int) -> Group:
    """Draw as many calls as the terminal has lines for, and say how many more there are."""
    count = len(moment.sessions)
    shown = moment.sessions[: max(1, height - _OTHER_LINES)]
    grid = Table.grid(padding=(0, 1))
    for name in _COLUMNS:
        grid.add_column(no_wrap=name not in _SHORTENED)
    grid.add_row(*(_cell(name, "bold") for name in _COLUMNS))
    for each in shown:
        cells = [_cell(text) for text in _cells(each, moment.time)]
        if each.decision is not None:
            cells[-1].stylize(STYLES.get(each.decision, "bold yellow"))
        grid.add_row(*cells)
    title = f"{count} live call{'s' * (count != 1)}  {render.time_text(moment.time)}"
    more = count - len(shown)
    lines = [Text(title), grid if shown else Text("")]
    return Group(*lines, Text(f"and {more} more")) if more else Group(*lines)


def _cell(text: str, style: str = "") -> Text:
    return Text(render.printable(text), style, no_wrap=True, overflow="ellipsis")


def _cells(each: LiveSession, now: datetime) -> tuple[str, ...]:
    searched = "anyone" if each.whole_domain else each.group and f"of {each.group}"
    speaker = ", ".join(each.speaker_ids) or searched or "-"
    return (
        each.request_id,
        each.rpc.removeprefix("Stream"),
        each.domain,
        each.model,
        speaker,
        str(each.worker),
        f"{max(0.0, (now - each.started).total_seconds()):.0f} s",
        f"{each.audio_received_s:.1f} s",
        f"{each.net_speech_s:.1f} s",
        str(each.window_count),
        "-" if each.decision is None else each.decision.name,
    )
