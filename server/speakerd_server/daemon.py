"""The daemon's life, top to bottom: build, start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from speakerd_server.calls.serving import LoadedModel, Models, Serving
from speakerd_server.config import Settings
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import AddressUnavailable, EngineDead
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.choice import find_bundle
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


def load_model(settings: Settings) -> LoadedModel:
    """Load the model of the settings; raises ModelDamaged or ModelUnusable."""
    bundle = load_bundle(find_bundle(settings.model.default))
    workers = settings.engine.workers or processors()
    backends = [
        OnnxRuntimeCpu(bundle, threads=settings.engine.threads_per_worker) for _ in range(workers)
    ]
    return LoadedModel(bundle.card, Batcher(backends, settings.engine, bundle.card.dim))


async def run(
    settings: Settings,
    announce: Callable[[Addresses], None],
    load: Callable[[Settings], LoadedModel] = load_model,
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the addresses once calls are answered.

    Raises StartFailed (or StoreCorrupt) when the daemon cannot start.
    """
    stopping = asyncio.Event()
    store = EnrolmentStore(settings.store, settings.calls.domains)
    model = load(settings)
    serving = Serving(Models([model]), store, settings.calls)
    server = GrpcServer(serving, settings.server)
    metrics_server = None
    try:
        samples = model.card.samples_per_chunk
        await model.engine.start(samples, on_death=lambda error: _engine_died(server, error))
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
        await model.engine.stop()
        serving.close()
        store.close()
    _log.info("stopped")


def processors(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Give the processors that this process may use, a container's quota included."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))


async def _drain(
    serving: Serving, server: GrpcServer, grace_s: float, stopping: asyncio.Event
) -> None:
    _log.info("draining", extra={"open_calls": serving.open_calls, "grace_s": grace_s})
    serving.draining = True
    await server.tell_health(serving=False)
    stopping.clear()
    ends = [asyncio.ensure_future(event.wait()) for event in (serving.quiet, stopping)]
    await asyncio.wait(ends, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    if serving.open_calls:
        _log.warning("grace is over", extra={"cancelled_calls": serving.open_calls})


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
