"""What came of a closed loop: frozen values, one row for each concurrency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speakerd_client.load.facts import Generator, Sent, generator_note, generator_of, sent_of
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.samples import Figure
from speakerd_client.load.sound import Track
from speakerd_client.load.tally import ClosedTally, Failure


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """What came of one concurrency."""

    concurrency: int
    """Calls at once."""
    calls: int
    """Calls begun in the counted time."""
    throughput: float
    """Answers per second of the counted time."""
    audio_per_s: float
    """Seconds of audio answered per second."""
    latency_ms: Figure
    """From a call's beginning to its answer."""
    errors: tuple[Failure, ...]
    """Why calls failed, by reason."""
    generator: Generator
    """What asking cost."""


@dataclass(frozen=True, slots=True)
class ClosedResult:
    """What came of a closed loop."""

    mode: str
    """"closed_loop"."""
    address: str
    """Of the daemon."""
    interrupted: bool
    """It was broken off; the last row is of what was done until then."""
    kind: str
    """Of request: "verify" or "embed"."""
    seconds: float
    """Time in which calls began, for each row."""
    settle_s: float
    """Of it, not counted."""
    processes: int
    """Generating processes."""
    tracks: tuple[Sent, ...]
    """What was sent, in turns."""
    rows: tuple[ClosedRow, ...]
    """One for each concurrency."""
    notes: tuple[str, ...]
    """What makes the numbers mean less than they seem to."""


def closed_result(
    plan: ClosedPlan, tracks: Sequence[Track], tallies: Sequence[ClosedTally], interrupted: bool
) -> ClosedResult:
    """Sum up what all processes have counted; one tally for each concurrency that was run."""
    rows = tuple(map(_closed_row, plan.concurrencies, tallies))
    notes = [generator_note(row.generator) for row in rows if row.generator.was_limit][:1]
    if any(row.calls and not row.throughput and not row.errors for row in rows):
        notes.append("no call was answered within --seconds: take more of them")
    return ClosedResult(
        mode="closed_loop",
        address=plan.address,
        interrupted=interrupted,
        kind=plan.kind,
        seconds=plan.seconds,
        settle_s=plan.settle_s,
        processes=plan.processes,
        tracks=sent_of(tracks),
        rows=rows,
        notes=tuple(notes),
    )


def _closed_row(concurrency: int, tally: ClosedTally) -> ClosedRow:
    counted_s = tally.counted_s
    return ClosedRow(
        concurrency=concurrency,
        calls=tally.begun,
        throughput=round(tally.answered / counted_s, 3) if counted_s else 0.0,
        audio_per_s=round(tally.audio_s / counted_s, 3) if counted_s else 0.0,
        latency_ms=tally.latency.figure(),
        errors=tally.failures.rows(tally.asked),
        generator=generator_of(tally.shares),
    )
