"""What the supervisor and the other processes say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speakerd_server.cards import Bundle, Card, Cohort
from speakerd_server.config import Settings
from speakerd_server.engine.statistics import EngineStatistics


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the processes of one daemon find each other."""

    folder: Path
    """Private to the daemon; holds the socket files."""
    engines: tuple[str, ...]
    """Names of the engines."""

    @property
    def store(self) -> Path:
        """Socket file of the store."""
        return self.folder / "store"

    def engine(self, name: str) -> Path:
        """Socket file of an engine."""
        return self.folder / f"engine-{self.engines.index(name)}"


@dataclass(frozen=True, slots=True)
class Begin:
    """First word to a process: what it is to be; answered once it is that."""

    settings: Settings
    """Of the daemon."""
    whereabouts: Whereabouts
    """Of all processes."""
    name: str
    """Of the process, such as "worker 0"."""
    number: int
    """Among those of its kind, from 0."""
    device: str = ""
    """Of an engine."""
    address: str = ""
    """Of a front end: host and port, which all of them share."""
    http_address: str = ""
    """Of a front end: the same for HTTP; empty: none."""
    counts: int = -1
    """Of a front end: descriptor of the memory in which calls are counted."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Last word to a process: it finishes what it must and ends."""


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """To an engine: load a model and warm it up; answered with Loaded."""

    bundle: Bundle
    """Verified."""
    number: int
    """By which windows name it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine has a model."""

    windows_per_s: float
    """How many it embeds in a second, as measured."""


@dataclass(frozen=True, slots=True)
class UnloadOrder:
    """To an engine: give back what a model took; no call holds it any more."""

    number: int
    """Of the model."""


@dataclass(frozen=True, slots=True)
class Listen:
    """To an engine: take windows."""


@dataclass(frozen=True, slots=True)
class StatisticsNow:
    """To an engine: what it did; answered with EngineStatistics by the models' numbers."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """A model that engines have."""

    card: Card
    """What it says of itself."""
    number: int
    """By which windows name it."""
    rates: Mapping[str, float]
    """Windows that each engine embeds in a second, by the engine's name."""
    cohort: Cohort | None = field(default=None, compare=False)
    """What card.cohort describes."""


@dataclass(frozen=True, slots=True)
class ModelsNow:
    """To a front end: which models calls can name; answered with the uses of those that left."""

    models: tuple[Hosted, ...]
    """All of them, in the order in which they were loaded."""
    default: str
    """Name of the default model."""
    preferred: Mapping[str, str]
    """Which model each bare name means."""


@dataclass(frozen=True, slots=True)
class UsesNow:
    """To a front end: which calls hold which model; answered with counts by number."""


@dataclass(frozen=True, slots=True)
class Serve:
    """To a front end: answer calls."""


@dataclass(frozen=True, slots=True)
class HealthNow:
    """To a front end: whether the daemon is well."""

    serving: bool
    """As health says it."""


@dataclass(frozen=True, slots=True)
class DrainNow:
    """To a front end: refuse new calls, or take them again."""

    draining: bool
    """Whether they are refused."""
    stopping: bool = False
    """Whether that is for good."""


@dataclass(frozen=True, slots=True)
class SessionsNow:
    """To a front end: its live calls; answered with LiveSessions."""


@dataclass(frozen=True, slots=True)
class Unused:
    """From a front end: no call of it holds a model any more that left."""

    number: int
    """Of the model."""


@dataclass(frozen=True, slots=True)
class EngineAway:
    """From an engine: its device went away, or is back."""

    cause: str | None
    """Why it is away; None: it is back."""


@dataclass(frozen=True, slots=True)
class AdminCall:
    """From a front end: what an operator asks; answered as Administration does."""

    method: str
    """Of Administration."""
    arguments: Mapping[str, Any]
    """By name."""


Uses = Mapping[int, int]
"""Calls that hold a model, by its number."""
Statistics = Mapping[int, EngineStatistics]
"""What an engine did, by the models' numbers."""
