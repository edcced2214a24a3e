"""All that calls of one process share, over a real store and a real batcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from speakerd_server.calls.administration import LocalAdministration
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.calls.loading import LocalLoader
from speakerd_server.calls.models import Models, VersionPolicy
from speakerd_server.calls.serving import CallSettings, Serving
from speakerd_server.cards import Bundle
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.cpu import cpu_lanes
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.lanes import Lanes
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.choice import ModelSettings
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from support.bundles import small_bundle

SMALL_DIM = 8
DOMAINS = ("default", "other")


def opened(bundle: Bundle) -> Lanes:
    """Open a bundle for one worker on one core."""
    return cpu_lanes(bundle, 1, 1, 1)


@dataclass
class Administered:
    """One process without a port; "small/1" is loaded."""

    folder: Path
    """Of models."""
    batcher: Batcher
    serving: Serving
    administration: LocalAdministration
    health: list[bool] = field(default_factory=list)
    """What was told of it."""


@asynccontextmanager
async def administered(
    folder: Path,
    *,
    open_lanes: Callable[[Bundle], Lanes] = opened,
    version_policy: str = "first",
) -> AsyncIterator[Administered]:
    """Build what a daemon builds, in a folder of its own."""
    first = small_bundle(folder / "models")
    settings = ModelSettings(str(first), folder=str(folder / "models"))
    batcher = Batcher(1, EngineSettings())
    enrolments = LocalEnrolments(EnrolmentStore(StoreSettings(folder / "x.db"), DOMAINS), 4)
    serving = Serving(
        Models(VersionPolicy(version_policy)), enrolments, CallSettings(domains=DOMAINS)
    )
    health: list[bool] = []

    async def tell(well: bool) -> None:
        health.append(well)

    loader = LocalLoader(batcher, "cpu", open_lanes, settings)
    administration = LocalAdministration(serving, loader, settings, tell)
    serving.models.add(await loader.load(load_bundle(first), ""))
    try:
        yield Administered(folder / "models", batcher, serving, administration, health)
    finally:
        await batcher.stop()
        await enrolments.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something nobody tells of is true."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
