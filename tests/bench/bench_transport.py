"""What the daemon costs per stream with a null engine, against a bare grpc.aio echo.

Prints one JSON line. 8 kHz mu-law in 100 ms messages at real-time pace, the server on one core, the
load generator on another; both servers get the same messages in turns. Streams per core are
1 / (CPU seconds per stream second), the load at which the server's core would be full; the ratio is
that of the two. Bar (design section 9): 0.75.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support.load import Load, Pace, paced_streams, process_cpu_s

HERE = Path(__file__).resolve().parent
STREAMS = 250
ROUNDS = 3
ROUND_S = 10.0
MESSAGE = bytes((17 * i * i + 31 * i) % 251 for i in range(800))


def last_message_of_window(window: int) -> int:
    """Not used for a claim here: lags are printed for the reader only."""
    return min((window + 1) * 20 - 1, round(ROUND_S * 10) - 1)


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    mulaw = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000)
    pace = Pace(
        message=MESSAGE,
        message_s=0.1,
        config=pb.VerificationConfig(audio_format=mulaw),
        last_message_of_window=last_message_of_window,
        window_s=1.98,
    )
    with tempfile.TemporaryDirectory() as folder:
        servers = {
            name: _start(HERE / "servers" / f"{name}.py", cores[0], Path(folder))
            for name in ("null_daemon", "echo")
        }
        rounds: dict[str, list[tuple[float, Load]]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (process, address) in servers.items():
                before = process_cpu_s(process.pid)
                load = asyncio.run(
                    paced_streams(address, pace, streams=STREAMS, seconds=ROUND_S, settle_s=2.0)
                )
                rounds[name].append((process_cpu_s(process.pid) - before, load))
        for process, _ in servers.values():
            process.terminate()
            process.wait(30)
    sides = {name: _side(rows) for name, rows in rounds.items()}
    ratio = sides["null_daemon"]["streams_per_core"] / sides["echo"]["streams_per_core"]
    print(json.dumps({"bench": "transport", "ratio": round(ratio, 3), "streams": STREAMS} | sides))


def _start(script: Path, core: int, folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder / f"{script.stem}.db")],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _side(rows: list[tuple[float, Load]]) -> dict[str, float]:
    cpu_per_message_us = statistics.median(1e6 * cpu / load.messages for cpu, load in rows)
    return {
        "streams_per_core": round(1e6 / (10 * cpu_per_message_us), 1),
        "cpu_us_per_message": round(cpu_per_message_us, 1),
        "messages_per_s": round(statistics.median(x.messages / x.wall_s for _, x in rows), 1),
        "generator_cores": round(
            statistics.median(x.generator_cpu_s / x.wall_s for _, x in rows), 3
        ),
        "errors": sum(sum(x.errors.values()) for _, x in rows),
    }


if __name__ == "__main__":
    main()
