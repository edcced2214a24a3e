"""Which models the engines have, as the supervisor keeps account of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from speakerd_server.calls.loading import bundles_at_start, placement_of
from speakerd_server.calls.models import LoadedModel, Models, VersionPolicy
from speakerd_server.cards import Bundle
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.engine.window_queue import Taken
from speakerd_server.errors import Draining, ModelRefused, StartFailed
from speakerd_server.models.bundle import verify
from speakerd_server.models.choice import ModelSettings
from speakerd_server.processes.child import Child
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import Hosted, Loaded, LoadOrder, ModelsNow, UnloadOrder
from speakerd_server.values import Float32, Window

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class HostedModel:
    """One model, whether calls can name it or only finish on it."""

    bundle: Bundle
    """Verified when it was loaded."""
    number: int
    """By which windows name it."""
    device: str
    """Where it was placed; empty: on every device."""
    entry: LoadedModel
    """In the list of models that calls can name."""
    rates: dict[str, float] = field(default_factory=dict)
    """Windows that each engine embeds in a second, by the engine's name."""
    holders: set[str] = field(default_factory=set)
    """Front ends with calls that hold it, once it has left."""


class HostedModels:
    """The models of all engines.

    Args:
        settings: Which are loaded, and where.
        devices: Device of each engine, by the engine's name.
    """

    def __init__(self, settings: ModelSettings, devices: Mapping[str, str]) -> None:
        self._settings, self._devices = settings, devices
        self._numbers = itertools.count(1)
        self.named = Models(VersionPolicy(settings.version_policy))
        """Which names mean which models; nothing embeds with these entries."""
        self.every: dict[int, HostedModel] = {}
        """By number; those that have left but are held too."""
        self.changing = asyncio.Lock()
        """Held while models come and go, and while an engine that was started again gets them."""

    def now(self) -> ModelsNow:
        """Give what front ends are told."""
        default, preferred = self.named.preferences
        models = [
            Hosted(one.bundle.card, one.number, dict(one.rates), one.bundle.cohort)
            for one in self.every.values()
            if not one.entry.leaving
        ]
        return ModelsNow(tuple(models), default, preferred)

    def can_serve(self, engines: list[str]) -> bool:
        """Tell whether the default model is on one of these engines."""
        if not any(True for _ in self.named):
            return False
        default = self.of(self.named.default)
        return any(name in default.rates for name in engines)

    def of(self, entry: LoadedModel) -> HostedModel:
        """Give the model of an entry."""
        return next(one for one in self.every.values() if one.entry is entry)

    async def load_at_start(self, engines: Mapping[str, Child]) -> None:
        """Load the models of the settings; raises what bundles_at_start and `load` do."""
        for bundle in await asyncio.to_thread(bundles_at_start, self._settings):
            await self.load(bundle, "", engines)

    async def load(
        self,
        bundle: Bundle,
        device: str,
        engines: Mapping[str, Child],
        *,
        make_default: bool = False,
    ) -> HostedModel:
        """Load a model on all engines of its device; calls can name it when they are told.

        Raises ModelRefused, or what an engine has raised, and then no engine has it.
        """
        reference = f"{bundle.card.identity.name}/{bundle.card.identity.version}"
        device = device or placement_of(bundle.card, self._settings)
        chosen = {n: c for n, c in engines.items() if device in ("", self._devices[n])}
        if not chosen:
            there = ", ".join(dict.fromkeys(self._devices.values()))
            raise ModelRefused(reference, f"there is no device {device}; the daemon has {there}")
        number = next(self._numbers)
        order = LoadOrder(bundle, number)
        answers: list[Loaded | BaseException] = await asyncio.gather(
            *(child.ask(order) for child in chosen.values()), return_exceptions=True
        )
        failed = [one for one in answers if isinstance(one, BaseException)]
        if failed:
            for child, answer in zip(chosen.values(), answers, strict=True):
                if not isinstance(answer, BaseException):
                    with suppress(LinkLost):
                        await child.ask(UnloadOrder(number))
            if isinstance(failed[0], LinkLost):
                raise ModelRefused(reference, "an engine ended while it was loaded; try again")
            raise failed[0]
        rates = {
            name: one.windows_per_s
            for name, one in zip(chosen, answers, strict=True)
            if isinstance(one, Loaded)
        }
        entry = LoadedModel(bundle.card, _NoEngine(), str(number))
        hosted = HostedModel(bundle, number, device, entry, rates)
        self.every[number] = hosted
        self.named.add(entry, make_default=make_default)
        return hosted

    async def load_again(self, child: Child) -> None:
        """Load all models of an engine that was started again; raises what loading does.

        One whose file is not what it was is left out: the other engines have the one that it was.
        """
        for hosted in list(self.every.values()):
            if hosted.device in ("", self._devices[child.name]):
                try:
                    await asyncio.to_thread(verify, hosted.bundle)
                except StartFailed as error:
                    extra = {"which": child.name, "cause": str(error)}
                    _log.error("model left out", extra=extra)
                    hosted.rates.pop(child.name, None)
                    continue
                loaded = await child.ask(LoadOrder(hosted.bundle, hosted.number))
                hosted.rates[child.name] = loaded.windows_per_s

    async def give_back(self, hosted: HostedModel, engines: Mapping[str, Child]) -> None:
        """Let every engine give back what a model took; no call holds it any more."""
        self.every.pop(hosted.number, None)
        if hosted.entry in self.named.leaving:
            self.named.leaving.remove(hosted.entry)
        for name in hosted.rates:
            with suppress(LinkLost):  # what an ended process took is given back
                await engines[name].ask(UnloadOrder(hosted.number))


class _NoEngine:
    """Stands where front ends have an engine; nothing embeds in the supervisor."""

    queue_limit_windows = 0
    waited_s = 0.0

    def submit(self, window: Window) -> asyncio.Future[Float32]:
        raise Draining

    async def submit_offline(
        self, window: Window, taken: Taken | None = None
    ) -> asyncio.Future[Float32]:
        raise Draining

    def statistics(self) -> Sequence[EngineStatistics]:
        return ()
