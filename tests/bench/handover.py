"""How surely another voice in a call is noticed, and how often it is when there is none.

    .venv/bin/python tests/bench/handover.py [--calls 1500]

Prints one JSON line. Calls of 20 to 60 s are joined from the shared utterances of one speaker, and
of two, who change after 6 to 30 s; windows of 2 s, as they are and over a simulated telephone line.
`noticed`: share of the changes noticed within 4 windows (bar 0.90); `early`: noticed before there
was one; `false_alarms`: share of the calls of one speaker (bar 0.02).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from speakerd_server.audio.ingest import Ingest
from speakerd_server.cli.progress import progress
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.telephone import LINE_FORMAT, to_line
from speakerd_server.values import Float32
from support.joined_calls import Speakers, noticed, one_voice, two_voices, windows_of
from support.speech import RATE_HZ, eval_ids, eval_utterance

WITHIN = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1500, help="of each kind")
    calls = parser.parse_args().calls
    bundle = load_bundle(shipped_bundle())
    below = bundle.card.calibration.handover_below or 0.55
    backend = OnnxRuntimeCpu(bundle)
    found: dict[str, object] = {"bench": "handover", "calls": calls, "below": below}
    for name in ("wide", "narrow"):
        found[name] = rates(speakers(backend, narrow=name == "narrow"), calls, below)
    print(json.dumps(found))


def speakers(backend: OnnxRuntimeCpu, *, narrow: bool) -> Speakers:
    found: dict[str, list[Float32]] = {}
    names = eval_ids()
    with progress(len(names), "utterances") as done:
        for name in names:
            samples = eval_utterance(name)
            if narrow:
                ingest = Ingest(LINE_FORMAT, RATE_HZ)
                content = to_line(samples, RATE_HZ)
                samples = np.concatenate([ingest.push(content), ingest.end()])
            found.setdefault(name.split("-")[0], []).append(windows_of(backend, samples))
            done(1)
    return found


def rates(voices: Speakers, calls: int, below: float) -> dict[str, float]:
    random = np.random.default_rng(0)
    alarms = sum(noticed(one_voice(voices, random), below) is not None for _ in range(calls))
    right = early = 0
    for _ in range(calls):
        call, begins = two_voices(voices, random)
        found = noticed(call, below)
        early += found is not None and found.window < begins
        right += found is not None and begins <= found.window < begins + WITHIN
    return {
        "noticed": round(right / calls, 4),
        "early": round(early / calls, 4),
        "false_alarms": round(alarms / calls, 4),
    }


if __name__ == "__main__":
    main()
