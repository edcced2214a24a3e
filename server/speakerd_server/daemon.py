"""The daemon's life in one process, top to bottom: build, start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from speakerd_server.calls.administration import LocalAdministration
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.calls.loading import LocalLoader, bundles_at_start
from speakerd_server.calls.models import Models, VersionPolicy
from speakerd_server.calls.serving import Serving
from speakerd_server.config import Settings
from speakerd_server.errors import EngineDead
from speakerd_server.gate.batcher import SpeechGate
from speakerd_server.gate.network import GateNetwork
from speakerd_server.life import Addresses, quiet_or_again, stop_on_signals
from speakerd_server.metrics_page import serve_metrics
from speakerd_server.processes import supervisor
from speakerd_server.processes.opening import OpenLanes, batcher_of, open_lanes
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.wire.doors import Doors

_log = logging.getLogger(__name__)


async def serve(settings: Settings, announce: Callable[[Addresses], None]) -> None:
    """Serve with as many processes as the settings ask for; see `run`."""
    if settings.server.workers > 1 or len(settings.engine.devices) > 1:
        await supervisor.run(settings, announce)
    else:
        await run(settings, announce)


async def run(
    settings: Settings, announce: Callable[[Addresses], None], open_lanes: OpenLanes = open_lanes
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the addresses once calls are answered.

    Raises SpeakerdError when the daemon cannot start.
    """
    stopping = asyncio.Event()
    (device,) = settings.engine.devices
    gate = SpeechGate(GateNetwork(), settings.gate.pending_frames)
    batcher = batcher_of(
        device,
        settings,
        lambda error: _engine_died(server, error),
        lambda cause: _engine_away(serving, server, cause),
    )
    store = EnrolmentStore(settings.store, settings.calls.domains, settings.expiry)
    enrolments = LocalEnrolments(store, settings.calls.pending_store_changes)
    loader = LocalLoader(
        batcher, device, lambda bundle: open_lanes(bundle, device, settings), settings.model
    )
    models = Models(VersionPolicy(settings.model.version_policy))
    serving = _serving(models, enrolments, gate, settings)
    administration = LocalAdministration(
        serving, loader, settings.model, lambda well: server.tell_health(serving=well)
    )
    server = Doors(serving, administration, settings.server, settings.kserve, settings.model.folder)
    metrics_server = None
    try:
        for bundle in bundles_at_start(settings.model):
            models.add(await loader.load(bundle, ""))
        metrics_server, metrics_address = serve_metrics(settings.server)
        address, http = await server.start()
        await server.tell_health(serving=batcher.away is None)
        stop_on_signals(stopping)
        announce(Addresses(address, metrics_address, http))
        told = {"address": address, "http": http, "metrics": metrics_address}
        _log.info("serving", extra=told)
        await stopping.wait()
        await _drain(serving, server, settings.server.drain_grace_s, stopping)
    finally:
        await server.stop()
        if metrics_server is not None:
            metrics_server.shutdown()
            metrics_server.server_close()
        await batcher.stop()
        await gate.stop()
        await serving.uses.close()
        await enrolments.close()
    _log.info("stopped")


def _serving(
    models: Models, enrolments: LocalEnrolments, gate: SpeechGate, settings: Settings
) -> Serving:
    return Serving(
        models,
        enrolments,
        settings.calls,
        gate=gate,
        gate_settings=settings.gate,
        quality=settings.quality,
    )


async def _drain(serving: Serving, server: Doors, grace_s: float, stopping: asyncio.Event) -> None:
    stopping.clear()
    places = serving.places
    _log.info("draining", extra={"open_calls": places.open_calls, "grace_s": grace_s})
    places.draining = places.stopping = True
    await server.tell_health(serving=False)
    await quiet_or_again(places.quiet.wait(), stopping, grace_s)
    if places.open_calls:
        _log.warning("grace is over", extra={"cancelled_calls": places.open_calls})


def _engine_died(server: Doors, error: EngineDead) -> None:
    _log.error("engine died", extra={"cause": error.cause})
    _tell_health(server, serving=False)


def _engine_away(serving: Serving, server: Doors, cause: str | None) -> None:
    if cause is None:
        _log.info("engine is there")
    else:
        _log.error("engine is away", extra={"cause": cause})
    _tell_health(server, serving=cause is None and not serving.places.draining)


def _tell_health(server: Doors, *, serving: bool) -> None:
    task = asyncio.ensure_future(server.tell_health(serving=serving))
    _background.add(task)
    task.add_done_callback(_background.discard)


_background: set[asyncio.Future[None]] = set()
