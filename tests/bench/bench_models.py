"""What a second model costs while it is there, what is left of it afterwards, and who feels it.

    .venv/bin/python tests/bench/bench_models.py

Prints one JSON line. `memory`: for each second model, MiB of the daemon's own memory before
LoadModel, with the model loaded and used, and after UnloadModel, round after round of one daemon:
RssAnon, that is without the code it shares with others. `left_per_round` is how much more is there
after the last unload than after the first, by rounds.
`traffic`: Embed of 2.02 s utterances in a closed loop on the default model, while another one is
loaded and unloaded again and again. Answers per second and latencies within LoadModel against the
time between the orders, in one run. `apart` and `together` as in `bench_embed.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import grpc.aio
import numpy as np
from speakerd.v1 import admin_pb2, admin_pb2_grpc, verification_pb2_grpc
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.bundles import copied
from support.cores import Cores, layouts, using
from support.daemon import Daemon
from support.load import closed_loop
from support.operating import own_memory_mib
from support.speech import noise, pcm16

SECOND = ("campplus-int8", "campplus/2")
ROUNDS = 8
LOADS = 8
CONCURRENCY = 8
PAUSE_S = 1.0
AUDIO = pb.Audio(format=wire.PCM16, content=pcm16(noise(2.02)))
Span = tuple[float, float]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        copied(Path(folder) / "models", "2")
        result = {
            "memory": {name: memory(Path(folder), name) for name in SECOND},
            "traffic": {cores.name: traffic(Path(folder), cores) for cores in layouts()},
        }
    print(json.dumps({"bench": "models", "cores": os.cpu_count(), **result}))


def started(folder: Path) -> Daemon:
    own = Path(tempfile.mkdtemp(dir=folder))
    return Daemon(own, f"--model-folder={folder / 'models'}")


def memory(folder: Path, name: str) -> dict[str, Any]:
    """Load, use and unload a model again and again, and look at the daemon's memory."""
    rounds: list[tuple[float, float, float]] = []
    with started(folder) as daemon, wire.connected(daemon.address) as stubs:
        pid = daemon.process.pid
        use(daemon, "")
        at_start = own_memory_mib(pid)
        for _ in range(ROUNDS):
            before = own_memory_mib(pid)
            stubs.admin.LoadModel(admin_pb2.LoadModelRequest(model=name))
            use(daemon, name)
            loaded = own_memory_mib(pid)
            stubs.admin.UnloadModel(admin_pb2.UnloadModelRequest(model=name))
            rounds.append((before, loaded, own_memory_mib(pid)))
    after = [one[2] for one in rounds]
    return {
        "at_start": round(at_start, 1),
        "before": [round(one[0], 1) for one in rounds],
        "loaded": [round(one[1], 1) for one in rounds],
        "after": [round(one, 1) for one in after],
        "model_takes": round(statistics.median(loaded - before for before, loaded, _ in rounds), 1),
        "left_per_round": round((after[-1] - after[0]) / (ROUNDS - 1), 2),
    }


def use(daemon: Daemon, model: str) -> None:
    request = pb.EmbedRequest(audio=AUDIO, model=model)
    asyncio.run(closed_loop(daemon.address, request, concurrency=CONCURRENCY, seconds=2.0))


def traffic(folder: Path, cores: Cores) -> dict[str, Any]:
    """Load and unload a model beside calls that go on."""
    with using(cores.measured), started(folder) as daemon:
        use(daemon, "")
        with using(cores.generator):
            answers, loads, pauses, load_s = asyncio.run(beside_loads(daemon.address))
    during, between = Counted(answers, loads), Counted(answers, pauses)
    return {
        "concurrency": CONCURRENCY,
        "ratio": round(during.per_s / between.per_s, 3),
        "during_per_s": round(during.per_s, 1),
        "between_per_s": round(between.per_s, 1),
        "during_p50_p99_ms": during.milliseconds(),
        "between_p50_p99_ms": between.milliseconds(),
        "longest_ms": round(1000 * max(end - begin for begin, end in answers), 1),
        "load_s": round(statistics.median(load_s), 2),
    }


class Counted:
    """The answers that came within some spans of time."""

    def __init__(self, answers: Sequence[Span], spans: Sequence[Span]) -> None:
        self._latencies_s = [
            end - begin
            for begin, end in answers
            if any(since <= end <= until for since, until in spans)
        ]
        self.per_s = len(self._latencies_s) / sum(until - since for since, until in spans)

    def milliseconds(self) -> list[float]:
        """Give the median and the 99th percentile of the latencies."""
        return [round(1000 * float(np.percentile(self._latencies_s, p)), 1) for p in (50, 99)]


async def beside_loads(address: str) -> tuple[list[Span], list[Span], list[Span], list[float]]:
    """Give when each call began and ended, when a model was loaded, when nothing was ordered."""
    answers: list[Span] = []
    loads: list[Span] = []
    pauses: list[Span] = []
    load_s: list[float] = []
    ended = asyncio.Event()
    request = pb.EmbedRequest(audio=AUDIO)

    async with grpc.aio.insecure_channel(address) as channel:
        embedding: Any = verification_pb2_grpc.VerificationServiceStub(channel)
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)

        async def call() -> None:
            while not ended.is_set():
                begin = time.perf_counter()
                await embedding.Embed(request)
                answers.append((begin, time.perf_counter()))

        calls = [asyncio.create_task(call()) for _ in range(CONCURRENCY)]
        for _ in range(LOADS):
            begin = time.perf_counter()
            await asyncio.sleep(PAUSE_S)
            pauses.append((begin, time.perf_counter()))
            begin = time.perf_counter()
            answer = await admin.LoadModel(admin_pb2.LoadModelRequest(model="campplus-int8"))
            loads.append((begin, time.perf_counter()))
            load_s.append(answer.load_time.ToNanoseconds() / 1e9)
            await admin.UnloadModel(admin_pb2.UnloadModelRequest(model="campplus-int8"))
        ended.set()
        await asyncio.gather(*calls)
    return answers, loads, pauses, load_s


if __name__ == "__main__":
    main()
