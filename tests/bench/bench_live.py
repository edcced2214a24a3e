"""Live streams carried with a p99 decision lag under 0.5 s, against what the bare engine could.

    .venv/bin/python tests/bench/bench_live.py [--quick]

Prints one JSON line. 16 kHz PCM16LE in 100 ms messages, start phases spread evenly over a window,
real-time pace, each stream claiming an enrolled speaker, with every kind of audio:

- `gate_off`: speech of the demo's voices, joined, all of it embedded;
- `continuous`: the same with the speech gate on;
- `call_like`: gate on, 2 s of speech and 2 s of a quiet line in turns.

The ceiling is bare windows/s times the window hop (1.98 s), measured before every step of the
search, over the share of the audio that becomes windows. `apart`: daemon and bare engine on all
cores but one, the load on that one; `together`: everything on all cores. Lags are seen by the
client: from sending the message by which a window is complete to its update. `looks_ahead_ms`: how
much later than its own last sample that message comes, since the gate has to hear that speech goes
on, or ends. `--quick`: fewer loads, `apart` alone. Bar (design section 9): 0.90, gate off.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.gate.frames import first_state
from speakerd_server.gate.network import BATCH_FRAMES, GateNetwork
from speakerd_server.gate.settings import GateSettings
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding, Float32
from support import wire
from support.bare import BareEngine, Layout
from support.cores import Cores, layouts, using
from support.daemon import Daemon
from support.load import Load, Pace, paced_streams, process_cpu_s
from support.speech import RATE_HZ, VOICES, pcm16, read

FRAMES = 198
HOP_S = FRAMES * 0.01
MESSAGE_SAMPLES = 1600
LIMIT_MS = 500.0
SHARES = (0.5, 0.70, 0.80, 0.85, 0.90, 0.95, 1.0)
QUICK = "--quick" in sys.argv[1:]
QUICK_SHARES = (0.5, 0.7, 0.8, 0.9)
STEP_S = 14.0
SETTLE_S = 5.0
CARD = load_bundle(shipped_bundle()).card
EMBEDDING = np.linspace(-1.0, 1.0, CARD.dim, dtype=np.float32)
BARE_S = 3.0
PERCENTILES = (50, 90, 99)
FORMAT = AudioFormat(Encoding.PCM16LE, RATE_HZ)
Step = dict[str, object]


@dataclass
class Kind:
    """What the streams of a search send."""

    signal: Float32
    gate: audio_pb2.SpeechGate.ValueType
    embedded_share: float
    """Of the audio; the rest is left out by the gate."""

    def __post_init__(self) -> None:
        content = pcm16(self.signal)
        ends = range(2 * MESSAGE_SAMPLES, len(content) + 1, 2 * MESSAGE_SAMPLES)
        self.messages = [content[end - 2 * MESSAGE_SAMPLES : end] for end in ends]
        self._completed: dict[int, list[int]] = {}
        self._network = GateNetwork()

    @property
    def pace(self) -> Pace:
        return Pace(
            messages=self.messages,
            message_s=0.1,
            config=pb.VerificationConfig(
                speaker_id="load", audio_format=wire.PCM16, speech_gate=self.gate
            ),
            last_message_of_window=lambda window: 0,
            completions=self.completions,
            window_s=HOP_S,
        )

    def completions(self, first: int) -> list[int]:
        """Hear a stream that begins with this message as the daemon does, window by window."""
        if first not in self._completed:
            self._completed[first] = [message for message, _ in self._heard(first)]
        return self._completed[first]

    def looks_ahead_ms(self) -> list[float]:
        """Give how much later than a window's last sample the message comes that completes it."""
        heard = self._heard(0)
        return [100.0 * (message - end // MESSAGE_SAMPLES) for message, end in heard]

    def _heard(self, first: int) -> list[tuple[int, int]]:
        gated = self.gate == audio_pb2.SPEECH_GATE_ON
        rule = GateSettings().rule if gated else None
        session = Session(SessionSettings(FORMAT, CARD, 32_000, gate=rule))
        state, found = first_state(), []
        for number in range(round(STEP_S / 0.1) + 1):
            step = session.push(self.messages[(first + number) % len(self.messages)])
            while step.gate_frames is not None:
                judged = []
                for at in range(0, len(step.gate_frames), BATCH_FRAMES):
                    frames = self._network.encode(step.gate_frames[at : at + BATCH_FRAMES])
                    probabilities, state = self._network.judge(frames, state)
                    judged.append(probabilities)
                step = session.absorb_gate(np.concatenate(judged))
            for window in step.windows:
                session.absorb_embedding(window, EMBEDDING)
                found.append((number, session.by_windows.committed_samples))
        return found


def main() -> None:
    speech = np.concatenate([read(path) for path in sorted(VOICES.glob("*.flac"))])
    wanted = [cores for cores in layouts() if cores.name == "apart" or not QUICK]
    sides = {cores.name: side(cores, speech) for cores in wanted}
    print(json.dumps({"bench": "live", "cores": os.cpu_count(), **sides}))


def side(cores: Cores, speech: Float32) -> dict[str, object]:
    with using(cores.measured), tempfile.TemporaryDirectory() as folder:
        bare = BareEngine(FRAMES, cores=len(cores.measured))
        layout = bare.best()
        with Daemon(Path(folder)) as daemon:
            found = {
                name: search(cores, bare, layout, daemon, kind)
                for name, kind in kinds(daemon.address, speech).items()
            }
    return {"bare_layout": str(layout), **found}


def kinds(address: str, speech: Float32) -> dict[str, Kind]:
    """Give the kinds of audio; the gate's share is asked of the daemon."""
    on, off = audio_pb2.SPEECH_GATE_ON, audio_pb2.SPEECH_GATE_OFF
    calls = call_like(speech)
    with wire.connected(address) as stubs:
        wire.enroll(stubs, "load", pcm16(speech[: 4 * RATE_HZ]))
        shares = [share(stubs, signal) for signal in (speech, calls)]
    return {
        "gate_off": Kind(speech, off, 1.0),
        "continuous": Kind(speech, on, shares[0]),
        "call_like": Kind(calls, on, shares[1]),
    }


def call_like(speech: Float32) -> Float32:
    """Put 2 s of a quiet line, noise at -60 dBFS, after each 2 s of speech."""
    quiet = np.random.default_rng(0).standard_normal(2 * RATE_HZ) * 10 ** (-60 / 20)
    turns = [speech[at : at + 2 * RATE_HZ] for at in range(0, len(speech), 2 * RATE_HZ)]
    return np.concatenate([part for turn in turns for part in (turn, quiet)]).astype(np.float32)


def share(stubs: wire.Stubs, signal: Float32) -> float:
    config = pb.VerificationConfig(
        speaker_id="load", audio_format=wire.PCM16, speech_gate=audio_pb2.SPEECH_GATE_ON
    )
    answer = stubs.verification.Verify(pb.VerifyRequest(config=config, audio=pcm16(signal)))
    return answer.result.net_speech.ToTimedelta().total_seconds() / (len(signal) / RATE_HZ)


def search(
    cores: Cores, bare: BareEngine, layout: Layout, daemon: Daemon, kind: Kind
) -> dict[str, object]:
    steps: list[Step] = []
    for part in QUICK_SHARES if QUICK else SHARES:
        steps.append(step(cores, bare, layout, daemon, kind, part))
        if not steps[-1]["carried"]:
            # Once more: a moment in which the machine did something else decides nothing.
            steps.append(step(cores, bare, layout, daemon, kind, part))
            if not steps[-1]["carried"]:
                break
    carried = [one for one in steps if one["carried"]]
    best = carried[-1] if carried else None
    return {
        "ratio": best["share"] if best else 0.0,
        "streams": best["streams"] if best else 0,
        "ceiling_streams": best["ceiling"] if best else None,
        "embedded_share": round(kind.embedded_share, 3),
        "looks_ahead_ms": {
            f"p{percent}": float(np.percentile(kind.looks_ahead_ms(), percent))
            for percent in PERCENTILES
        },
        "steps": steps,
    }


def step(
    cores: Cores, bare: BareEngine, layout: Layout, daemon: Daemon, kind: Kind, part: float
) -> Step:
    ceiling = bare.windows_per_s(layout, BARE_S) * HOP_S / kind.embedded_share
    streams = round(part * ceiling)
    for number in range(streams):
        kind.completions(round(number / streams * len(kind.messages)) % len(kind.messages))
    before_s = process_cpu_s(daemon.process.pid)
    with using(cores.generator):
        load: Load = asyncio.run(
            paced_streams(
                daemon.address, kind.pace, streams=streams, seconds=STEP_S, settle_s=SETTLE_S
            )
        )
    lags_ms = {f"p{percent}_ms": load.percentile_ms(percent) for percent in PERCENTILES}
    p99_ms = lags_ms["p99_ms"]
    return {
        "share": part,
        "streams": streams,
        "ceiling": round(ceiling, 1),
        **lags_ms,
        "carried": p99_ms is not None and p99_ms < LIMIT_MS and not load.errors,
        "daemon_cores": round((process_cpu_s(daemon.process.pid) - before_s) / load.wall_s, 3),
        "generator_cores": round(load.generator_cpu_s / load.wall_s, 3),
        "errors": load.errors,
    }


if __name__ == "__main__":
    main()
