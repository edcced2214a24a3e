"""Utterances per second through Embed against the bare engine, on the same cores, in one run.

Prints one JSON line. 2.02 s utterances, whole signal (200 frames), closed loop; bare engine and
service take turns, medians over the rounds. Bars (design section 9): 0.95 of the throughput from
concurrency 8 up, 0.90 at 1, p99 at most 1.25 times the ideal latency (concurrency / bare).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.bare import BareEngine
from support.daemon import Daemon
from support.load import Load, closed_loop
from support.speech import noise, pcm16

CONCURRENCIES = (1, 8, 32)
ROUNDS = 5
ROUND_S = 4.0


def main() -> None:
    bare = BareEngine(frames=200)
    request = pb.EmbedRequest(
        audio=pb.Audio(format=wire.PCM16, content=pcm16(noise(2.02))), samples_per_chunk=-1
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder, Daemon(Path(folder)) as daemon:
        asyncio.run(closed_loop(daemon.address, request, concurrency=4, seconds=1.0))
        for concurrency in CONCURRENCIES:
            layout = bare.best(concurrency=concurrency)
            bares: list[float] = []
            loads: list[Load] = []
            for _ in range(ROUNDS):
                bares.append(bare.windows_per_s(layout, ROUND_S))
                loads.append(
                    asyncio.run(
                        closed_loop(
                            daemon.address, request, concurrency=concurrency, seconds=ROUND_S
                        )
                    )
                )
            rows.append(_row(concurrency, str(layout), bares, loads))
    print(json.dumps({"bench": "embed", "cores": os.cpu_count(), "rows": rows}))


def _row(concurrency: int, layout: str, bares: list[float], loads: list[Load]) -> dict[str, object]:
    pairs = [load.messages / load.wall_s / bare for load, bare in zip(loads, bares, strict=True)]
    bare = statistics.median(bares)
    p99_ms = statistics.median(load.percentile_ms(99) or 0.0 for load in loads)
    ideal_ms = 1000 * concurrency / bare
    return {
        "concurrency": concurrency,
        "ratio": round(statistics.median(pairs), 3),
        "service_per_s": round(statistics.median(x.messages / x.wall_s for x in loads), 1),
        "bare_per_s": round(bare, 1),
        "bare_layout": layout,
        "p99_ms": p99_ms,
        "p99_over_ideal": round(p99_ms / ideal_ms, 2),
        "generator_cores": round(statistics.median(x.generator_cpu_s / x.wall_s for x in loads), 3),
        "errors": sum(sum(load.errors.values()) for load in loads),
    }


if __name__ == "__main__":
    main()
