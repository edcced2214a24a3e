"""What a telephone line costs: error rates for each net duration, on the shared trials.

    .venv/bin/python tests/bench/telephone.py [BUNDLE_FOLDER] [--picture FILE.png]

Prints one JSON line. Each utterance goes through the line as a whole, then its middle 1, 2 or 4 s
is taken, or all of it; default windows, mean of the window embeddings, cosine. The call's side is
degraded; the enrolled side is a clean microphone recording, or has been over a clean line. Noise is
white and added before the line, its ratio that of the whole utterance's power; lost packets have
20 ms. Thresholds are the card's defaults for the two bands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from speakerd_server.audio.ingest import Ingest
from speakerd_server.cards import Card
from speakerd_server.cli.progress import progress
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.telephone import LINE_FORMAT, to_line, with_losses, with_noise
from speakerd_server.values import Float32
from support.cut_trials import LENGTHS_S, Embeddings, Float64, embed, middle, percent, scores
from support.error_rates import equal_error_rate, threshold_at_equal_error
from support.speech import RATE_HZ, eval_ids, eval_utterance

LOST_SHARE = 0.05
Line = Callable[[Float32, int], Float32]


def wide(snr_db: float | None = None) -> Line:
    """Give a microphone, perhaps in a noisy room."""
    return lambda samples, seed: samples if snr_db is None else with_noise(samples, snr_db, seed)


def narrow(
    snr_db: float | None = None, lost_share: float = 0.0, *, concealed: bool = False
) -> Line:
    """Give a telephone line, as the daemon hears it: decoded and resampled."""

    def line(samples: Float32, seed: int) -> Float32:
        content = to_line(wide(snr_db)(samples, seed), RATE_HZ)
        if lost_share:
            content = with_losses(content, lost_share, seed, concealed=concealed)
        ingest = Ingest(LINE_FORMAT, RATE_HZ)
        return np.concatenate([ingest.push(content), ingest.end()])

    return line


LINES: Mapping[str, Line] = {
    "wide": wide(),
    "wide, 20 dB": wide(20.0),
    "wide, 10 dB": wide(10.0),
    "narrow": narrow(),
    "narrow, 20 dB": narrow(20.0),
    "narrow, 10 dB": narrow(10.0),
    "narrow, 5 % lost": narrow(lost_share=LOST_SHARE),
    "narrow, 5 % lost, concealed": narrow(lost_share=LOST_SHARE, concealed=True),
}


def main() -> None:
    given = _options()
    bundle = load_bundle(given.bundle)
    heard = all_embeddings(OnnxRuntimeCpu(bundle), bundle.card)
    rows = [
        row(enrolled, call, seconds, heard, bundle.card)
        for call in LINES
        for enrolled in (("wide", "narrow") if call.startswith("narrow") else ("wide",))
        for seconds in LENGTHS_S
    ]
    facts = {"bench": "telephone", "model": str(bundle.card.identity), "scale": "cosine"}
    print(json.dumps(facts | {"accept_at": bundle.card.accept_at, "rows": rows}))
    if given.picture is not None:
        draw(given.picture, rows)


def all_embeddings(
    backend: OnnxRuntimeCpu, card: Card
) -> dict[tuple[str, int | None], dict[str, Float64]]:
    """Embed every utterance over every line in every length, by (line, seconds)."""
    names = eval_ids()
    found: dict[tuple[str, int | None], dict[str, Float64]] = {
        (line, seconds): {} for line in LINES for seconds in LENGTHS_S
    }
    with progress(len(names), "utterances over every line") as done:
        for seed, name in enumerate(names):
            for line, through in LINES.items():
                samples = through(eval_utterance(name), seed)
                for seconds in LENGTHS_S:
                    if (cut := middle(samples, seconds)) is not None:
                        found[line, seconds][name] = embed(backend, cut, card)
            done(1)
    return found


def row(
    enrolled: str,
    call: str,
    seconds: int | None,
    heard: Mapping[tuple[str, int | None], Embeddings],
    card: Card,
) -> dict[str, object]:
    """Count the errors of one pair of lines and one length, in percent."""
    same, other = scores(heard[enrolled, seconds], heard[call, seconds])
    accept_at, reject_below = card.accept_at or 0.5, card.reject_below or 0.4
    pair = f"{enrolled}-{call.partition(',')[0]}"
    for one in card.calibration.bands:
        if one.pair == pair:
            accept_at, reject_below = one.accept_at, one.reject_below
    return {
        "enrolled": enrolled,
        "call": call,
        "speech": "whole" if seconds is None else f"{seconds} s",
        "trials": [same.size, other.size],
        "thresholds": [accept_at, reject_below],
        "equal_error_percent": percent(equal_error_rate(same, other)),
        "equal_error_threshold": round(threshold_at_equal_error(same, other), 3),
        "same_speaker_mean": round(float(same.mean()), 3),
        "other_speaker_mean": round(float(other.mean()), 3),
        "false_accept_percent": percent(float(np.mean(other >= accept_at))),
        "false_reject_percent": percent(float(np.mean(same < reject_below))),
        "same_speaker_undecided_percent": percent(
            float(np.mean((same >= reject_below) & (same < accept_at)))
        ),
    }


def draw(path: Path, rows: list[dict[str, object]]) -> None:
    """Draw equal error rates over the length of speech, a line for each pair."""
    from matplotlib import colormaps  # only where a picture is asked for
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=[colormaps["tab20"](number) for number in range(20)])
    pairs = dict.fromkeys((str(one["enrolled"]), str(one["call"])) for one in rows)
    for enrolled, call in pairs:
        rates = [
            float(str(one["equal_error_percent"]))
            for one in rows
            if (one["enrolled"], one["call"]) == (enrolled, call)
        ]
        style = "--" if enrolled == "narrow" else "-"
        axes.plot(range(len(rates)), rates, style, marker="o", label=f"{enrolled} / {call}")
    axes.set_xticks(range(len(LENGTHS_S)), ["1 s", "2 s", "4 s", "whole"])
    axes.set_xlabel("speech on each side")
    axes.set_ylabel("equal error rate, %")
    axes.set_ylim(bottom=0)
    axes.legend(title="enrolled / call", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", nargs="?", type=Path, default=shipped_bundle())
    parser.add_argument("--picture", type=Path, help="PNG to draw the error rates into")
    return parser.parse_args()


if __name__ == "__main__":
    main()
