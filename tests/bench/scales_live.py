"""What the daemon makes of it: errors on each scale with its speech gate and bands found by itself.

    .venv/bin/python tests/bench/scales_live.py

Prints one JSON line. Every shared utterance is enrolled whole, as a speaker of its own, in one
domain over a microphone and in another one over a simulated telephone line; then every one calls,
its middle 2 or 4 s or all of it, and is compared with all others. Settings and thresholds are the
defaults, but for audio of any quality and the least speech, 0.5 s.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from bench.scales import thresholds
from speakerd_client import Audio, AudioFormat, Client, Encoding, Policy
from speakerd_server.evaluation.metrics import cllr
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.telephone import LINE_RATE_HZ, to_line
from speakerd_server.values import Float32
from support.cut_trials import middle, percent
from support.daemon import Daemon
from support.speech import RATE_HZ, eval_ids, eval_utterance, pcm16

LENGTHS_S = (2, 4, None)
LEAST = Policy(minimum_speech_s=0.5)


@dataclass(frozen=True, slots=True)
class Trial:
    """A call held against one enrolled speaker."""

    target: bool
    """Whether both are one person."""
    scores: Mapping[str, float]
    """By scale."""
    profile: str
    """That the daemon chose."""


def microphone(samples: Float32) -> Audio:
    return Audio(pcm16(samples), AudioFormat(Encoding.PCM16LE, RATE_HZ))


def telephone(samples: Float32) -> Audio:
    return Audio(to_line(samples, RATE_HZ), AudioFormat(Encoding.MULAW, LINE_RATE_HZ))


SOUNDS: Mapping[str, Callable[[Float32], Audio]] = {"wide": microphone, "narrow": telephone}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder), "--gate-enabled=true", "--calls-domains=default,wide,narrow")
        with daemon as running, Client(running.address) as client:
            for domain, sound in SOUNDS.items():
                for name in eval_ids():
                    audio = sound(eval_utterance(name))
                    client.enroll(name, audio, domain=domain, minimum_speech_s=1.0, force=True)
            pairs = (("wide", "wide"), ("wide", "narrow"), ("narrow", "narrow"))
            rows = [row(client, *pair, seconds) for pair in pairs for seconds in LENGTHS_S]
    print(json.dumps({"bench": "scales_live", "rows": rows}))


def row(client: Client, domain: str, line: str, seconds: int | None) -> dict[str, object]:
    """Count errors in percent at the default thresholds of each scale."""
    trials = list(_trials(client, domain, SOUNDS[line], seconds))
    card, pair = load_bundle(shipped_bundle()).card, f"{domain}-{line}"
    told: dict[str, object] = {
        "enrolled": domain,
        "call": line,
        "speech": "whole" if seconds is None else f"{seconds} s",
        "trials": len(trials),
        "with_the_profile_percent": percent(float(np.mean([t.profile == pair for t in trials]))),
    }
    target = np.array([one.target for one in trials], np.bool_)
    for name, scale, accept_at, reject_below in thresholds(card, pair):
        scores = np.array([one.scores[scale.value] for one in trials])
        same, other = scores[target], scores[~target]
        told[name] = {
            "false_accept_percent": percent(float(np.mean(other >= accept_at))),
            "false_reject_percent": percent(float(np.mean(same < reject_below))),
            "same_speaker_undecided_percent": percent(
                float(np.mean((same >= reject_below) & (same < accept_at)))
            ),
        }
    llrs = np.array([one.scores["llr"] for one in trials])
    return told | {"cllr": round(cllr(llrs, target), 4)}


def _trials(
    client: Client, domain: str, sound: Callable[[Float32], Audio], seconds: int | None
) -> Iterator[Trial]:
    names = eval_ids()
    for name in names:
        cut = middle(eval_utterance(name), seconds)
        if cut is None:
            continue
        for one in client.verify(names, sound(cut), domain=domain, policy=LEAST).scores:
            if one.speaker_id != name and one.score is not None:
                scores = {each.scale.value: each.value for each in one.all_scores}
                is_same = one.speaker_id.split("-")[0] == name.split("-")[0]
                yield Trial(is_same, scores, one.profile)


if __name__ == "__main__":
    main()
