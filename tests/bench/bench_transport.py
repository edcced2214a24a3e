"""What the daemon costs per stream with a null engine, against a bare grpc.aio echo.

    .venv/bin/python tests/bench/bench_transport.py

Prints one JSON line. 8 kHz mu-law in 100 ms messages at real-time pace, claiming an enrolled
speaker; the server on one core, the load generator on another; both servers get the same messages
in turns. Three figures, each with its ratio (bar 0.75, design section 9):

- `ratio`: CPU per message of the echo over that of the daemon, both with as many streams as the
  daemon carries: that is what a core gives when it is full, for messages cost less the more of them
  wait at once.
- `ratio_at_saturation`: streams carried, the last of a row of growing loads with a p99 lag of at
  most 0.5 s and at least 0.97 of the messages' pace. `generator_was_the_limit` says that the load
  after it filled the generator's core first; the server then carries at least so many.
- `ratio_at_rest`: CPU per message over that of the daemon with few streams, each message alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.load import Load, Pace, paced_streams, process_cpu_s
from support.speech import noise, pcm16

SERVERS = Path(__file__).resolve().parent / "servers"
STREAMS = 250
ROUNDS = 3
ROUND_S = 8.0
MESSAGE_S = 0.1
WINDOW_S = 1.98
SETTLE_S = 2.0
STEP_S = 6.0
STEPS = 7
FIRST_SHARE = 0.5
GROWTH = 1.25
LIMIT_MS = 500.0
LEAST_PACE = 0.97
FULL_CORE = 0.9
SPEAKER = "load"
MULAW = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000)
MESSAGE = bytes((17 * i * i + 31 * i) % 251 for i in range(800))

Side = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """One side of the comparison."""

    process: subprocess.Popen[str]
    address: str
    last_message_of_window: Callable[[int], int]


def of_daemon(window: int) -> int:
    """Number of the message with the last sample of a window; lags count the resampler's delay."""
    return (160 * ((window + 1) * 198 - 1) + 400 - 1) // 1600


def of_echo(answer: int) -> int:
    """Number of the message that is answered: each twentieth, the config counted."""
    return 20 * (answer + 1) - 2


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory() as folder:
        servers = {
            name: _start(name, cores[0], Path(folder), last_message)
            for name, last_message in (("null_daemon", of_daemon), ("echo", of_echo))
        }
        try:
            with wire.connected(servers["null_daemon"].address) as stubs:
                wire.enroll(stubs, SPEAKER, pcm16(noise(4.0)))
            at_rest = {n: _cost(rows) for n, rows in _rounds(servers, STREAMS).items()}
            saturated = {
                n: _saturation(server, at_rest[n]["streams_per_core"])
                for n, server in servers.items()
            }
            full = saturated["null_daemon"]["streams_at_saturation"]
            at_full = {n: _cost(rows) for n, rows in _rounds(servers, full).items()}
        finally:
            for server in servers.values():
                server.process.terminate()
                server.process.wait(30)
    ratios = {
        "ratio": _ratio(at_full, "streams_per_core"),
        "ratio_at_saturation": _ratio(saturated, "streams_at_saturation"),
        "ratio_at_rest": _ratio(at_rest, "streams_per_core"),
    }
    sides = {
        name: {"full": at_full[name], **saturated[name], "at_rest": at_rest[name]}
        for name in servers
    }
    print(json.dumps({"bench": "transport", **ratios, **sides}))


def _start(name: str, core: int, folder: Path, last_message: Callable[[int], int]) -> Server:
    process = subprocess.Popen(
        [sys.executable, str(SERVERS / f"{name}.py"), str(folder / f"{name}.db")],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    assert process.stdout is not None
    return Server(process, process.stdout.readline().strip(), last_message)


def _load(server: Server, streams: int, seconds: float) -> Load:
    pace = Pace(
        messages=(MESSAGE,),
        message_s=MESSAGE_S,
        config=pb.VerificationConfig(audio_format=MULAW, speaker_id=SPEAKER),
        last_message_of_window=server.last_message_of_window,
        window_s=WINDOW_S,
    )
    return asyncio.run(
        paced_streams(server.address, pace, streams=streams, seconds=seconds, settle_s=SETTLE_S)
    )


def _rounds(servers: dict[str, Server], streams: int) -> dict[str, list[tuple[float, Load]]]:
    """Load the servers in turns; give the CPU seconds of each and what came of the load."""
    rounds: dict[str, list[tuple[float, Load]]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            before_s = process_cpu_s(server.process.pid)
            load = _load(server, streams, ROUND_S)
            rounds[name].append((process_cpu_s(server.process.pid) - before_s, load))
    return rounds


def _cost(rows: list[tuple[float, Load]]) -> Side:
    cpu_per_message_us = statistics.median(1e6 * cpu / load.messages for cpu, load in rows)
    return {
        "streams": round(statistics.median(x.messages / ROUND_S * MESSAGE_S for _, x in rows)),
        "streams_per_core": round(1e6 * MESSAGE_S / cpu_per_message_us, 1),
        "cpu_us_per_message": round(cpu_per_message_us, 1),
        "messages_per_s": round(statistics.median(x.messages / x.wall_s for _, x in rows), 1),
        "generator_cores": round(statistics.median(_generator_cores(x) for _, x in rows), 3),
        "errors": sum(sum(x.errors.values()) for _, x in rows),
    }


def _saturation(server: Server, streams_per_core: float) -> Side:
    """Find out how many paced streams a server carries before lag or pace give way."""
    steps: list[Side] = []
    while len(steps) < STEPS and (not steps or steps[-1]["carried"]):
        share = FIRST_SHARE * GROWTH ** len(steps)
        steps.append(_step(server, round(share * streams_per_core)))
    carried = [step["streams"] for step in steps if step["carried"]]
    over = None if steps[-1]["carried"] else steps[-1]
    return {
        "streams_at_saturation": carried[-1] if carried else 0,
        "was_saturated": over is not None,
        "generator_was_the_limit": over is not None and over["generator_cores"] > FULL_CORE,
        "steps": steps,
    }


def _step(server: Server, streams: int) -> Side:
    before_s = process_cpu_s(server.process.pid)
    load = _load(server, streams, STEP_S)
    asked_s = STEP_S - MESSAGE_S + WINDOW_S * (streams - 1) / streams
    p99_ms, pace = load.percentile_ms(99), asked_s / load.wall_s
    is_quick = p99_ms is not None and p99_ms <= LIMIT_MS
    return {
        "streams": streams,
        "p99_ms": p99_ms,
        "pace": round(pace, 3),
        "carried": is_quick and pace >= LEAST_PACE and not load.errors,
        "server_cores": round((process_cpu_s(server.process.pid) - before_s) / load.wall_s, 3),
        "generator_cores": round(_generator_cores(load), 3),
        "errors": load.errors,
    }


def _generator_cores(load: Load) -> float:
    return load.generator_cpu_s / load.wall_s


def _ratio(sides: dict[str, Side], name: str) -> float | None:
    """Give the daemon's share of what the echo does; None where the echo did nothing."""
    echo = sides["echo"][name]
    return round(sides["null_daemon"][name] / echo, 3) if echo else None


if __name__ == "__main__":
    main()
