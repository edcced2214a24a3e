"""The process of one device: a batcher, and the models that it has."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import Any

from speakerd_server.calls.loading import give_memory_back
from speakerd_server.engine.batcher import Batcher
from speakerd_server.errors import EngineDead, ModelRefused
from speakerd_server.processes.engine_port import EnginePort
from speakerd_server.processes.entry import Ask
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import (
    Begin,
    EngineAway,
    Listen,
    Loaded,
    LoadOrder,
    StatisticsNow,
    UnloadOrder,
)
from speakerd_server.processes.opening import OpenLanes, batcher_of, open_lanes
from speakerd_server.processes.windows_shared import MOST_VALUES

_log = logging.getLogger(__name__)
_DIED = 3


class EngineProcess:
    """Embeds the windows of all front ends on one device."""

    def __init__(self, ask: Ask, open_lanes: OpenLanes = open_lanes) -> None:
        self._ask, self._open_lanes = ask, open_lanes
        self._told: set[asyncio.Task[None]] = set()
        self._keys: dict[int, str] = {}

    async def begin(self, begin: Begin) -> None:
        """Make the batcher; raises DeviceUnavailable."""
        self._begin = begin
        self._batcher: Batcher = batcher_of(begin.device, begin.settings, _die, self._tell_away)
        self._port = EnginePort(self._batcher, self._keys.__getitem__)

    async def answer(self, question: Any) -> Any:
        """Do what the supervisor orders."""
        match question:
            case LoadOrder():
                return await self._load(question)
            case UnloadOrder():
                await self._batcher.remove(self._keys.pop(question.number))
                await asyncio.to_thread(give_memory_back)
            case Listen():
                self._port.listen(self._begin.whereabouts.engine(self._begin.name))
            case StatisticsNow():
                return {number: self._batcher.statistics(key) for number, key in self._keys.items()}
            case _:
                raise ValueError(f"an engine cannot answer {type(question).__name__}")
        return None

    async def close(self) -> None:
        """End the workers after their batches."""
        self._port.close()
        await self._batcher.stop()

    def _tell_away(self, cause: str | None) -> None:
        """Tell front ends, who then prefer other engines, and the supervisor, who tells health."""
        self._port.tell_status()
        task = asyncio.create_task(self._tell(cause))
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    async def _tell(self, cause: str | None) -> None:
        with suppress(LinkLost):
            await self._ask(EngineAway(cause))

    async def _load(self, order: LoadOrder) -> Loaded:
        bundle = order.bundle
        identity = bundle.card.identity
        reference = f"{identity.name}/{identity.version}"
        if bundle.card.dim > MOST_VALUES:
            problem = f"its embeddings have {bundle.card.dim} values, at most {MOST_VALUES} can be"
            raise ModelRefused(reference, problem)
        settings, device = self._begin.settings, self._begin.device
        lanes = await asyncio.to_thread(self._open_lanes, bundle, device, settings)
        key = f"{reference} #{order.number}"
        await self._batcher.add(key, lanes, bundle.card.samples_per_chunk, name=reference)
        self._keys[order.number] = key
        cost = self._batcher.statistics(key).cost
        assert cost is not None
        at_once = self._batcher.workers if lanes.side_by_side else 1
        windows, seconds = next(one for one in cost.measured if one[0] == cost.best_windows)
        return Loaded(at_once * windows / seconds)


def _die(error: EngineDead) -> None:
    """End the process at once: front ends then hand what it never began to other engines."""
    _log.error("engine died", extra={"cause": error.cause})
    logging.shutdown()
    os._exit(_DIED)
