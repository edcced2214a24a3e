"""What a load is to do: frozen, checked when it is made, so that nothing wrong ever starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from speakerd_client.audio import AudioFormat
from speakerd_client.call_options import VerifyOptions
from speakerd_client.errors import InvalidLoad

MOST_STREAMS = 100_000
MOST_PROCESSES = 256
MOST_CONNECTIONS = 60_000
"""About as many as one machine has local ports for."""
LONGEST_S = 86_400.0
WHOLE_SIGNAL = -1
WHOLE_SIGNAL_S = 60.0
"""Longest stream that may be one window."""
LARGEST_MESSAGE_BYTES = 1 << 20
ONE_AT_A_TIME = frozenset({"kserve-http"})
"""Kinds of request whose connections carry one at a time: each slot has its own."""
STREAMS_PER_CONNECTION = 50
"""Half of what some servers and proxies allow on one HTTP/2 connection."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """Paced live streams. Raises InvalidLoad for what no load can be."""

    address: str
    """"host:port" of the daemon."""
    streams: int = 10
    """Live calls at once, 1 to 100000."""
    seconds: float = 20.0
    """Audio that each of them sends, at the pace of a call; up to 86400."""
    settle_s: float | None = None
    """Of `seconds`, so many from the start are not counted. None: 0; in a search for the most
    streams, a quarter of `seconds` and at least the start phases."""
    message_ms: int = 100
    """Audio in one message, 1 to 10000."""
    jitter_ms: float = 0.0
    """Each message is late by a random time up to this, at most `message_ms`."""
    connections: int | None = None
    """HTTP/2 connections over all processes; None: one for every 50 streams, and one at least for
    each process."""
    processes: int = 1
    """Generating processes, 1 to 256."""
    speaker_id: str | None = None
    """Whom the voices claim to be, who must be enrolled; None: nobody."""
    options: VerifyOptions = field(default_factory=lambda: VerifyOptions())
    """Of every call."""

    def __post_init__(self) -> None:
        """Check every field and those that depend on one another."""
        within("streams", self.streams, 1, MOST_STREAMS)
        _check_time(self.seconds, self.settle_s)
        within("message-ms", self.message_ms, 1, 10_000)
        within("jitter-ms", self.jitter_ms, 0, self.message_ms, "(at most one message)")
        _check_crew(self.connections, self.processes)
        if self.samples_per_chunk == WHOLE_SIGNAL and self.seconds > WHOLE_SIGNAL_S:
            raise InvalidLoad(
                f"--seconds is {self.seconds:g}, but with --samples-per-chunk -1 a stream has at"
                f" most {WHOLE_SIGNAL_S:g} s"
            )
        if not self.messages:
            raise InvalidLoad(f"--seconds {self.seconds:g} is less than one message")

    @property
    def samples_per_chunk(self) -> int | None:
        """Window length that is asked for; None: the card's."""
        return self.options.get("samples_per_chunk")

    @property
    def call_options(self) -> VerifyOptions:
        """Of every call: without a speech gate, or nobody could tell where windows end."""
        return {**self.options, "speech_gate": False}

    @property
    def messages(self) -> int:
        """Messages that one stream sends: as many as fit into `seconds`."""
        return int(1000 * self.seconds / self.message_ms + 1e-6)


@dataclass(frozen=True, slots=True)
class ClosedPlan:
    """Calls that each follow the one before. Raises InvalidLoad for what no load can be."""

    address: str
    """"host:port" of the daemon."""
    kind: str
    """Of request, one of `asking.KINDS`."""
    concurrencies: tuple[int, ...] = (8,)
    """Calls at once, one row of the result each, 1 to 100000."""
    seconds: float = 20.0
    """Time in which calls begin, for each row; up to 86400."""
    settle_s: float = 0.0
    """Of `seconds`, so many from the start are not counted."""
    connections: int | None = None
    """As in LivePlan."""
    processes: int = 1
    """As in LivePlan."""
    speaker_id: str | None = None
    """As in LivePlan; not for `embed`."""
    options: VerifyOptions = field(default_factory=lambda: VerifyOptions())
    """Of every call."""

    def __post_init__(self) -> None:
        """Check every field."""
        if not self.concurrencies:
            raise InvalidLoad("--concurrency names no number")
        for concurrency in self.concurrencies:
            within("concurrency", concurrency, 1, MOST_STREAMS)
        _check_time(self.seconds, self.settle_s)
        _check_crew(self.connections, self.processes)

    def wanted_connections(self, concurrency: int) -> int | None:
        """Give how many connections are asked for at a concurrency; None: what is usual."""
        return concurrency if self.kind in ONE_AT_A_TIME else self.connections


def within(name: str, value: float, low: float, high: float, why: str = "") -> None:
    """Raise InvalidLoad unless low <= value <= high; `name` is that of the option."""
    if not low <= value <= high:
        reason = f" {why}" if why else ""
        raise InvalidLoad(f"--{name} must be {low:g} to {high:.10g}{reason}, not {value:.10g}")


def connections_of(wanted: int | None, streams: int, processes: int) -> int:
    """Give how many connections so many streams use; never more than streams."""
    if wanted is None:
        wanted = max(processes, -(-streams // STREAMS_PER_CONNECTION))
    return min(wanted, streams)


def message_samples(audio_format: AudioFormat, message_ms: int) -> int:
    """Give the samples of one message.

    Raises:
        InvalidLoad: They are no whole number, or more than one message may hold.
    """
    rate_hz = audio_format.sample_rate_hz
    samples, rest = divmod(rate_hz * message_ms, 1000)
    if rest:
        step_ms = 1000 // math.gcd(rate_hz, 1000)
        raise InvalidLoad(
            f"--message-ms {message_ms} at {rate_hz} Hz is {rate_hz * message_ms / 1000:g} samples;"
            f" take a multiple of {step_ms}"
        )
    size_bytes = samples * audio_format.encoding.sample_bytes
    if size_bytes > LARGEST_MESSAGE_BYTES:
        raise InvalidLoad(
            f"--message-ms {message_ms} is {size_bytes} bytes at {rate_hz} Hz; a message has at"
            f" most {LARGEST_MESSAGE_BYTES}"
        )
    return samples


def _check_time(seconds: float, settle_s: float | None) -> None:
    if not 0 < seconds <= LONGEST_S:
        raise InvalidLoad(f"--seconds must be above 0 and at most {LONGEST_S:g}, not {seconds:g}")
    if settle_s is not None and not 0 <= settle_s < seconds:
        raise InvalidLoad(
            f"--settle must be from 0 to below --seconds {seconds:g}, not {settle_s:g}"
        )


def _check_crew(connections: int | None, processes: int) -> None:
    within("processes", processes, 1, MOST_PROCESSES)
    if connections is not None:
        within("connections", connections, processes, MOST_CONNECTIONS, "(one for each process)")
