"""The whole daemon, but for its engine: windows cost nothing."""

from __future__ import annotations

import asyncio
import sys

from speakerd_server import config, daemon
from speakerd_server.calls.serving import LoadedModel
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.models.bundle import load_bundle, shipped_bundle


def load_null(settings: config.Settings) -> LoadedModel:
    card = load_bundle(shipped_bundle()).card
    return LoadedModel(card, Batcher([FakeBackend(dim=card.dim)], settings.engine, card.dim))


def main() -> None:
    flags = {
        "server.address": "127.0.0.1:0",
        "server.metrics_address": "",
        "store.path": sys.argv[1],
        "calls.maximum_streams": 100_000,
    }
    settings = config.load(flags=flags)
    asyncio.run(daemon.run(settings, lambda found: print(found.grpc, flush=True), load=load_null))


if __name__ == "__main__":
    main()
