"""What the starting process and the generating processes tell each other, as pickled frames."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass

from speakerd_client.errors import SpeakerdError
from speakerd_client.load.plan import ClosedPlan, LivePlan
from speakerd_client.load.sound import Track
from speakerd_client.load.tally import ClosedTally, LiveTally

HEAD_BYTES = 8
_HEAD = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Material:
    """First of all: what every order of this process is about."""

    plan: LivePlan | ClosedPlan
    """The load, for its kind, address and options."""
    tracks: tuple[Track, ...]
    """What is sent."""


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """Run a share of so many live streams."""

    first: int
    """Number of this process's first stream, from 0."""
    step: int
    """From each of its streams to its next one: the processes."""
    streams: int
    """Of all processes together."""
    connections: int
    """Of this process; 0: it has nothing to do."""
    spread_s: float
    """Over which the start phases of all streams are spread evenly."""
    count_from_s: float
    """From the load's begin; what is sent before is not counted."""
    count_until_s: float
    """From the load's begin; what is sent after is not counted."""
    measure_until_s: float
    """From the load's begin; until here the processor time is measured."""
    slot_s: float
    """Length of a slot of `LiveTally.lag_by_slot`."""


@dataclass(frozen=True, slots=True)
class ClosedOrder:
    """Run a share of a closed loop."""

    first: int
    """Number of this process's first slot, from 0."""
    step: int
    """From each of its slots to its next one: the processes."""
    concurrency: int
    """Slots of all processes together."""
    connections: int
    """Of this process; 0: it has nothing to do."""


Order = LiveOrder | ClosedOrder


@dataclass(frozen=True, slots=True)
class Go:
    """Connected: begin now."""

    begin_s: float
    """On the clock of time.monotonic."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Break off and say what was counted."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The material is prepared, or the connections of an order are open."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a process does."""

    open: int = 0
    """Streams or calls that go on."""
    done: int = 0
    """Streams or calls that have ended well."""
    failed: int = 0
    """Streams or calls that have failed."""
    answers: int = 0
    """Windows answered, or calls."""

    def __add__(self, other: Progress) -> Progress:
        """Of both together."""
        return Progress(
            self.open + other.open,
            self.done + other.done,
            self.failed + other.failed,
            self.answers + other.answers,
        )


@dataclass(frozen=True, slots=True)
class Broken:
    """The process cannot do what it was told."""

    error: SpeakerdError
    """Why."""


Command = Material | Order | Go | Stop
Answer = Ready | Progress | Broken | LiveTally | ClosedTally


def framed(message: Command | Answer) -> bytes:
    """Give the bytes of a message, its length before it."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(len(body)) + body


def body_bytes(head: bytes) -> int:
    """Give the length that a head of HEAD_BYTES says."""
    (size_bytes,) = _HEAD.unpack(head)
    return int(size_bytes)
