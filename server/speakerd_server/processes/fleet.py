"""The processes of one daemon together: started in order, started again, told what is new."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from speakerd_server import metrics
from speakerd_server.calls.places import Places
from speakerd_server.config import Settings
from speakerd_server.life import Addresses
from speakerd_server.metrics_page import count_as_ended
from speakerd_server.processes.arena import mapped, shared_file
from speakerd_server.processes.child import Child
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import (
    Begin,
    DrainNow,
    EngineAway,
    HealthNow,
    Listen,
    Serve,
    Uses,
    Whereabouts,
)
from speakerd_server.processes.models_hosted import HostedModels

_log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""A process that takes longer to answer what needs no work stands still."""
_LONG_ENOUGH_S = 60.0
_LOOK_S = 0.05
_DELAYS_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

Revive = Callable[[Child], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Programs:
    """What Python runs for each kind of process; empty: our own entry."""

    engine: Sequence[str] = ()
    """For engines."""


class Operators(Protocol):
    """Who answers what front ends ask of the supervisor."""

    async def answer(self, worker: str, question: Any) -> Any:
        """Answer a front end."""

    async def let_go(self, worker: str) -> None:
        """Take note that a front end has ended."""


class Fleet:
    """All processes but the supervisor.

    Args:
        settings: Of the daemon.
        folder: Private; for socket files.
        addresses: Hosts and ports that all front ends share.
        programs: What is run.
    """

    operators: Operators
    """To be set before `start`."""

    def __init__(
        self, settings: Settings, folder: Path, addresses: Addresses, programs: Programs
    ) -> None:
        self.settings, self._addresses = settings, addresses
        self.metrics_folder = folder / "metrics"
        """Where all processes count."""
        self.metrics_folder.mkdir()
        names = engine_names(settings.engine.devices)
        self.whereabouts = Whereabouts(folder, tuple(names))
        self._counts_file = shared_file(8 * Places.cells(settings.server.workers))
        self.counts = memoryview(mapped(self._counts_file)).cast("q")
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(self.metrics_folder)}

        def child(kind: str, name: str, program: Sequence[str] = ()) -> Child:
            answer = functools.partial(self._answer, name)
            return Child(kind, name, answer, environment, program)

        self.store = child("store", "store")
        self.engines = {name: child("engine", name, programs.engine) for name in names}
        self.devices = dict(zip(names, settings.engine.devices, strict=True))
        self.workers = [child("worker", f"worker {n}") for n in range(settings.server.workers)]
        self.models = HostedModels(settings.model, self.devices)
        self.draining = self.stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = asyncio.Lock()
        self._away: set[str] = set()

    @property
    def children(self) -> list[Child]:
        """Every process."""
        return [self.store, *self.engines.values(), *self.workers]

    async def start(self) -> None:
        """Start everything in order; raises what stops the start of one of them."""
        await self._begin_store(self.store)
        self._watch(self.store, self._begin_store)
        await asyncio.gather(*(self._begin_engine(child) for child in self.engines.values()))
        for child in self.engines.values():
            self._watch(child, self._revive_engine)
        await self.models.load_at_start(self.engines)
        for child in self.engines.values():
            await child.order(Listen())
            child.ready = True
        await asyncio.gather(*(self._begin_worker(child) for child in self.workers))
        for child in self.workers:
            self._watch(child, self._begin_worker)

    async def stop(self) -> None:
        """Stop everything, front ends first."""
        for child in self.children:
            child.stopping = True
        # Else one that has just ended would be started again meanwhile.
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for children in (self.workers, list(self.engines.values()), [self.store]):
            await asyncio.gather(*(child.stop() for child in children))

    async def quiet(self) -> None:
        """Return once no call goes on in any front end."""
        while Places.open_calls_in(self.counts):  # noqa: ASYNC110 - shared memory wakes nobody
            await asyncio.sleep(_LOOK_S)

    async def tell_workers(self, question: Any) -> dict[str, Any]:
        """Ask every front end, and give the answers of those that are there, by name.

        One that is just being started is told what there is to know when it is ready. One that
        stands still is not waited for; it is told all the same once it goes on.
        """
        answers: dict[str, Any] = {}

        async def told(child: Child) -> None:
            with suppress(LinkLost):
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        answers[child.name] = await child.ask(question)
                except TimeoutError:
                    _log.warning("process does not answer", extra={"which": child.name})

        await asyncio.gather(*(told(child) for child in self.workers if child.ready))
        return answers

    async def tell_models(self) -> dict[str, Uses]:
        """Tell every front end which models there are now; gives their uses."""
        async with self._told:
            return await self.tell_workers(self.models.now())

    async def tell_health(self) -> None:
        """Tell every front end whether the daemon is well."""
        await self.tell_workers(self.health())

    def health(self) -> HealthNow:
        """Give what front ends say of the daemon's health."""
        up = [name for name, child in self.engines.items() if child.ready]
        well = self.models.can_serve([name for name in up if name not in self._away])
        return HealthNow(serving=well and not self.draining)

    async def _answer(self, name: str, question: Any) -> Any:
        if isinstance(question, EngineAway):
            return await self._take_note_of_device(name, question.cause)
        return await self.operators.answer(name, question)

    async def _take_note_of_device(self, name: str, cause: str | None) -> None:
        """Let health know that the device of an engine went away, or is back."""
        if cause is None:
            self._away.discard(name)
            _log.info("engine is there", extra={"which": name})
        else:
            self._away.add(name)
            _log.error("engine is away", extra={"which": name, "cause": cause})
        await self.tell_health()

    async def _begin_store(self, child: Child) -> None:
        await child.start()
        await child.order(self._first_word(child, 0))

    async def _begin_engine(self, child: Child) -> None:
        await child.start()
        number = list(self.engines).index(child.name)
        await child.order(self._first_word(child, number, device=self.devices[child.name]))

    async def _revive_engine(self, child: Child) -> None:
        async with self.models.changing:
            await self._begin_engine(child)
            await self.models.load_again(child)
            await child.order(Listen())
            child.ready = True
        await self.tell_models()
        await self.tell_health()

    async def _begin_worker(self, child: Child) -> None:
        number = self.workers.index(child)
        Places.clear(self.counts, number)
        await child.start(pass_fds=[self._counts_file])
        where = {"address": self._addresses.grpc, "http_address": self._addresses.http}
        await child.order(self._first_word(child, number, **where, counts=self._counts_file))
        async with self._told, asyncio.timeout(PATIENCE_S):
            child.ready = True
            await child.order(self.models.now())
            await child.order(DrainNow(self.draining, self.stopping))
            await child.order(self.health())
        await child.order(Serve())

    def _first_word(self, child: Child, number: int, **more: Any) -> Begin:
        return Begin(self.settings, self.whereabouts, child.name, number, **more)

    def _watch(self, child: Child, revive: Revive) -> None:
        self._begin(self._keep(child, revive))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, child: Child, revive: Revive) -> None:
        """Start a process again whenever it ends, ever more slowly while it ends soon."""
        attempt = 0
        while True:
            how = await child.ended()
            if child.stopping:
                return
            if time.time() - child.started_unix_s > _LONG_ENOUGH_S:
                attempt = 0
            delay_s = _DELAYS_S[min(attempt, len(_DELAYS_S) - 1)]
            attempt += 1
            _log.error("process ended", extra={"which": child.name, "how": how, "again_s": delay_s})
            child.restarts += 1
            self._clear_up(child)
            await asyncio.sleep(delay_s)
            try:
                await revive(child)
            # The edge of a task: whatever keeps a process from starting, it is tried again.
            except Exception as error:  # noqa: BLE001
                cause = f"{type(error).__name__}: {error}"
                _log.error("process cannot start", extra={"which": child.name, "cause": cause})
                child.kill()
            else:
                _log.info("process is back", extra={"which": child.name})

    def _clear_up(self, child: Child) -> None:
        """Take back what a process that has ended left in the hands of others."""
        metrics.RESTARTS.labels(child.kind).inc()
        count_as_ended(self.metrics_folder, child.pid)
        if child.kind == "worker":
            Places.clear(self.counts, self.workers.index(child))
            # A model may be being loaded, for which no front end should be waited with.
            self._begin(self.operators.let_go(child.name))
        elif child.kind == "engine":
            self._away.discard(child.name)
            self._begin(self.tell_health())


def engine_names(devices: Sequence[str]) -> list[str]:
    """Name an engine for each device; those of one device are numbered from the second on."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for device in devices:
        seen[device] += 1
        again = f" ({seen[device]})" if seen[device] > 1 else ""
        names.append(f"engine {device}{again}")
    return names
