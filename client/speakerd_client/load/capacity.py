"""The most live streams that a daemon carries within a decision lag."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from speakerd_client.errors import InvalidLoad, SpeakerdError
from speakerd_client.load.crew import Crew, Watch
from speakerd_client.load.facts import Generator, generator_note, generator_of
from speakerd_client.load.live_result import LiveSettings, WindowCounts, live_settings, pace_of
from speakerd_client.load.orders import Material
from speakerd_client.load.plan import LivePlan, within
from speakerd_client.load.probe import settings_of
from speakerd_client.load.runs import Rig, check_live, unwatched
from speakerd_client.load.samples import Figure
from speakerd_client.load.search import Purpose, Search, Trial
from speakerd_client.load.sound import Track
from speakerd_client.load.tally import Failure, LiveTally
from speakerd_client.patience import patiently

_SETTLE_SHARE = 0.25
_PAUSE_S = 1.0
"""Between two steps, so that the daemon is done with the one before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a number of streams must keep to be carried. Raises InvalidLoad for what cannot be."""

    lag_ms: float = 500.0
    """Longest decision lag, and lateness of sending, of 99 % of them: 1 to 60000."""
    resolution: float = 0.05
    """Width of the search's last step, of the number found: 0.001 to 0.5."""

    def __post_init__(self) -> None:
        """Check both."""
        within("lag-ms", self.lag_ms, 1, 60_000)
        within("resolution", 100 * self.resolution, 0.1, 50, "(percent)")


@dataclass(frozen=True, slots=True)
class Step:
    """One load of the search."""

    streams: int
    """How many there were."""
    purpose: Purpose
    """Why so many were tried."""
    attempt: int
    """2: it is tried again after a miss."""
    carried: bool
    """All was kept."""
    missed: str
    """What was not kept, in words; empty where it was carried."""
    decision_lag_ms: Figure
    """As in LiveResult, of the counted time, which ends with the first stream."""
    send_lateness_ms: Figure
    """As in LiveResult."""
    pace: float | None
    """As in LiveResult."""
    windows: WindowCounts
    """As in LiveResult."""
    errors: tuple[Failure, ...]
    """As in LiveResult."""
    generator: Generator
    """As in LiveResult."""


@dataclass(frozen=True, slots=True)
class CapacityResult:
    """What a search has found."""

    mode: str
    """"find_capacity"."""
    address: str
    """Of the daemon."""
    interrupted: bool
    """It was broken off; what was found until then stands."""
    ended_by: str
    """What ended the search early, such as a daemon that is gone; else empty."""
    streams: int
    """The most that were carried; 0: not even one."""
    confirmed: bool
    """So many were carried once more at the end."""
    maximum: int
    """The most that would have been tried."""
    bound_was_reached: bool
    """The maximum was carried: more may be."""
    lag_ms: float
    """The limit."""
    resolution_percent: float
    """Of the number found."""
    settings: LiveSettings
    """Of every step; connections are those of the maximum."""
    steps: tuple[Step, ...]
    """In their order."""
    generator_was_limit: bool
    """A step that was missed had a generating process nearly saturated: a lower bound."""
    notes: tuple[str, ...]
    """What makes the number mean less than it seems to."""


async def find_capacity(
    plan: LivePlan,
    tracks: Sequence[Track],
    wanted: Wanted,
    *,
    watch: Watch = unwatched,
    begins: Callable[[Trial], None] = lambda trial: None,
    ended: Callable[[Step], None] = lambda step: None,
    stop: asyncio.Event | None = None,
) -> CapacityResult:
    """Look for the most streams, up to `plan.streams`, that are carried with no error at all.

    Args:
        plan: Of every step; windows sent while it settles, and after its first stream has ended,
            are not counted.
        tracks: As in `run_live`.
        wanted: What must be kept.
        watch: As in `run_live`, of each step.
        begins: Called before each step.
        ended: Called after each step.
        stop: As in `run_live`.

    Raises:
        InvalidLoad: A step is too short for a window, or as in `run_live`.
        SpeakerdError: As in `run_live`.
    """
    stop = stop or asyncio.Event()
    check_live(plan, tracks)
    settings = await settings_of(plan, tracks)
    rig = Rig(plan, settings, tracks)
    settle_s = _settle_s(plan, rig)
    found = _Found(Search(plan.streams, wanted.resolution))
    async with Crew(Material(plan, tuple(tracks)), plan.processes) as crew:
        while (trial := found.search.trial) and not stop.is_set():
            begins(trial)
            tally = await rig.step(
                crew, trial.streams, settle_s, plan.seconds - plan.message_ms / 1000, watch, stop
            )
            if stop.is_set():
                break
            found.steps.append(_step(trial, tally, wanted.lag_ms))
            found.search.report(found.steps[-1].carried)
            ended(found.steps[-1])
            await asyncio.sleep(_PAUSE_S)
            try:
                await patiently(lambda: settings_of(plan, tracks))
            except SpeakerdError as error:
                found.ended_by = error.message
                break
    described = live_settings(plan, tracks, settings, rig.window_s, settle_s)
    return found.result(plan, wanted, described, stop.is_set())


