"""What results of every kind say: what was sent, what the generator used, and what that spoils."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speakerd_client.load.samples import Figure
from speakerd_client.load.sound import Track
from speakerd_client.load.tally import Share

NEARLY_SATURATED = 0.9
"""Share of a core from which on a generating process may be what limits the load."""
LATE_MS = 50.0
"""Lateness (p99) from which on the load was not what was asked for."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One track that was sent."""

    name: str
    """The file, or "synthetic"."""
    encoding: str
    """Of the wire."""
    sample_rate_hz: int
    """Of the wire."""
    duration_s: float
    """Length; it is repeated to fill a stream."""


@dataclass(frozen=True, slots=True)
class Generator:
    """What the generating processes used while the load was counted."""

    cores: tuple[float, ...]
    """Share of one core, of each process."""
    was_limit: bool
    """A process was nearly saturated: the numbers are then a lower bound."""


def generator_of(shares: Sequence[Share]) -> Generator:
    """Give the shares of a core, and whether one of them was nearly a whole one."""
    cores = tuple(round(share.cores, 3) for share in shares)
    return Generator(cores, any(share >= NEARLY_SATURATED for share in cores))


def sent_of(tracks: Sequence[Track]) -> tuple[Sent, ...]:
    """Describe tracks."""
    return tuple(
        Sent(
            track.name,
            track.audio.format.encoding.value,
            track.audio.format.sample_rate_hz,
            round(track.audio.duration_s, 3),
        )
        for track in tracks
    )


def generator_note(generator: Generator) -> str:
    """Say that the generator was the limit."""
    return (
        f"a generating process used {max(generator.cores):.2f} of a core, so the generator was the"
        " limit and these numbers are a lower bound: take more --processes on free cores"
    )


def late_note(lateness: Figure, generator: Generator) -> str:
    """Say that messages went out late, and what can be told about why."""
    why = (
        "the generator's core was full"
        if generator.was_limit
        else ("the daemon took them too slowly, or other work held up the generator")
    )
    return (
        f"messages were handed over late (p99 {lateness.p99:.0f} ms): {why}; the decision lag"
        " counts from when they were handed over"
    )
