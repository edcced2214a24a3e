"""The metrics page, of this process or of all that make up the daemon."""

from __future__ import annotations

from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from speakerd_server import metrics
from speakerd_server.errors import AddressUnavailable
from speakerd_server.wire.server import ServerSettings, host_and_port

Page = tuple[WSGIServer | None, str]


def serve_metrics(settings: ServerSettings) -> Page:
    """Serve what this process counts; gives the server and its address, or None and nothing.

    Raises AddressUnavailable.
    """
    return _serve(settings, REGISTRY)


def serve_metrics_of_all(settings: ServerSettings, folder: Path) -> Page:
    """Serve what all processes count in a folder, those that have ended included.

    See `serve_metrics`.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    registry.register(metrics.RESTARTS)
    return _serve(settings, registry)


def _serve(settings: ServerSettings, registry: CollectorRegistry) -> Page:
    address = settings.metrics_address
    if not address:
        return None, ""
    host, port = host_and_port(address, "server.metrics_address")
    try:
        server, _thread = start_http_server(port, addr=host.strip("[]"), registry=registry)
    except OSError as error:
        raise AddressUnavailable(address, "server.metrics_address", str(error)) from None
    return server, f"{host}:{server.server_port}"
