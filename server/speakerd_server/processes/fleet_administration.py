"""What operators ask, answered for all processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from speakerd_server.calls.administration import ModelState, ModelStatus, ServerState
from speakerd_server.calls.changes import Changes
from speakerd_server.calls.finishing import finished
from speakerd_server.calls.loading import check_default, found_for_loading, refused_by_name
from speakerd_server.calls.places import Places
from speakerd_server.calls.sessions import LiveSession
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.errors import Draining, ModelRefused, StoreUnavailable
from speakerd_server.processes.child import Child
from speakerd_server.processes.fleet import PATIENCE_S, Fleet
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import (
    AdminCall,
    DrainNow,
    SessionsNow,
    Statistics,
    StatisticsNow,
    Unused,
    Uses,
    UsesNow,
)
from speakerd_server.processes.models_hosted import HostedModel
from speakerd_server.processes.remote_store import RemoteEnrolments

_METHODS = ("server", "models", "load_model", "unload_model", "sessions", "drain")


class FleetAdministration:
    """Administration of a daemon of several processes.

    Args:
        fleet: Its processes.
        enrolments: The store's.
    """

    def __init__(self, fleet: Fleet, enrolments: RemoteEnrolments) -> None:
        self._fleet, self._enrolments = fleet, enrolments
        self._started_unix_s = time.time()
        self._changes = Changes(fleet.models.changing)

    async def server(self) -> ServerState:
        """See Administration."""
        fleet = self._fleet
        done = [one for work in (await self._work()).values() for one in work]
        try:
            async with asyncio.timeout(PATIENCE_S):
                speakers = await self._enrolments.count()
        except (StoreUnavailable, TimeoutError):
            speakers = 0
        return ServerState(
            started_unix_s=self._started_unix_s,
            default_model=fleet.models.named.default.card.identity,
            domains=tuple(sorted(fleet.settings.calls.domains)),
            live_streams=Places.streams_in(fleet.counts),
            maximum_streams=fleet.settings.calls.maximum_streams,
            queued_windows=sum(one.queued_windows for one in done),
            maximum_queued_windows=fleet.settings.engine.queue_windows * len(fleet.engines),
            windows_embedded=sum(one.windows_embedded for one in done),
            speakers=speakers,
            draining=fleet.draining,
            processes=tuple(child.state for child in fleet.children),
        )

    async def models(self) -> list[ModelState]:
        """See Administration."""
        work, uses = (
            await self._work(),
            _added((await self._fleet.tell_workers(UsesNow())).values()),
        )
        states = [
            self._state(hosted, uses, work.get(hosted.number, ()))
            for hosted in self._fleet.models.every.values()
        ]
        return sorted(states, key=lambda one: (one.card.identity.name, one.card.identity.version))

    async def load_model(self, reference: str, device: str, *, make_default: bool) -> ModelState:
        """See Administration."""
        return await finished(self._load(reference, device, make_default))

    async def _load(self, reference: str, device: str, make_default: bool) -> ModelState:
        fleet, models = self._fleet, self._fleet.models
        folder = fleet.settings.model.folder
        async with self._changes.turn():
            loaded = [one.bundle for one in models.every.values() if not one.entry.leaving]
            bundle = await asyncio.to_thread(found_for_loading, reference, folder, loaded)
            check_default(bundle, make_default)
            identity = bundle.card.identity
            known = models.named.find(f"{identity.name}/{identity.version}")
            load_s = 0.0
            if known is None:
                begun_s = time.monotonic()
                with refused_by_name(bundle):
                    hosted = await models.load(
                        bundle, device, fleet.engines, make_default=make_default
                    )
                load_s = time.monotonic() - begun_s
            elif known.card.sha256 != bundle.card.sha256:
                problem = "another file of that name and version is loaded; unload it first"
                raise ModelRefused(known.reference, problem)
            else:
                hosted = models.of(known)
                if make_default:
                    models.named.make_default(known)
            await fleet.tell_models()
        work = await self._work()
        return replace(self._state(hosted, {}, work.get(hosted.number, ())), load_s=load_s)

    async def unload_model(self, reference: str) -> ModelState:
        """See Administration."""
        # The front end that asks may die before every other has been told.
        return await finished(self._unload(reference))

    async def _unload(self, reference: str) -> ModelState:
        fleet, models = self._fleet, self._fleet.models
        async with self._changes.turn():
            hosted = models.of(models.named.remove(reference))
            told = await fleet.tell_models()
            uses = _added(told.values())
            hosted.holders = {name for name, held in told.items() if held.get(hosted.number)}
            if not hosted.holders:
                await models.give_back(hosted, fleet.engines)
        return self._state(hosted, uses, ())

    async def let_go(self, worker: str, numbers: Iterable[int] | None = None) -> None:
        """Take note that a front end holds models no more, or none at all: it has ended."""
        models = self._fleet.models
        async with models.changing:
            for number in list(models.every) if numbers is None else numbers:
                hosted = models.every.get(number)
                if hosted is not None and hosted.entry.leaving:
                    hosted.holders.discard(worker)
                    if not hosted.holders:
                        await models.give_back(hosted, self._fleet.engines)

    async def sessions(self) -> list[LiveSession]:
        """See Administration."""
        told = await self._fleet.tell_workers(SessionsNow())
        every = [session for sessions in told.values() for session in sessions]
        return sorted(every, key=lambda one: one.started_unix_s)

    async def drain(self, *, resume: bool, wait_s: float) -> int:
        """See Administration."""
        fleet = self._fleet
        if resume and fleet.stopping:
            raise Draining
        fleet.draining = not resume
        await fleet.tell_workers(DrainNow(fleet.draining, fleet.stopping))
        await fleet.tell_health()
        if not resume and wait_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await fleet.quiet()
        return Places.open_calls_in(fleet.counts)

    async def answer(self, worker: str, question: Any) -> Any:
        """Answer a front end."""
        match question:
            case AdminCall(method, arguments) if method in _METHODS:
                return await getattr(self, method)(**arguments)
            case Unused(number):
                return await self.let_go(worker, [number])
        raise ValueError(f"nobody answers {question}")

    async def _work(self) -> dict[int, list[EngineStatistics]]:
        """Ask every engine what it did, by model; one that is down did nothing."""
        engines = self._fleet.engines
        answers = await asyncio.gather(*(self._done_by(child) for child in engines.values()))
        found: dict[int, list[EngineStatistics]] = {}
        for name, done in zip(engines, answers, strict=True):
            for number, one in done.items():
                device = name.removeprefix("engine ")
                found.setdefault(number, []).append(replace(one, device=device))
        return found

    async def _done_by(self, child: Child) -> Statistics:
        dead = "its process is down"
        if child.ready:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    done: Statistics = await child.ask(StatisticsNow())
                    return done
            except LinkLost:
                pass
            except TimeoutError:
                dead = "its process does not answer"
        every = self._fleet.models.every.values()
        return {
            hosted.number: EngineStatistics(dead=dead)
            for hosted in every
            if child.name in hosted.rates
        }

    def _state(
        self,
        hosted: HostedModel,
        uses: Uses,
        work: list[EngineStatistics] | tuple[EngineStatistics, ...],
    ) -> ModelState:
        named, entry = self._fleet.models.named, hosted.entry
        status = ModelStatus.LOADED
        if entry.leaving:
            held = hosted.number in self._fleet.models.every
            status = ModelStatus.UNLOADING if held else ModelStatus.UNLOADED
        return ModelState(
            card=entry.card,
            status=status,
            is_default=not entry.leaving and entry is named.default,
            answers_to_name=not entry.leaving and named.answers_to_name(entry),
            open_calls=uses.get(hosted.number, 0),
            devices=tuple(work),
        )


def _added(every: Iterable[Uses]) -> dict[int, int]:
    total: dict[int, int] = {}
    for uses in every:
        for number, count in uses.items():
            total[number] = total.get(number, 0) + count
    return total
