"""The metrics page, of this process or of all that make up the daemon."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from speakerd_server import metrics
from speakerd_server.errors import AddressUnavailable
from speakerd_server.wire.server import ServerSettings, host_and_port

Page = tuple[WSGIServer | None, str]

_files = threading.Lock()
"""Held while the files of processes are read, or added up."""


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
    _Counts(registry, path=str(folder))  # type: ignore[no-untyped-call]
    registry.register(metrics.RESTARTS)
    return _serve(settings, registry)


def count_as_ended(folder: Path, pid: int) -> None:
    """Add what a process counted to what those before it did; its gauges and files are gone.

    Files of their own for all that ever ended would fill the folder, and be read for every page.
    """
    with _files:
        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        for kind in ("counter", "histogram"):
            # One that ended early has none; a damaged one must not keep it from a new start.
            with suppress(OSError, struct.error, UnicodeDecodeError):
                _add(folder / f"{kind}_{pid}.db", folder / f"{kind}_ended.db")


def _add(file: Path, to: Path) -> None:
    values = list(MmapedDict.read_all_values_from_file(file))  # type: ignore[no-untyped-call]
    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    for key, value, _, _ in values:
        before, _ = total.read_value(key)  # type: ignore[no-untyped-call]
        total.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]
    file.unlink()


class _Counts(MultiProcessCollector):
    """What all processes count, each number once."""

    def collect(self) -> Iterable[Metric]:
        """Read all files."""
        with _files:
            found: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
            return found


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
