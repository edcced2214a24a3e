"""Does one threshold hold? Errors on each scale, over bands and durations, on the shared trials.

    .venv/bin/python tests/bench/scales.py [BUNDLE_FOLDER]

Prints one JSON line. Trials are those of `telephone.py`: wide and narrow sides, the middle 1, 2 or
4 s of both or all of them. Scores are the daemon's, by its own Scorer, with the bands stated.
Thresholds are the card's defaults: of cosine once that for wide sides held for all ("cosine"), once
those by bands ("cosine_by_bands"); of asnorm and llr the one that it has. Cllr in bits: with the
profile of the bands, and with the card's default one in its place. "cohorts" tells what other ways
to normalise would give: each side by the cohort of its own band, and fewer of the most alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
from bench.telephone import narrow, wide
from speakerd_server.cards import Bundle, Card, Cohort
from speakerd_server.cli.progress import progress
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.evaluation.metrics import cllr
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.score.asnorm import as_norm, top_statistics
from speakerd_server.score.calibration import llr_of
from speakerd_server.score.scales import Scored, Scorer, Side
from speakerd_server.score.similarity import cosine
from speakerd_server.values import Band, ScoreScale
from support.cut_trials import LENGTHS_S, Float64, embed, middle, percent
from support.error_rates import equal_error_rate
from support.shared import shared_path
from support.speech import RATE_HZ, eval_ids, eval_utterance

LINES = {Band.WIDE: wide(), Band.NARROW: narrow()}
PAIRS = ((Band.WIDE, Band.WIDE), (Band.WIDE, Band.NARROW), (Band.NARROW, Band.NARROW))
Sides = Mapping[tuple[Band, int | None], Mapping[str, Side]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", nargs="?", type=Path, default=shipped_bundle())
    bundle = load_bundle(parser.parse_args().bundle)
    sides, scorer = all_sides(bundle), Scorer(bundle.card, bundle.cohort)
    rows = [
        row(pair, seconds, sides, scorer, bundle.card) for pair in PAIRS for seconds in LENGTHS_S
    ]
    told = {"bench": "scales", "model": str(bundle.card.identity), "rows": rows}
    print(json.dumps(told | {"cohorts": cohorts(sides, bundle)}))


def all_sides(bundle: Bundle, lengths_s: Sequence[int | None] = LENGTHS_S) -> Sides:
    """Embed every utterance over both lines in every length."""
    backend, names = OnnxRuntimeCpu(bundle), eval_ids()
    found: dict[tuple[Band, int | None], dict[str, Side]] = {
        (band, seconds): {} for band in LINES for seconds in lengths_s
    }
    with progress(len(names), "utterances over both lines") as done:
        for seed, name in enumerate(names):
            for band, through in LINES.items():
                samples = through(eval_utterance(name), seed)
                for seconds in lengths_s:
                    if (cut := middle(samples, seconds)) is not None:
                        embedding = embed(backend, cut, bundle.card)
                        found[band, seconds][name] = Side(embedding, band, len(cut) / RATE_HZ)
            done(1)
    return found


def row(
    pair: tuple[Band, Band], seconds: int | None, sides: Sides, scorer: Scorer, card: Card
) -> dict[str, Any]:
    """Count the errors of one pair of bands and one length on every scale."""
    enrolled, called = sides[pair[0], seconds], sides[pair[1], seconds]
    scored: list[Scored] = []
    plain: list[float] = []
    same: list[bool] = []
    default = card.calibration.llr_for("default")
    for line in shared_path("data/trials/all_pairs.txt").read_text().splitlines():
        one, other, label = line.split()
        if one in enrolled and other in called:
            scored.append(scorer.scored(enrolled[one], called[other]))
            same.append(label == "target")
            if default is not None:
                first_s, second_s = enrolled[one].speech_s, called[other].speech_s
                plain.append(llr_of(default, scored[-1].cosine, first_s, second_s))
    target = np.array(same)
    told: dict[str, Any] = {
        "enrolled": pair[0].value,
        "call": pair[1].value,
        "speech": "whole" if seconds is None else f"{seconds} s",
        "profile": scored[0].profile,
    }
    for name, scale, accept_at, reject_below in thresholds(card, scored[0].profile):
        scores = np.array([one.by_scale[scale] for one in scored])
        told[name] = errors(scores, target, accept_at, reject_below)
    llrs = np.array([one.by_scale[ScoreScale.LLR] for one in scored])
    costs = (cllr(llrs, target), cllr(np.array(plain), target))
    return told | {"cllr": round(costs[0], 4), "cllr_default": round(costs[1], 4)}


def cohorts(sides: Sides, bundle: Bundle) -> list[dict[str, object]]:
    """Measure other ways to normalise, over all bands and lengths together and for mixed bands."""
    if bundle.cohort is None:
        return []
    rows = []
    for other_side, top_n in ((True, 110), (False, 110), (True, 50), (True, 20)):
        found = {
            (pair, seconds): normalised(pair, seconds, sides, bundle.cohort, other_side, top_n)
            for pair in PAIRS
            for seconds in LENGTHS_S
        }
        scores, target = (np.concatenate(one) for one in zip(*found.values(), strict=True))
        short, short_target = found[PAIRS[1], 1]
        whole = {pair: found[pair, None] for pair in PAIRS}
        strangers = {f"{a.value}-{b.value}": one[0][~one[1]] for (a, b), one in whole.items()}
        told: dict[str, object] = {
            "by_the_other_sides_band": other_side,
            "top_n": top_n,
            "equal_error_percent": percent(equal_error_rate(scores[target], scores[~target])),
            "mixed_1_s_equal_error_percent": percent(
                equal_error_rate(short[short_target], short[~short_target])
            ),
        }
        for name, one in strangers.items():
            told[f"{name}_whole_strangers"] = [
                round(float(one.mean()), 2),
                round(float(one.std()), 2),
            ]
        rows.append(told)
    return rows


def normalised(
    pair: tuple[Band, Band],
    seconds: int | None,
    sides: Sides,
    cohort: Cohort,
    other_side: bool,
    top_n: int,
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Give the asnorm scores of one pair of bands and one length, and which are of one speaker."""
    enrolled, called = sides[pair[0], seconds], sides[pair[1], seconds]
    people = {Band.WIDE: cohort.wide, Band.NARROW: cohort.narrow}
    of_enrolled, of_called = (
        dict(
            zip(
                side,
                zip(*top_statistics(_matrix(side), people[band], top_n), strict=True),
                strict=True,
            )
        )
        for side, band in zip((enrolled, called), pair[::-1] if other_side else pair, strict=True)
    )
    numbers, same = [], []
    for line in shared_path("data/trials/all_pairs.txt").read_text().splitlines():
        one, other, label = line.split()
        if one in enrolled and other in called:
            alike = cosine(enrolled[one].embedding, called[other].embedding)
            numbers.append((alike, *of_enrolled[one], *of_called[other]))
            same.append(label == "target")
    scores: Float64 = np.asarray(as_norm(*np.array(numbers).T), np.float64)
    return scores, np.array(same, np.bool_)


