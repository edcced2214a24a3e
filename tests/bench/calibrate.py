"""Error rates of a model on the shared trials: the numbers that its card states.

    .venv/bin/python tests/bench/calibrate.py [BUNDLE_FOLDER]

Prints one JSON line. Whole utterances and their middle 4, 2 and 1 s (utterances that are shorter
are left out), default windows, mean of the window embeddings, cosine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from speakerd_server.cards import Card
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from support.cut_trials import LENGTHS_S, Embeddings, embed, middle, percent, scores
from support.error_rates import equal_error_rate
from support.speech import eval_ids, eval_utterance


def main() -> None:
    bundle = load_bundle(Path(sys.argv[1]) if len(sys.argv) > 1 else shipped_bundle())
    backend = OnnxRuntimeCpu(bundle)
    rows = []
    for seconds in LENGTHS_S:
        embeddings = {
            name: embed(backend, audio, bundle.card)
            for name in eval_ids()
            if (audio := middle(eval_utterance(name), seconds)) is not None
        }
        rows.append(row("whole" if seconds is None else f"{seconds} s", embeddings, bundle.card))
    result = {
        "bench": "calibrate",
        "model": str(bundle.card.identity),
        "sha256": bundle.card.sha256,
        "scale": "cosine",
        "accept_at": bundle.card.accept_at,
        "reject_below": bundle.card.reject_below,
        "rows": rows,
    }
    print(json.dumps(result))


def row(speech: str, embeddings: Embeddings, card: Card) -> dict[str, object]:
    """Count errors in percent, as a card names them, and show where the scores lie."""
    same, other = scores(embeddings, embeddings)
    accept_at, reject_below = card.accept_at or 0.5, card.reject_below or 0.4
    return {
        "speech": speech,
        "same_speaker_trials": same.size,
        "other_speaker_trials": other.size,
        "equal_error_percent": percent(equal_error_rate(same, other)),
        "false_accept_percent": percent(float(np.mean(other >= accept_at))),
        "false_reject_percent": percent(float(np.mean(same < accept_at))),
        "same_speaker_below_reject_percent": percent(float(np.mean(same < reject_below))),
        "other_speaker_below_reject_percent": percent(float(np.mean(other < reject_below))),
        "same_speaker_lowest": round(float(same.min()), 3),
        "other_speaker_highest": round(float(other.max()), 3),
    }


if __name__ == "__main__":
    main()
