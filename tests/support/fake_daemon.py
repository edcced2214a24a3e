"""The whole daemon over a `FakeBackend`: `python fake_daemon.py DELAY_S [--section-field=value]`.

A window with a sample beyond POISON fails its batch; one beyond DEADLY kills the engine's worker.
"""

from __future__ import annotations

import sys

import numpy as np
from speakerd_server import config, daemon, runtime
from speakerd_server.cards import Bundle
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.life import Addresses
from speakerd_server.values import Float32
from support.speech import noise, pcm16

POISON, DEADLY = 0.8, 0.95


def marked(seconds: float, mark: float) -> bytes:
    """Make PCM16LE noise whose middle sample, far above all others, is just beyond a mark."""
    samples = np.clip(noise(seconds), -0.7, 0.7)
    samples[samples.size // 2] = mark + 0.01
    return pcm16(samples)


def poisoned(window: Float32) -> bool:
    """Tell whether a window fails; for a deadly one raises SystemExit, which no batch survives."""
    loudest = float(np.abs(window).max())
    if loudest > DEADLY:
        raise SystemExit("a deadly window")
    return loudest > POISON


def main() -> None:
    """Serve until SIGTERM, saying where as `speakerd serve` does."""
    delay_s, *given = sys.argv[1:]
    names = {setting.flag: setting.dotted for setting in config.all_settings()}
    flags = {names[flag]: value for flag, _, value in (one.partition("=") for one in given)}

    def open_lanes(bundle: Bundle, device: str, settings: config.Settings) -> Lanes:
        return Lanes(bundle.card.dim, [FakeBackend(bundle.card.dim, poisoned, float(delay_s))])

    def announce(found: Addresses) -> None:
        http = f", HTTP on http://{found.http}" if found.http else ""
        line = f"speakerd serves on {found.grpc}{http}, metrics on http://{found.metrics}/metrics"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    flags.setdefault("engine.workers", "1")
    settings = config.load(flags=flags)
    runtime.run(lambda: daemon.run(settings, announce, open_lanes))


if __name__ == "__main__":
    main()
