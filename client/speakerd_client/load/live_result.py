"""What came of live streams: frozen values, times in milliseconds, notes on what misleads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speakerd_client.load.facts import (
    LATE_MS,
    Generator,
    Sent,
    generator_note,
    generator_of,
    late_note,
    sent_of,
)
from speakerd_client.load.plan import LivePlan, connections_of
from speakerd_client.load.samples import Figure
from speakerd_client.load.sound import SYNTHETIC, Track
from speakerd_client.load.tally import Failure, LiveTally
from speakerd_client.results import CallSettings


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What was asked of the daemon, and how."""

    seconds: float
    """Audio of each stream."""
    settle_s: float
    """Of it, not counted."""
    message_ms: int
    """Audio in one message."""
    jitter_ms: float
    """Each message was late by up to this."""
    connections: int
    """HTTP/2 connections, of all processes."""
    processes: int
    """Generating processes."""
    speaker_id: str | None
    """Whom the voices claimed to be."""
    domain: str
    """Where."""
    model: str
    """As name/version."""
    samples_per_chunk: int
    """Window length at the model's rate; -1: one over all."""
    window_s: float
    """Seconds from one window to the next, over which the starts were spread; 0 without windows."""
    update_interval_s: float
    """Least audio between two updates; 0: an update for every window."""
    maximum_speech_s: float | None
    """Speech that settled a stream; None: no limit."""
    tracks: tuple[Sent, ...]
    """What was sent: stream i sends track i, modulo their number."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """Streams by how far they came."""

    asked: int
    """That were to be run."""
    opened: int
    """That the daemon has opened."""
    finished: int
    """That ended with their final and OK."""
    failed: int
    """That ended otherwise; see the errors."""


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """Updates, in the counted time."""

    expected: int
    """That the audio sent called for."""
    answered: int
    """Of them, those that came."""
    unforeseen: int
    """That came for no window sent, at any time."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Decision lags of the windows that were sent in one stretch of time."""

    from_s: float
    """Its beginning, from the load's."""
    lag_ms: Figure
    """Their lags."""


@dataclass(frozen=True, slots=True)
class LiveResult:
    """What came of live streams."""

    mode: str
    """"live"."""
    address: str
    """Of the daemon."""
    interrupted: bool
    """It was broken off; the figures are of what was done until then."""
    settings: LiveSettings
    """What was asked."""
    streams: StreamCounts
    """How they ended."""
    messages: int
    """Audio messages sent."""
    pace: float | None
    """Audio seconds sent per second of sending; 1: real time."""
    windows: WindowCounts
    """How many were answered."""
    decisions: Mapping[str, int]
    """Of the finals."""
    connect_ms: Figure
    """From the call's beginning until `opened`; the connection is open before."""
    decision_lag_ms: Figure
    """From handing over the message with a window's last sample until its update came."""
    time_to_decision_ms: Figure
    """From audio start until the first ACCEPT or REJECT."""
    finish_ms: Figure
    """From half-close until the final."""
    send_lateness_ms: Figure
    """How much later than planned messages were handed over."""
    errors: tuple[Failure, ...]
    """Why streams failed, by reason."""
    generator: Generator
    """What sending and reading cost."""
    lag_over_time: tuple[Slot, ...]
    """At most 120."""
    notes: tuple[str, ...]
    """What makes the numbers mean less than they seem to."""


def live_settings(
    plan: LivePlan,
    tracks: Sequence[Track],
    settings: CallSettings,
    window_s: float,
    settle_s: float,
) -> LiveSettings:
    """Describe what is asked; connections are those for `plan.streams`."""
    return LiveSettings(
        seconds=plan.messages * plan.message_ms / 1000,
        settle_s=settle_s,
        message_ms=plan.message_ms,
        jitter_ms=plan.jitter_ms,
        connections=connections_of(plan.connections, plan.streams, plan.processes),
        processes=plan.processes,
        speaker_id=plan.speaker_id,
        domain=settings.domain,
        model=str(settings.model),
        samples_per_chunk=settings.samples_per_chunk,
        window_s=window_s,
        update_interval_s=settings.update_interval_s,
        maximum_speech_s=settings.policy.maximum_speech_s,
        tracks=sent_of(tracks),
    )


def pace_of(tally: LiveTally) -> float | None:
    """Give the audio seconds sent per second of sending; None without any."""
    return round(tally.audio_s / tally.sending_s, 4) if tally.sending_s else None


def live_result(
    plan: LivePlan, settings: LiveSettings, tally: LiveTally, slot_s: float, interrupted: bool
) -> LiveResult:
    """Sum up what all processes have counted."""
    lateness, lag = tally.lateness.figure(), tally.lag.figure()
    generator = generator_of(tally.shares)
    return LiveResult(
        mode="live",
        address=plan.address,
        interrupted=interrupted,
        settings=settings,
        streams=StreamCounts(plan.streams, tally.opened, tally.finished, len(tally.failures)),
        messages=tally.messages,
        pace=pace_of(tally),
        windows=WindowCounts(tally.windows_due, tally.windows_answered, tally.unforeseen),
        decisions=dict(tally.decisions.most_common()),
        connect_ms=tally.connect.figure(),
        decision_lag_ms=lag,
        time_to_decision_ms=tally.decided.figure(),
        finish_ms=tally.finish.figure(),
        send_lateness_ms=lateness,
        errors=tally.failures.rows(plan.streams),
        generator=generator,
        lag_over_time=tuple(
            Slot(slot * slot_s, tally.lag_by_slot[slot].figure())
            for slot in sorted(tally.lag_by_slot)
        ),
        notes=tuple(_live_notes(settings, tally, lateness, generator)),
    )


def _live_notes(
    settings: LiveSettings, tally: LiveTally, lateness: Figure, generator: Generator
) -> list[str]:
    notes = []
    if generator.was_limit:
        notes.append(generator_note(generator))
    if lateness.p99 is not None and lateness.p99 > LATE_MS:
        notes.append(late_note(lateness, generator))
    if not settings.window_s:
        notes.append("one window over the whole signal: there are no updates, so no decision lag")
    elif not tally.windows_due and tally.messages:
        notes.append(
            f"no window was completed in the counted time: a window takes {settings.window_s:.2f} s"
        )
    if tally.unforeseen:
        notes.append(
            f"{tally.unforeseen} updates came for no window that was sent; is it a speakerd daemon?"
        )
    if settings.tracks[0].name == SYNTHETIC and tally.decided:
        notes.append("the audio is synthetic: its decisions mean nothing")
    return notes
