"""The whole daemon, but for its engine: windows cost nothing."""

from __future__ import annotations

import sys

import numpy as np
from speakerd_server import config, daemon, runtime
from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import plain_buffers
from speakerd_server.engine.lanes import Lanes
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


def main() -> None:
    flags = {
        "server.address": "127.0.0.1:0",
        "server.metrics_address": "",
        "store.path": sys.argv[1],
        "calls.maximum_streams": 100_000,
        "engine.workers": 1,
    }
    settings = config.load(flags=flags)
    runtime.run(
        lambda: daemon.run(settings, lambda found: print(found.grpc, flush=True), open_null)
    )


if __name__ == "__main__":
    main()
