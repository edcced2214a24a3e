"""What the speech gate costs: by itself, and for the streams that a core carries.

    .venv/bin/python tests/bench/bench_gate.py

Prints one JSON line. Speech is that of the demo's voices, joined; *call-like* is half pauses, 2 s
of speech and 2 s of a quiet line in turns (noise at -60 dBFS, which the network has to judge).
`cost`: ms of one core for a second of audio at 16 kHz, `network` for the frames alone (bar 1.5 on
call-like audio), `gate` with cutting frames and finding segments, `plain` for Silero's own network
frame by frame, where its wheel can be had. `streams`: CPU of the daemon with a null engine for a
second of a stream of 8 kHz mu-law in 100 ms messages, and how many such a core would carry (bars
250 with the gate on continuous speech, 400 on call-like audio).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnxruntime as ort
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.gate.frames import FRAME_SAMPLES, first_state
from speakerd_server.gate.network import BATCH_FRAMES, GateNetwork
from speakerd_server.gate.settings import GateSettings
from speakerd_server.gate.signal import GatedSignal
from speakerd_server.offline.gate_recipe import read_wheel
from speakerd_server.offline.telephone import to_line
from speakerd_server.values import Float32
from support import wire
from support.checkpoint import silero_wheel
from support.gate_frames import frames_of
from support.load import Pace, paced_streams, process_cpu_s
from support.speech import RATE_HZ, VOICES, pcm16, read

SERVER = Path(__file__).resolve().parent / "servers" / "null_daemon.py"
ROUNDS = 5
STREAMS, ROUND_S, MESSAGE_BYTES = 300, 8.0, 800
MULAW = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000)
PIECE = 4 * BATCH_FRAMES * FRAME_SAMPLES


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    speech = np.concatenate([read(path) for path in sorted(VOICES.glob("*.flac"))])
    signals = {"continuous": speech, "call_like": call_like(speech)}
    cost = {name: costs(signal) for name, signal in signals.items()}
    print(json.dumps({"bench": "gate", "cost": cost, "streams": streams(signals, cores[0])}))


def call_like(speech: Float32) -> Float32:
    """Put 2 s of a quiet line after each 2 s of speech."""
    quiet = np.random.default_rng(0).standard_normal(2 * RATE_HZ) * 10 ** (-60 / 20)
    turns = [speech[at : at + 2 * RATE_HZ] for at in range(0, len(speech), 2 * RATE_HZ)]
    return np.concatenate([part for turn in turns for part in (turn, quiet)]).astype(np.float32)


def costs(signal: Float32) -> dict[str, float | None]:
    seconds = len(signal) / RATE_HZ
    ours, theirs = GateNetwork(), plain()
    frames = frames_of(signal)
    sides: dict[str, Callable[[], object]] = {
        "network_ms": lambda: judge(ours, frames),
        "gate_ms": lambda: gate(ours, signal),
    }
    if theirs is not None:
        sides["plain_ms"] = lambda: theirs(frames)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, work in sides.items():
            begun_s = time.process_time()
            work()
            taken[name].append(1000 * (time.process_time() - begun_s) / seconds)
    found: dict[str, float | None] = {name: round(median(all_), 3) for name, all_ in taken.items()}
    return {"plain_ms": None} | found


def judge(network: GateNetwork, frames: Float32) -> None:
    state = first_state()
    for at in range(0, len(frames), BATCH_FRAMES):
        _, state = network.judge(network.encode(frames[at : at + BATCH_FRAMES]), state)


def gate(network: GateNetwork, signal: Float32) -> None:
    """Do all that the gate does with a signal; batches as full as one call alone makes them."""
    gated, state = GatedSignal(GateSettings().rule, 62), first_state()
    for at in range(0, len(signal), PIECE):
        frames = gated.push(signal[at : at + PIECE])
        judged = [np.empty(0, np.float32)]
        for start in range(0, len(frames), BATCH_FRAMES):
            features = network.encode(frames[start : start + BATCH_FRAMES])
            probabilities, state = network.judge(features, state)
            judged.append(probabilities)
        gated.absorb(np.concatenate(judged))


def plain() -> Callable[[Float32], None] | None:
    """Give Silero's own network, one frame after the other; None where there is no wheel."""
    try:
        network, _ = read_wheel(silero_wheel())
    except subprocess.SubprocessError:
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])

    def work(frames: Float32) -> None:
        hidden = cell = np.zeros((1, 1, 128), np.float32)
        for frame in frames:
            inputs = {"input": frame[None], "h": hidden, "c": cell}
            _, hidden, cell = session.run(None, inputs)

    return work


def streams(signals: dict[str, Float32], core: int) -> dict[str, dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(Path(folder) / "null.db")],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with wire.connected(address) as stubs:
                wire.enroll(stubs, "load", pcm16(signals["continuous"][: 5 * RATE_HZ]))
            kinds = {
                "gate_off": (signals["continuous"], audio_pb2.SPEECH_GATE_OFF),
                "continuous": (signals["continuous"], audio_pb2.SPEECH_GATE_ON),
                "call_like": (signals["call_like"], audio_pb2.SPEECH_GATE_ON),
            }
            rounds: dict[str, list[float]] = {name: [] for name in kinds}
            errors = 0
            for _ in range(ROUNDS):
                for name, (signal, wanted) in kinds.items():
                    cpu_s, failed = load(process.pid, address, signal, wanted)
                    rounds[name].append(cpu_s)
                    errors += failed
        finally:
            process.terminate()
            process.wait(30)
    return {
        name: {
            "cpu_ms_per_stream_s": round(1000 * median(found), 3),
            "streams_per_core": round(1 / median(found)),
            "errors": errors,
        }
        for name, found in rounds.items()
    }


def load(
    pid: int, address: str, signal: Float32, wanted: audio_pb2.SpeechGate.ValueType
) -> tuple[float, int]:
    """Give CPU seconds of the daemon for a second of a stream, and how many streams failed."""
    content = to_line(signal, RATE_HZ)
    ends = range(MESSAGE_BYTES, len(content) + 1, MESSAGE_BYTES)
    pace = Pace(
        messages=[content[end - MESSAGE_BYTES : end] for end in ends],
        message_s=0.1,
        config=pb.VerificationConfig(audio_format=MULAW, speaker_id="load", speech_gate=wanted),
        last_message_of_window=lambda window: 0,
        window_s=1.98,
    )
    before_s = process_cpu_s(pid)
    found = asyncio.run(
        paced_streams(address, pace, streams=STREAMS, seconds=ROUND_S, settle_s=1.0)
    )
    cpu_s = (process_cpu_s(pid) - before_s) / (found.messages * pace.message_s)
    return cpu_s, sum(found.errors.values())


if __name__ == "__main__":
    main()
