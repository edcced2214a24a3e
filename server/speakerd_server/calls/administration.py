"""What operators may ask and order, of one process or of all that make up the daemon."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from speakerd_server.calls.changes import Changes
from speakerd_server.calls.finishing import finished
from speakerd_server.calls.loading import (
    ModelLoader,
    check_default,
    found_for_loading,
    refused_by_name,
)
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.sessions import LiveSession
from speakerd_server.cards import Card
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.errors import Draining, ModelRefused
from speakerd_server.models.choice import ModelSettings
from speakerd_server.values import ModelIdentity

if TYPE_CHECKING:
    from speakerd_server.calls.serving import Serving


class ModelStatus(enum.Enum):
    """Where a model stands."""

    LOADED = "loaded"
    UNLOADING = "unloading"
    """No new call can name it; its memory is given back when the last call that holds it ends."""
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model, what calls mean by it and how it does."""

    card: Card
    """What it says of itself."""
    status: ModelStatus
    """Where it stands."""
    is_default: bool
    """Whether calls that name no model mean it."""
    answers_to_name: bool
    """Whether calls that give its name without a version mean it."""
    open_calls: int
    """Calls that hold it."""
    devices: tuple[EngineStatistics, ...]
    """What was done with it, device by device."""
    load_s: float = 0.0
    """Seconds that it took to load, where that was just done."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One of the processes that make up the daemon."""

    name: str
    """Such as "worker 0", "engine cpu", "store"."""
    pid: int
    """Of the running process; 0: it is down."""
    started_unix_s: float
    """When this one was started, seconds since 1970 UTC."""
    restarts: int
    """How often it was started again."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the daemon is and how it does."""

    started_unix_s: float
    """When it was started, seconds since 1970 UTC."""
    default_model: ModelIdentity
    """The model of calls that name none."""
    domains: tuple[str, ...]
    """Those of the settings, sorted."""
    live_streams: int
    """Live calls now."""
    maximum_streams: int
    """Most at once."""
    queued_windows: int
    """Windows waiting for the engine now."""
    maximum_queued_windows: int
    """Most that may wait at once."""
    windows_embedded: int
    """Since the start; those of a process that ended are not counted."""
    speakers: int
    """In the store, all domains."""
    draining: bool
    """Whether new calls are refused."""
    processes: tuple[ProcessState, ...] = ()
    """Empty where one process does everything."""


class Administration(Protocol):
    """What AdminService asks; raises SpeakerdErrors."""

    async def server(self) -> ServerState:
        """Say what the daemon is and how it does."""

    async def models(self) -> list[ModelState]:
        """List the models, by name and version."""

    async def load_model(self, reference: str, device: str, *, make_default: bool) -> ModelState:
        """Load a model, warm it up, and only then let calls name it.

        Args:
            reference: NAME or NAME/VERSION, of the models' folder or shipped.
            device: Where it computes; empty: as the settings say.
            make_default: Let calls that name no model mean it.

        Raises:
            ModelsBusy: Too many changes wait.
            ModelUnknown: It is not there.
            ModelRefused: It is damaged, does not embed, or does not fit the device.
        """

    async def unload_model(self, reference: str) -> ModelState:
        """Let no new call name a model; its memory is given back once no call holds it.

        Raises ModelUnknown, ModelIsDefault and ModelsBusy.
        """

    async def sessions(self) -> list[LiveSession]:
        """List the live calls that go on, oldest first."""

    async def drain(self, *, resume: bool, wait_s: float) -> int:
        """Refuse new calls, or take them again, and give the number of those that go on.

        Args:
            resume: Take calls again.
            wait_s: Answer only when no call goes on, or after so long.

        Raises Draining for a daemon that is about to stop and cannot take calls again.
        """


