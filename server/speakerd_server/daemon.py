"""The daemon's life, top to bottom: build, start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from speakerd_server.calls.administration import LocalAdministration
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.calls.loading import LocalLoader, bundles_at_start
from speakerd_server.calls.models import Models, VersionPolicy
from speakerd_server.calls.serving import Serving
from speakerd_server.cards import Bundle
from speakerd_server.config import Settings
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.cpu import cpu_lanes, processors
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import AddressUnavailable, EngineDead
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.wire.server import GrpcServer, ServerSettings, host_and_port

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started daemon can be reached."""

    grpc: str
    """Host and port."""
    metrics: str
    """Host and port; empty: none."""


OpenLanes = Callable[[Bundle, Settings], Lanes]


def open_lanes(bundle: Bundle, settings: Settings) -> Lanes:
    """Open a model on the device of the settings; raises StartFailed."""
    engine = settings.engine
    return cpu_lanes(bundle, workers_of(settings), engine.threads_per_worker, processors())


def workers_of(settings: Settings) -> int:
    """Give the batches that are computed at the same time."""
    return settings.engine.workers or processors()


async def run(
    settings: Settings, announce: Callable[[Addresses], None], open_lanes: OpenLanes = open_lanes
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the addresses once calls are answered.

    Raises StartFailed (or StoreCorrupt, ModelRefused) when the daemon cannot start.
    """
    stopping = asyncio.Event()
    store = EnrolmentStore(settings.store, settings.calls.domains)
    enrolments = LocalEnrolments(store, settings.calls.pending_store_changes)
    batcher = Batcher(
        workers_of(settings), settings.engine, on_death=lambda error: _engine_died(server, error)
    )
    loader = LocalLoader(batcher, "cpu", lambda bundle: open_lanes(bundle, settings))
    models = Models(VersionPolicy(settings.model.version_policy))
    serving = Serving(models, enrolments, settings.calls)
    administration = LocalAdministration(
        serving, loader, settings.model, lambda well: server.tell_health(serving=well)
    )
    server = GrpcServer(serving, administration, settings.server)
    metrics_server = None
    try:
        for bundle in bundles_at_start(settings.model):
            models.add(await loader.load(bundle, ""))
        metrics_server, metrics_address = _serve_metrics(settings.server)
        address = await server.start()
        await server.tell_health(serving=True)
        _stop_on_signals(stopping)
        announce(Addresses(address, metrics_address))
        _log.info("serving", extra={"address": address, "metrics": metrics_address})
        await stopping.wait()
        await _drain(serving, server, settings.server.drain_grace_s, stopping)
    finally:
        await server.stop(0)
        if metrics_server is not None:
            metrics_server.shutdown()
        await batcher.stop()
        await enrolments.close()
    _log.info("stopped")


async def _drain(
    serving: Serving, server: GrpcServer, grace_s: float, stopping: asyncio.Event
) -> None:
    places = serving.places
    _log.info("draining", extra={"open_calls": places.open_calls, "grace_s": grace_s})
    places.draining = places.stopping = True
    await server.tell_health(serving=False)
    stopping.clear()
    ends = [asyncio.ensure_future(event.wait()) for event in (places.quiet, stopping)]
    await asyncio.wait(ends, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    if places.open_calls:
        _log.warning("grace is over", extra={"cancelled_calls": places.open_calls})


def _engine_died(server: GrpcServer, error: EngineDead) -> None:
    _log.error("engine died", extra={"cause": error.cause})
    task = asyncio.ensure_future(server.tell_health(serving=False))
    _background.add(task)
    task.add_done_callback(_background.discard)


_background: set[asyncio.Future[None]] = set()


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)


def _serve_metrics(settings: ServerSettings) -> tuple[WSGIServer | None, str]:
    address = settings.metrics_address
    if not address:
        return None, ""
    host, port = host_and_port(address, "server.metrics_address")
    try:
        server, _thread = start_http_server(port, addr=host.strip("[]"))
    except OSError as error:
        raise AddressUnavailable(address, "server.metrics_address", str(error)) from None
    return server, f"{host}:{server.server_port}"