@dataclass(slots=True)
class _Found:
    search: Search
    steps: list[Step] = field(default_factory=list)
    ended_by: str = ""

    def result(
        self, plan: LivePlan, wanted: Wanted, settings: LiveSettings, interrupted: bool
    ) -> CapacityResult:
        missed = [step for step in self.steps if not step.carried]
        was_limit = any(step.generator.was_limit for step in missed)
        notes = [generator_note(s.generator) for s in missed if s.generator.was_limit][:1]
        if self.search.bound_was_reached:
            notes.append(
                f"{plan.streams} streams, the most that were to be tried, were carried: more may"
                " be; raise --streams"
            )
        if self.search.found and not self.search.confirmed:
            notes.append("the number found was not tried once more")
        return CapacityResult(
            mode="find_capacity",
            address=plan.address,
            interrupted=interrupted,
            ended_by=self.ended_by,
            streams=self.search.found,
            confirmed=self.search.confirmed,
            maximum=plan.streams,
            bound_was_reached=self.search.bound_was_reached,
            lag_ms=wanted.lag_ms,
            resolution_percent=100 * wanted.resolution,
            settings=settings,
            steps=tuple(self.steps),
            generator_was_limit=was_limit,
            notes=tuple(notes),
        )


def missed(tally: LiveTally, lag_ms: float) -> str:
    """Say what a step did not keep, in words; nothing when it kept all."""
    lag, lateness = tally.lag.percentile_ms(99), tally.lateness.percentile_ms(99)
    unanswered = tally.windows_due - tally.windows_answered
    if tally.failures:
        named = ", ".join(f"{each.reason} {each.count}" for each in tally.failures.rows(1))
        return f"streams failed: {named}"
    if unanswered:
        return f"{unanswered} of {tally.windows_due} windows were not answered"
    if lag is None or lateness is None:
        return "no window was completed"
    if lag > lag_ms:
        return f"lag p99 {lag:.0f} ms"
    if lateness > lag_ms:
        return f"sent late, p99 {lateness:.0f} ms"
    return ""


def _step(trial: Trial, tally: LiveTally, lag_ms: float) -> Step:
    words = missed(tally, lag_ms)
    return Step(
        streams=trial.streams,
        purpose=trial.purpose,
        attempt=trial.attempt,
        carried=not words,
        missed=words,
        decision_lag_ms=tally.lag.figure(),
        send_lateness_ms=tally.lateness.figure(),
        pace=pace_of(tally),
        windows=WindowCounts(tally.windows_due, tally.windows_answered, tally.unforeseen),
        errors=tally.failures.rows(trial.streams),
        generator=generator_of(tally.shares),
    )


def _settle_s(plan: LivePlan, rig: Rig) -> float:
    """Give the time that is not counted. Raises InvalidLoad when too little is left."""
    settle_s = plan.settle_s
    if settle_s is None:
        settle_s = max(_SETTLE_SHARE * plan.seconds, rig.spread_s)
    if not rig.window_s:
        raise InvalidLoad(
            "--find-capacity needs windows, and one over the whole signal has no updates: leave"
            " --samples-per-chunk -1 out"
        )
    if plan.seconds - settle_s < 2 * rig.window_s:
        raise InvalidLoad(
            f"--seconds {plan.seconds:g} is too short: a window takes {rig.window_s:.2f} s and the"
            f" first {settle_s:.2f} s are not counted; take at least"
            f" {settle_s + 2 * rig.window_s:.0f}"
        )
    return settle_s