def _matrix(side: Mapping[str, Side]) -> Float64:
    return np.array([one.embedding for one in side.values()], np.float64)


def thresholds(card: Card, pair: str) -> list[tuple[str, ScoreScale, float, float]]:
    """Give the card's defaults, by a name of their own."""
    accept_at, reject_below = card.accept_at or 0.5, card.reject_below or 0.4
    by_bands = {one.pair: (one.accept_at, one.reject_below) for one in card.calibration.bands}
    of_pair = by_bands.get(pair, (accept_at, reject_below))
    return [
        ("cosine", ScoreScale.COSINE, accept_at, reject_below),
        ("cosine_by_bands", ScoreScale.COSINE, *of_pair),
        *(
            (one.scale.value, one.scale, one.accept_at, one.reject_below)
            for one in card.calibration.scales
        ),
    ]


def errors(
    scores: Float64, target: npt.NDArray[np.bool_], accept_at: float, reject_below: float
) -> object:
    """Count in percent, and show where the scores of strangers lie."""
    same, other = scores[target], scores[~target]
    return {
        "accept_at": accept_at,
        "reject_below": reject_below,
        "equal_error_percent": percent(equal_error_rate(same, other)),
        "false_accept_percent": percent(float(np.mean(other >= accept_at))),
        "false_reject_percent": percent(float(np.mean(same < reject_below))),
        "same_speaker_undecided_percent": percent(
            float(np.mean((same >= reject_below) & (same < accept_at)))
        ),
        "other_speaker_mean": round(float(other.mean()), 3),
        "other_speaker_highest": round(float(other.max()), 3),
    }


if __name__ == "__main__":
    main()
