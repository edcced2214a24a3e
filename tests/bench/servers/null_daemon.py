"""The daemon with an engine that costs nothing: `python null_daemon.py STORE [WORKERS [HTTP]]`."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
from speakerd_server import config, daemon, runtime
from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import plain_buffers
from speakerd_server.engine.lanes import Lanes
from speakerd_server.life import Addresses
from speakerd_server.processes import supervisor
from speakerd_server.processes.fleet import Programs
from speakerd_server.values import Float32, Int64


class NullBackend:
    """Gives every window the same embedding."""

    def __init__(self, dim: int) -> None:
        self._embedding = np.linspace(-1.0, 1.0, dim, dtype=np.float32)

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        return plain_buffers(windows, samples, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        return np.tile(self._embedding, (len(pcm), 1))

    def close(self) -> None:
        return


def open_null(bundle: Bundle, device: str, settings: config.Settings) -> Lanes:
    return Lanes(bundle.card.dim, [NullBackend(bundle.card.dim)])


def serve(settings: config.Settings) -> Coroutine[Any, Any, None]:
    if settings.server.workers == 1:
        return daemon.run(settings, announce, open_null)
    engine = str(Path(__file__).with_name("null_engine.py"))
    return supervisor.run(settings, announce, Programs(engine=(engine,)))


def announce(found: Addresses) -> None:
    print(found.grpc, flush=True)


def main() -> None:
    flags = {
        "server.address": "127.0.0.1:0",
        "server.metrics_address": "",
        "kserve.http_address": sys.argv[3] if len(sys.argv) > 3 else "",
        "server.workers": int(sys.argv[2]) if len(sys.argv) > 2 else 1,
        "store.path": sys.argv[1],
        "calls.maximum_streams": 100_000,
        "engine.workers": 1,
        "gate.enabled": False,
        "quality.minimum_snr_db": -20.0,
        "logs.level": "warning",
    }
    settings = config.load(flags=flags)
    runtime.run(lambda: serve(settings))


if __name__ == "__main__":
    main()
