"""The loads themselves: from a plan and tracks to a result. Await them in any event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from speakerd_client.load.channels import check_descriptors
from speakerd_client.load.closed_result import ClosedResult, closed_result
from speakerd_client.load.crew import Crew, Watch
from speakerd_client.load.live_result import LiveResult, live_result, live_settings
from speakerd_client.load.orders import ClosedOrder, LiveOrder, Material, Progress
from speakerd_client.load.plan import ClosedPlan, LivePlan, connections_of, message_samples
from speakerd_client.load.probe import require_answer, settings_of
from speakerd_client.load.sound import Track
from speakerd_client.load.tally import ClosedTally, LiveTally
from speakerd_client.load.windows import clock_of
from speakerd_client.results import CallSettings

_WHOLE_SIGNAL_SPREAD_S = 2.0
"""Start phases of streams that have no windows."""
_SLOTS = 120


def unwatched(progress: Progress, elapsed_s: float) -> None:
    """Watch nothing."""


async def run_live(
    plan: LivePlan,
    tracks: Sequence[Track],
    *,
    watch: Watch = unwatched,
    stop: asyncio.Event | None = None,
) -> LiveResult:
    """Run paced live streams.

    Args:
        plan: What to do.
        tracks: What to send, of `tracks_of`; stream i sends track i, modulo their number.
        watch: Called some times a second while the streams run.
        stop: Set it to break off and have what was measured until then.

    Raises:
        InvalidLoad: It cannot be run as asked; nothing was sent.
        SpeakerdError: No daemon answers, or it would take no such call.
    """
    stop = stop or asyncio.Event()
    check_live(plan, tracks)
    settings = await settings_of(plan, tracks)
    rig = Rig(plan, settings, tracks)
    settle_s = plan.settle_s or 0.0
    async with Crew(Material(plan, tuple(tracks)), plan.processes) as crew:
        tally = await rig.step(crew, plan.streams, settle_s, plan.seconds + 1e9, watch, stop)
    described = live_settings(plan, tracks, settings, rig.window_s, settle_s)
    return live_result(plan, described, tally, rig.slot_s, stop.is_set())


async def run_closed(
    plan: ClosedPlan,
    tracks: Sequence[Track],
    *,
    watch: Watch = unwatched,
    stop: asyncio.Event | None = None,
) -> ClosedResult:
    """Run a closed loop at each concurrency in turn; arguments and errors as in `run_live`."""
    stop = stop or asyncio.Event()
    for concurrency in plan.concurrencies:
        connections = connections_of(
            plan.wanted_connections(concurrency), concurrency, plan.processes
        )
        check_descriptors(connections, plan.processes)
    await require_answer(plan, tracks)
    tallies: list[ClosedTally] = []
    async with Crew(Material(plan, tuple(tracks)), plan.processes) as crew:
        for concurrency in plan.concurrencies:
            if stop.is_set():
                break
            shares = _shares(concurrency, plan.wanted_connections(concurrency), plan.processes)
            orders = [
                ClosedOrder(first, plan.processes, concurrency, connections)
                for first, connections in enumerate(shares)
            ]
            merged = ClosedTally()
            for tally in await crew.run(orders, watch, stop):
                if isinstance(tally, ClosedTally):
                    merged.merge(tally)
            tallies.append(merged)
    return closed_result(plan, tracks, tallies, stop.is_set())


def check_live(plan: LivePlan, tracks: Sequence[Track]) -> None:
    """Refuse what is known to fail before anything is asked of anybody. Raises InvalidLoad."""
    for track in tracks:
        message_samples(track.audio.format, plan.message_ms)
    connections = connections_of(plan.connections, plan.streams, plan.processes)
    check_descriptors(connections, plan.processes)


class Rig:
    """Live streams of one plan, in any number, on a crew that has the plan's material."""

    def __init__(self, plan: LivePlan, settings: CallSettings, tracks: Sequence[Track]) -> None:
        self._plan = plan
        rate_hz = tracks[0].audio.format.sample_rate_hz
        self.window_s = clock_of(settings, rate_hz).hop_s
        """Seconds from one window to the next; 0 without windows."""
        self.spread_s = min(self.window_s or _WHOLE_SIGNAL_SPREAD_S, plan.seconds)
        """Over which the starts are spread."""
        self.slot_s = max(1.0, (plan.seconds + self.spread_s) / _SLOTS)
        """Length of a slot of the lags over time."""

    async def step(
        self,
        crew: Crew,
        streams: int,
        count_from_s: float,
        count_until_s: float,
        watch: Watch,
        stop: asyncio.Event,
    ) -> LiveTally:
        """Run so many streams and give what all processes have counted between the two times."""
        plan = self._plan
        orders = [
            LiveOrder(
                first=first,
                step=plan.processes,
                streams=streams,
                connections=connections,
                spread_s=self.spread_s,
                count_from_s=count_from_s,
                count_until_s=count_until_s,
                measure_until_s=plan.seconds,
                slot_s=self.slot_s,
            )
            for first, connections in enumerate(_shares(streams, plan.connections, plan.processes))
        ]
        merged = LiveTally()
        for tally in await crew.run(orders, watch, stop):
            if isinstance(tally, LiveTally):
                merged.merge(tally)
        return merged


def _shares(streams: int, wanted_connections: int | None, processes: int) -> list[int]:
    """Give the connections of each process: as even as can be, none where it has no stream."""
    connections = connections_of(wanted_connections, streams, processes)
    return [
        (connections - first + processes - 1) // processes if first < streams else 0
        for first in range(processes)
    ]
