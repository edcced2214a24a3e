"""What goes on, as it goes on: lines of JSON, a live view, or nothing but the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from speakerd_client.cli.render import (
    as_json,
    hit_text,
    quality_text,
    say,
    score_text,
    sparkline,
)
from speakerd_client.errors import ServerFailed
from speakerd_client.policies import ScoreScale
from speakerd_client.results import Decision, Verification

STYLES = {Decision.ACCEPT: "bold green", Decision.REJECT: "bold red"}
_BOUNDS = {ScoreScale.COSINE: (0.0, 1.0), ScoreScale.SIMILARITY: (0.5, 1.0)}
_SHOWN_SCORES = 60
Item = TypeVar("Item")


class LiveView:
    """Score over time, decision and speech so far, redrawn in place; gone at the end."""

    def __init__(self, claim: str, console: Console) -> None:
        self._claim = claim
        self._scores: list[float] = []
        self._hits: list[str] = []
        self._live = Live(Text("waiting for speech"), console=console, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, result: Verification) -> None:
        """Draw one update."""
        best = result.scores[0] if result.scores else None
        if best is not None and best.score is not None:
            self._scores.append(best.score)
        if not result.is_final:
            self._hits += map(hit_text, result.watchlist_hits)
        self._live.update(self._panel(result), refresh=True)

    def _panel(self, result: Verification) -> Panel:
        shown = self._scores[-_SHOWN_SCORES:]
        scale = result.settings.policy.scale
        automatic = (min(shown, default=0.0), max(shown, default=1.0))
        low, high = _BOUNDS.get(scale, automatic) if scale else automatic
        style = STYLES.get(result.decision, "bold yellow")
        rows = Table.grid(padding=(0, 2))
        rows.add_row("claim", Text(self._claim))
        rows.add_row("score", Text(score_text(result)))
        rows.add_row("over time", Text(sparkline(shown, low, high), style=style))
        rows.add_row("decision", Text(result.decision.name, style=style))
        rows.add_row(
            "speech",
            f"{result.net_speech_s:.1f} s of {result.audio_received_s:.1f} s received,"
            f" {result.window_count} windows",
        )
        rows.add_row("audio", quality_text(result))
        if result.handover is not None:
            begins = f"another voice since {result.handover.audio_time_s:.1f} s"
            rows.add_row("voice", Text(begins, style="bold red"))
        for hit in self._hits:
            rows.add_row("noticed", Text(hit.removeprefix("watchlist "), style="bold red"))
        return Panel.fit(rows, title="speakerctl verify")


def follow(
    updates: Iterable[Verification], claim: str, console: Console, in_json: bool
) -> Verification:
    """Show each update as it comes and give the final; in a pipe nothing is shown before it."""
    if in_json:
        return last(updates, lambda update: say(as_json(update)))
    if console.is_terminal:
        with LiveView(claim, console) as view:
            return last(updates, view.show)
    return last(updates)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say on a terminal what is waited for; nothing is left of it at the end."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield
        return
    with errors.status(Text(text)):
        yield


def last(items: Iterable[Item], show: Callable[[Item], None] = lambda item: None) -> Item:
    """Show each item as it comes and give the last one, the final answer."""
    final = None
    for item in items:
        show(item)
        final = item
    if final is None:
        raise ServerFailed("the daemon gave no answer")
    return final
