"""`speakerd compare`: are two recordings of one person?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.cli.options import model_option
from speakerd_server.cli.reading import reading, reading_options
from speakerd_server.values import ScoreScale

if TYPE_CHECKING:
    from speakerd_server.cards import Card
    from speakerd_server.offline.comparison import Cohort, Threshold
    from speakerd_server.offline.embedding import Embedded

DIFFERENT = 1

Scores = Mapping[ScoreScale, float]


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--threshold", type=float, help="Same from this score on; needs --scale.")
@click.option(
    "--scale",
    type=click.Choice([scale.value for scale in ScoreScale]),
    help="Scale of the decision; without --threshold the model's own threshold, for llr 0."
    " [default: cosine]",
)
@model_option
@click.option(
    "--samples-per-chunk",
    type=int,
    help="Window length at the model's rate; -1: one window over each recording."
    " [default: the model's]",
)
@reading_options
@click.option(
    "--cohort",
    type=click.Path(path_type=Path),
    help="Impostors' embeddings (.scp, .ark, .npz, .txt) for asnorm.",
)
@click.option("--top-n", type=click.IntRange(min=2), help="Of the cohort. [default: 300]")
@click.option("--profile", metavar="NAME|FILE", help="Calibration: one of the card's, or a file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@ends_plainly
def compare(
    first: Path,
    second: Path,
    threshold: float | None,
    scale: str | None,
    model: str,
    samples_per_chunk: int | None,
    channel: int | None,
    raw: str | None,
    cohort: Path | None,
    top_n: int | None,
    profile: str | None,
    as_json: bool,
) -> int:
    """Compare two recordings: their scores, and whether they are of one person.

    Exit code 0: the same person, 1: different persons, 2: no answer (audio that cannot be used,
    silence, no threshold).
    """
    from speakerd_server.models.bundle import load_bundle
    from speakerd_server.models.choice import find_bundle
    from speakerd_server.offline import comparison
    from speakerd_server.offline.embedding import Extractor

    read = reading(channel, raw)
    bundle = load_bundle(find_bundle(model))
    calibration = comparison.find_calibration(bundle.card, profile)
    limit = comparison.choose_threshold(
        bundle.card,
        None if scale is None else ScoreScale(scale),
        threshold,
        calibration=calibration,
        has_cohort=cohort is not None,
    )
    impostors = _cohort(cohort, top_n, bundle.card)
    if limit.warning:
        click.echo(f"speakerd: warning: {limit.warning}", err=True)
    extractor = Extractor(bundle, samples_per_chunk=samples_per_chunk, reading=read)
    sides = extractor.embed_file(first), extractor.embed_file(second)
    scores = comparison.compare(*sides, cohort=impostors, calibration=calibration)
    same = scores[limit.scale] >= limit.value
    if as_json:
        document = _document(scores, limit, same, [(first, sides[0]), (second, sides[1])])
        document |= {
            "model": str(bundle.card.identity),
            "samples_per_chunk": extractor.samples_per_chunk,
            "profile": None if calibration is None else calibration.profile,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        _show(scores, limit, same)
    return 0 if same else DIFFERENT


def _cohort(path: Path | None, top_n: int | None, card: Card) -> Cohort | None:
    from speakerd_server.errors import OptionInvalid
    from speakerd_server.offline.comparison import TOP_N, read_cohort

    if path is None:
        if top_n is not None:
            raise OptionInvalid("--top-n", "it says how much of a cohort is taken: give --cohort")
        return None
    return read_cohort(path, card.dim, TOP_N if top_n is None else top_n)


def _show(scores: Scores, limit: Threshold, same: bool) -> None:
    for scale, score in scores.items():
        click.echo(f"{scale.value:<10} {score:9.6f}")
    verdict = "same speaker" if same else "different speakers"
    relation = "at least" if same else "below"
    click.echo(
        f"{verdict}: {limit.scale.value} {scores[limit.scale]:.6f} is {relation}"
        f" {limit.value:g} ({limit.source})"
    )


def _document(
    scores: Scores, limit: Threshold, same: bool, sides: list[tuple[Path, Embedded]]
) -> dict[str, object]:
    return {
        "decision": "same" if same else "different",
        "scale": limit.scale.value,
        "score": scores[limit.scale],
        "threshold": limit.value,
        "threshold_from": limit.source,
        "warning": limit.warning,
        **{scale.value: scores.get(scale) for scale in ScoreScale},
        "recordings": [
            {"path": str(path), "seconds": side.seconds, "windows": side.windows}
            for path, side in sides
        ],
    }
