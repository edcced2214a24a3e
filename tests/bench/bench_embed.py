"""Utterances per second through Embed against the bare engine, on the same cores, in one run.

    .venv/bin/python tests/bench/bench_embed.py

Prints one JSON line. 2.02 s utterances, whole signal (200 frames), closed loop; bare engine and
service take turns, medians over the rounds. `apart`: daemon and bare engine on all cores but one,
the load on that one; `together`: everything on all cores, so that the load takes what it takes from
the service. Bars (design section 9): 0.95 of the throughput from concurrency 8 up, 0.90 at 1, p99
at most 1.25 times the ideal latency (concurrency / bare).
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
from support.cores import Cores, layouts, using
from support.daemon import Daemon
from support.load import Load, closed_loop, process_cpu_s
from support.speech import noise, pcm16

CONCURRENCIES = (1, 8, 32, 64)
ROUNDS = 5
ROUND_S = 4.0
Row = dict[str, object]


def main() -> None:
    sides = {cores.name: side(cores) for cores in layouts()}
    print(json.dumps({"bench": "embed", "cores": os.cpu_count(), **sides}))


def side(cores: Cores) -> list[Row]:
    request = pb.EmbedRequest(
        audio=pb.Audio(format=wire.PCM16, content=pcm16(noise(2.02))), samples_per_chunk=-1
    )
    with using(cores.measured), tempfile.TemporaryDirectory() as folder:
        bare = BareEngine(frames=200, cores=len(cores.measured))
        with Daemon(Path(folder)) as daemon:
            asyncio.run(closed_loop(daemon.address, request, concurrency=4, seconds=1.0))
            return [row(cores, bare, daemon, request, one) for one in CONCURRENCIES]


def row(
    cores: Cores, bare: BareEngine, daemon: Daemon, request: pb.EmbedRequest, concurrency: int
) -> Row:
    layout = bare.best(concurrency=concurrency)
    rounds: list[tuple[float, Load, float]] = []
    for _ in range(ROUNDS):
        per_s = bare.windows_per_s(layout, ROUND_S)
        before_s = process_cpu_s(daemon.process.pid)
        with using(cores.generator):
            load = asyncio.run(
                closed_loop(daemon.address, request, concurrency=concurrency, seconds=ROUND_S)
            )
        rounds.append((per_s, load, process_cpu_s(daemon.process.pid) - before_s))
    bare_per_s = statistics.median(per_s for per_s, _, _ in rounds)
    p99_ms = statistics.median(load.percentile_ms(99) or 0.0 for _, load, _ in rounds)
    return {
        "concurrency": concurrency,
        "ratio": round(median(load.messages / load.wall_s / per_s for per_s, load, _ in rounds), 3),
        "service_per_s": round(median(load.messages / load.wall_s for _, load, _ in rounds), 1),
        "bare_per_s": round(bare_per_s, 1),
        "bare_layout": str(layout),
        "p99_ms": p99_ms,
        "p99_over_ideal": round(p99_ms / (1000 * concurrency / bare_per_s), 2),
        "daemon_cpu_ms": round(median(1000 * cpu / load.messages for _, load, cpu in rounds), 2),
        "generator_cores": round(median(x.generator_cpu_s / x.wall_s for _, x, _ in rounds), 3),
        "errors": sum(sum(load.errors.values()) for _, load, _ in rounds),
    }


median = statistics.median

if __name__ == "__main__":
    main()
