"""What one generating process counts; tallies of several processes are merged into one."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import dataclass, field

from speakerd_client.errors import SpeakerdError
from speakerd_client.load.samples import Samples

_MOST_REASONS = 100
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason for which streams or calls failed."""

    reason: str
    """The daemon's reason, or the name of the SDK's exception where there is none."""
    count: int
    """How many ended so."""
    share: float
    """Of all that were asked for, 0 to 1."""
    message: str
    """The words of the first one."""


class Failures:
    """Failures by reason."""

    __slots__ = ("_counts", "_messages")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._messages: dict[str, str] = {}

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, error: SpeakerdError) -> None:
        """Count one."""
        self._count(error.reason or type(error).__name__, 1, error.message)

    def merge(self, other: Failures) -> None:
        """Count those of another process."""
        for reason, count in other._counts.items():
            self._count(reason, count, other._messages[reason])

    def rows(self, asked: int) -> tuple[Failure, ...]:
        """Give them, most frequent first; shares are of `asked`."""
        return tuple(
            Failure(reason, count, count / max(asked, count), self._messages[reason])
            for reason, count in self._counts.most_common()
        )

    def _count(self, reason: str, count: int, message: str) -> None:
        if reason not in self._counts and len(self._counts) >= _MOST_REASONS:
            reason = _OTHER
        self._counts[reason] += count
        self._messages.setdefault(reason, message)


@dataclass(frozen=True, slots=True)
class Share:
    """What one generating process used while the load was counted."""

    cpu_s: float = 0.0
    """Processor seconds, all threads."""
    wall_s: float = 0.0
    """Seconds."""

    @property
    def cores(self) -> float:
        """Share of one core, 0 to 1 and rarely more."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


class Meter:
    """Measures this process's share from `begin` to the first `end`."""

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        self._share: Share | None = None

    def begin(self) -> None:
        """Measure from here."""
        self._begin = _cpu_s(), time.monotonic()

    def end(self) -> Share:
        """Measure until here, or give what an earlier end has found."""
        if self._share is None and self._begin is not None:
            cpu_s, wall_s = self._begin
            self._share = Share(_cpu_s() - cpu_s, time.monotonic() - wall_s)
        return self._share or Share()


@dataclass(slots=True)
class LiveTally:
    """Of live streams; times are seconds.

    Only what was sent in the counted time is in `lag`, `lag_by_slot`, `lateness`, `windows_due`
    and `windows_answered`.
    """

    asked: int = 0
    """Streams that were begun."""
    opened: int = 0
    """Streams that the daemon has opened."""
    finished: int = 0
    """Streams that had their final and OK."""
    messages: int = 0
    """Audio messages handed over."""
    audio_s: float = 0.0
    """Audio in them."""
    sending_s: float = 0.0
    """Time that sending them took; `audio_s` when the pace was kept."""
    windows_due: int = 0
    """Updates called for by what was sent."""
    windows_answered: int = 0
    """Of them, those that came."""
    unforeseen: int = 0
    """Updates for no window that was sent."""
    connect: Samples = field(default_factory=Samples)
    """From the call's beginning until `opened`."""
    lag: Samples = field(default_factory=Samples)
    """From the message with a window's last sample until its update."""
    decided: Samples = field(default_factory=Samples)
    """From audio start until the first ACCEPT or REJECT."""
    finish: Samples = field(default_factory=Samples)
    """From half-close until the final."""
    lateness: Samples = field(default_factory=Samples)
    """How much later than planned messages were handed over."""
    lag_by_slot: dict[int, Samples] = field(default_factory=dict)
    """`lag` by the time at which windows were sent."""
    decisions: Counter[str] = field(default_factory=Counter)
    """Of the finals, by name."""
    failures: Failures = field(default_factory=Failures)
    """Streams that failed."""
    shares: list[Share] = field(default_factory=list)
    """Of each process."""

    def merge(self, other: LiveTally) -> None:
        """Add what another process has counted."""
        for name in ("asked", "opened", "finished", "messages", "audio_s", "sending_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("windows_due", "windows_answered", "unforeseen"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("connect", "lag", "decided", "finish", "lateness", "failures"):
            getattr(self, name).merge(getattr(other, name))
        for slot, samples in other.lag_by_slot.items():
            self.lag_by_slot.setdefault(slot, Samples()).merge(samples)
        self.decisions.update(other.decisions)
        self.shares += other.shares


@dataclass(slots=True)
class ClosedTally:
    """Of a closed loop. Times are seconds; calls that begin while it settles are left out."""

    asked: int = 0
    """Calls that were begun."""
    begun: int = 0
    """Of them, those begun in the counted time."""
    answered: int = 0
    """Calls that were answered within the counted time, whenever they had begun."""
    audio_s: float = 0.0
    """Audio of those answered."""
    counted_s: float = 0.0
    """The counted time."""
    latency: Samples = field(default_factory=Samples)
    """From a call's beginning to its answer, of calls begun in the counted time."""
    failures: Failures = field(default_factory=Failures)
    """Calls that failed, whenever they had begun."""
    shares: list[Share] = field(default_factory=list)
    """Of each process."""

    def merge(self, other: ClosedTally) -> None:
        """Add what another process has counted."""
        self.asked += other.asked
        self.begun += other.begun
        self.answered += other.answered
        self.audio_s += other.audio_s
        self.counted_s = max(self.counted_s, other.counted_s)
        self.latency.merge(other.latency)
        self.failures.merge(other.failures)
        self.shares += other.shares


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
