"""One process or several: what each layout of the daemon costs and carries on this host.

    .venv/bin/python tests/bench/bench_layout.py

Prints one JSON line. `messages`: a null engine, 8 kHz mu-law in 100 ms messages, CPU of all
processes of the daemon for a message, at a load that one process carries. `embed`: the shipped
model, Embed of 2.02 s utterances in a closed loop on all cores, per second. The layouts take turns;
medians over the rounds, ratios to one process.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.bench_transport import MESSAGE, MESSAGE_S, MULAW, WINDOW_S, of_daemon
from speakerd.v1 import admin_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.load import Pace, closed_loop, paced_streams, process_cpu_s
from support.speech import noise, pcm16

NULL = str(Path(__file__).resolve().parent / "servers" / "null_daemon.py")
WORKERS = (1, 2)
STREAMS = 400
CONCURRENCY = 32
ROUNDS = 5
ROUND_S = 6.0
Side = dict[str, Any]


def main() -> None:
    result = {"bench": "layout", "cores": os.cpu_count(), "streams": STREAMS}
    print(json.dumps(result | {"messages": messages(), "embed": embed()}))


def messages() -> dict[str, Side]:
    """Measure what a message costs in each layout."""
    costs: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        started = {
            workers: subprocess.Popen(
                [sys.executable, NULL, str(Path(folder) / f"{workers}.db"), str(workers)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for workers in WORKERS
        }
        try:
            addresses = {
                workers: process.stdout.readline().strip()
                for workers, process in started.items()
                if process.stdout is not None
            }
            for address in addresses.values():
                with wire.connected(address) as stubs:
                    wire.enroll(stubs, "load", pcm16(noise(4.0)))
            for _ in range(ROUNDS):
                for workers, address in addresses.items():
                    costs[workers].append(cost_us(address, started[workers].pid))
        finally:
            for process in started.values():
                process.terminate()
                process.wait(30)
    return sides({workers: statistics.median(found) for workers, found in costs.items()}, "cpu_us")


def cost_us(address: str, pid: int) -> float:
    pace = Pace(
        messages=(MESSAGE,),
        message_s=MESSAGE_S,
        config=pb.VerificationConfig(audio_format=MULAW, speaker_id="load"),
        last_message_of_window=of_daemon,
        window_s=WINDOW_S,
    )
    pids = processes_of(address, pid)
    before_s = sum(map(process_cpu_s, pids))
    load = asyncio.run(paced_streams(address, pace, streams=STREAMS, seconds=ROUND_S, settle_s=2.0))
    if load.errors:
        raise RuntimeError(f"the load failed: {load.errors}")
    return 1e6 * (sum(map(process_cpu_s, pids)) - before_s) / load.messages


def processes_of(address: str, pid: int) -> list[int]:
    with wire.connected(address) as stubs:
        info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest())
    return [pid, *(one.pid for one in info.processes)]


def embed() -> dict[str, Side]:
    """Measure how many utterances each layout embeds in a second."""
    request = pb.EmbedRequest(
        audio=pb.Audio(format=wire.PCM16, content=pcm16(noise(2.02))), samples_per_chunk=-1
    )
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for _ in range(ROUNDS):
        for workers in WORKERS:
            with tempfile.TemporaryDirectory() as folder:
                daemon = Daemon(Path(folder), f"--server-workers={workers}")
                with daemon:
                    closed = closed_loop
                    asyncio.run(closed(daemon.address, request, concurrency=4, seconds=1.0))
                    load = asyncio.run(
                        closed(daemon.address, request, concurrency=CONCURRENCY, seconds=ROUND_S)
                    )
                    rates[workers].append(load.messages / load.wall_s)
    return sides({workers: statistics.median(found) for workers, found in rates.items()}, "per_s")


def sides(found: dict[int, float], unit: str) -> dict[str, Side]:
    return {
        f"{workers}_workers": {unit: round(value, 1), "ratio": round(value / found[1], 3)}
        for workers, value in found.items()
    }


if __name__ == "__main__":
    main()
