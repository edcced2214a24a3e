"""A front end: takes calls on the shared port, and has them embedded and looked up elsewhere."""

from __future__ import annotations

import asyncio
import mmap
import os
from dataclasses import replace
from typing import Any

from speakerd_server.calls.administration import ModelState, ServerState
from speakerd_server.calls.models import LoadedModel, Models
from speakerd_server.calls.serving import Serving
from speakerd_server.calls.sessions import LiveSession, Sessions
from speakerd_server.gate.batcher import SpeechGate
from speakerd_server.gate.network import GateNetwork
from speakerd_server.processes.entry import Ask
from speakerd_server.processes.messages import (
    AdminCall,
    Begin,
    DrainNow,
    HealthNow,
    ModelsNow,
    Serve,
    SessionsNow,
    Unused,
    Uses,
    UsesNow,
)
from speakerd_server.processes.remote_store import RemoteEnrolments
from speakerd_server.processes.spread import Engines, RemoteEngine
from speakerd_server.wire.doors import Doors


class WorkerProcess:
    """Serves calls as one process would, over engines and a store in other processes."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._models = Models()
        self._numbers: dict[int, LoadedModel] = {}
        self._releases: set[asyncio.Task[None]] = set()

    async def begin(self, begin: Begin) -> None:
        """Connect to the others."""
        settings, where = begin.settings, begin.whereabouts
        self._enrolments = RemoteEnrolments(where.store, settings.calls.pending_store_changes)
        self._enrolments.open()
        await self._enrolments.ready()
        paths = {name: where.engine(name) for name in where.engines}
        self._engines = Engines(paths, settings.engine)
        self._engines.open()
        self._gate = SpeechGate(GateNetwork(), settings.gate.pending_frames)
        counts = memoryview(mmap.mmap(begin.counts, os.fstat(begin.counts).st_size)).cast("q")
        self._serving = Serving(
            self._models,
            self._enrolments,
            settings.calls,
            settings.calls.places(counts, begin.number),
            Sessions(begin.number),
            self._gate,
            settings.gate,
            settings.quality,
        )
        self._server = Doors(
            self._serving,
            RemoteAdministration(self._ask),
            replace(settings.server, address=begin.address),
            replace(settings.kserve, http_address=begin.http_address),
            settings.model.folder,
            shared_ports=True,
        )

    async def answer(self, question: Any) -> Any:
        """Do what the supervisor orders."""
        places = self._serving.places
        match question:
            case ModelsNow():
                return self._take_over(question)
            case UsesNow():
                return self._uses()
            case Serve():
                return await self._server.start()
            case HealthNow():
                await self._server.tell_health(serving=question.serving)
            case DrainNow():
                places.draining, places.stopping = question.draining, question.stopping
            case SessionsNow():
                return self._serving.sessions.now()
            case _:
                raise ValueError(f"a front end cannot answer {type(question).__name__}")
        return None

    async def close(self) -> None:
        """End the calls that still go on."""
        await self._server.stop()
        await self._engines.close()
        await self._gate.stop()
        await self._serving.uses.close()
        await self._enrolments.close()

    def _take_over(self, now: ModelsNow) -> Uses:
        """Let calls name the models that there are now, and no others."""
        wanted = {hosted.number: hosted for hosted in now.models}
        for number, model in list(self._numbers.items()):
            if number not in wanted and not model.leaving:
                self._models.let_go(model)
                release = asyncio.create_task(self._release(number, model))
                self._releases.add(release)
                release.add_done_callback(self._releases.discard)
        for number, hosted in wanted.items():
            self._engines.host(number, hosted.rates)
            if number not in self._numbers:
                engine = RemoteEngine(self._engines, number)
                model = LoadedModel(hosted.card, engine, str(number), cohort=hosted.cohort)
                self._numbers[number] = model
                self._models.add(model)
        self._models.prefer(now.default, now.preferred)
        return self._uses()

    def _uses(self) -> Uses:
        return {number: model.users for number, model in self._numbers.items()}

    async def _release(self, number: int, model: LoadedModel) -> None:
        await model.unused.wait()
        self._engines.forget(number)
        self._models.leaving.remove(model)
        del self._numbers[number]
        await self._ask(Unused(number))


class RemoteAdministration:
    """What operators ask one front end, answered by the supervisor for all."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def server(self) -> ServerState:
        """See Administration."""
        state: ServerState = await self._call("server")
        return state

    async def models(self) -> list[ModelState]:
        """See Administration."""
        states: list[ModelState] = await self._call("models")
        return states

    async def load_model(self, reference: str, device: str, *, make_default: bool) -> ModelState:
        """See Administration."""
        state: ModelState = await self._call(
            "load_model", reference=reference, device=device, make_default=make_default
        )
        return state

    async def unload_model(self, reference: str) -> ModelState:
        """See Administration."""
        state: ModelState = await self._call("unload_model", reference=reference)
        return state

    async def sessions(self) -> list[LiveSession]:
        """See Administration."""
        sessions: list[LiveSession] = await self._call("sessions")
        return sessions

    async def drain(self, *, resume: bool, wait_s: float) -> int:
        """See Administration."""
        return int(await self._call("drain", resume=resume, wait_s=wait_s))

    async def _call(self, method: str, **arguments: Any) -> Any:
        return await self._ask(AdminCall(method, arguments))