class LocalAdministration:
    """One process: what it is asked, of itself alone.

    Args:
        serving: Of this process.
        loader: Brings models into the engine.
        settings: Where models are looked for.
        tell_health: Told whether calls are taken.
    """

    def __init__(
        self,
        serving: Serving,
        loader: ModelLoader,
        settings: ModelSettings,
        tell_health: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._serving, self._loader, self._settings = serving, loader, settings
        self._tell_health = tell_health
        self._changes = Changes(asyncio.Lock())
        self._releases: set[asyncio.Task[None]] = set()
        self._embedded_by_unloaded = 0
        self._unloading: set[LoadedModel] = set()

    async def server(self) -> ServerState:
        """See Administration."""
        serving = self._serving
        models = {*serving.models, *serving.models.leaving} - self._unloading
        done = [one for model in models for one in model.engine.statistics()]
        embedded = sum(one.windows_embedded for one in done)
        return ServerState(
            started_unix_s=serving.started_unix_s,
            default_model=serving.models.default.card.identity,
            domains=tuple(sorted(serving.settings.domains)),
            live_streams=serving.places.streams,
            maximum_streams=serving.places.maximum_streams,
            queued_windows=sum(one.queued_windows for one in done),
            maximum_queued_windows=serving.models.default.engine.queue_limit_windows,
            windows_embedded=self._embedded_by_unloaded + embedded,
            speakers=await serving.enrolments.count(),
            draining=serving.places.draining,
        )

    async def models(self) -> list[ModelState]:
        """See Administration."""
        models = self._serving.models
        every = [self.state_of(model) for model in (*models, *models.leaving)]
        return sorted(every, key=lambda one: (one.card.identity.name, one.card.identity.version))

    async def load_model(self, reference: str, device: str, *, make_default: bool) -> ModelState:
        """See Administration."""
        # A client that goes away must leave no model half loaded.
        return await finished(self._load(reference, device, make_default))

    async def _load(self, reference: str, device: str, make_default: bool) -> ModelState:
        models = self._serving.models
        async with self._changes.turn():
            loaded = [one.bundle for one in models if one.bundle is not None]
            bundle = await asyncio.to_thread(
                found_for_loading, reference, self._settings.folder, loaded
            )
            check_default(bundle, make_default)
            known = models.find(f"{bundle.card.identity.name}/{bundle.card.identity.version}")
            load_s = 0.0
            if known is None:
                begun_s = time.monotonic()
                with refused_by_name(bundle):
                    known = await self._loader.load(bundle, device)
                load_s = time.monotonic() - begun_s
                models.add(known, make_default=make_default)
            elif known.card.sha256 != bundle.card.sha256:
                problem = "another file of that name and version is loaded; unload it first"
                raise ModelRefused(known.reference, problem)
            elif make_default:
                models.make_default(known)
        return replace(self.state_of(known), load_s=load_s)

    async def unload_model(self, reference: str) -> ModelState:
        """See Administration."""
        model = self._serving.models.remove(reference)
        release = asyncio.create_task(self._release(model))
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)
        if not model.users:
            await asyncio.shield(release)
        return self.state_of(model)

    async def sessions(self) -> list[LiveSession]:
        """See Administration."""
        return self._serving.sessions.now()

    async def drain(self, *, resume: bool, wait_s: float) -> int:
        """See Administration."""
        places = self._serving.places
        if resume and places.stopping:
            raise Draining
        places.draining = not resume
        await self._tell_health(resume and not self._engine_is_dead())
        if not resume and wait_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await places.quiet.wait()
        return places.open_calls

    def state_of(self, model: LoadedModel) -> ModelState:
        """Say how a model does."""
        models = self._serving.models
        status = ModelStatus.LOADED
        if model.leaving:
            status = ModelStatus.UNLOADING if model in models.leaving else ModelStatus.UNLOADED
        return ModelState(
            card=model.card,
            status=status,
            is_default=not model.leaving and model is models.default,
            answers_to_name=not model.leaving and models.answers_to_name(model),
            open_calls=model.users,
            devices=() if status is ModelStatus.UNLOADED else tuple(model.engine.statistics()),
        )

    async def _release(self, model: LoadedModel) -> None:
        await model.unused.wait()
        done = model.engine.statistics()
        self._embedded_by_unloaded += sum(one.windows_embedded for one in done)
        self._unloading.add(model)
        await self._loader.unload(model)
        self._unloading.discard(model)
        self._serving.models.leaving.remove(model)

    def _engine_is_dead(self) -> bool:
        works = [one.dead is None for one in self._serving.models.default.engine.statistics()]
        return not any(works)
