"""Makes the shipped 8-bit bundle from the shipped float one and the cohort recordings.

    python -m speakerd_server.offline.int8_recipe --audio FOLDER --output DIR

writes DIR/campplus-int8/1/ with the ONNX file, the card, the cohort and the licences: what
`speakerd model quantize campplus --audio FOLDER` makes, with the shipped name and thresholds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from speakerd_server.cards import Bundle, Calibration, Card, ErrorRates, LlrCalibration
from speakerd_server.errors import GraphRefused, SpeakerdError
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.profile import read_boundaries
from speakerd_server.models.quantize import PRECISION
from speakerd_server.models.recipe import (
    BANDS,
    FITTED_ON,
    HANDOVER_BELOW,
    LEARNT,
    SCALES,
    SEVERAL_BELOW,
    TRIALS,
    cohort_of,
    profiles_of,
    shipped_cohort,
    write_cohort_notice,
)
from speakerd_server.offline.calibration_speech import find_recordings, read_speech
from speakerd_server.offline.quantizing import LOWEST_COSINE, make_quantized
from speakerd_server.offline.recordings import Reading
from speakerd_server.values import ScoreScale

NAME, VERSION = "campplus-int8", "1"
SPEECH = (
    "calibrated on LibriSpeech train-clean-100 (Panayotov et al., 2015; CC BY 4.0;"
    " https://www.openslr.org/12), 110 recordings of 110 speakers, 6 s each, every fourth held out"
)

# What tests/bench/calibrate.py printed for this model; see models/recipe.py.
ACCEPT_AT, REJECT_BELOW = 0.5, 0.4
MEASURED = (
    ErrorRates("1 s", 270, 1500, 2.96, 0.0, 52.96),
    ErrorRates("2 s", 270, 1500, 0.0, 0.0, 1.85),
    ErrorRates("4 s", 159, 876, 0.0, 0.0, 0.0),
    ErrorRates("whole", 270, 1500, 0.0, 0.0, 0.0),
)

# What `speakerd evaluate --durations 1,2,4,8 --calibrate --with-durations` printed for it.
LLR = LlrCalibration(
    profile="default",
    scale=ScoreScale.COSINE,
    offset=-8.9211,
    slope=32.2792,
    shorter=-3.2777,
    longer=-1.5522,
    speakers=6,
    cllr_before=0.8374,
    cllr_after=0.0507,
    trials=FITTED_ON,
    shortest_s=1.0,
    longest_s=19.91,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m speakerd_server.offline.int8_recipe")
    parser.add_argument("--audio", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--output", type=Path, required=True, help="folder of bundles")
    options = parser.parse_args(arguments)
    try:
        bundle = make_bundle(options.audio, options.output)
    except SpeakerdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"wrote {bundle.onnx_path.parent}\n")
    return 0


def make_bundle(audio: Path, output: Path) -> Bundle:
    """Write the bundle, `output`/campplus-int8/1.

    Raises:
        ListInvalid: There is no audio.
        AudioFileUnusable: A recording cannot be read.
        GraphRefused: The result is too far from the float model.
        OutputUnusable: The folder cannot be written.
    """
    source = load_bundle(shipped_bundle())
    paths = find_recordings(audio, None, None)
    speech = read_speech(source.card, paths, Reading(), lambda count: None)
    if speech.unusable:
        raise speech.unusable[0]
    stated = card(source.card)
    made = make_quantized(source, stated.identity, speech, lambda count: None, stated.origin)
    problem = made.problem(LOWEST_COSINE)
    if problem:
        raise GraphRefused(source.onnx_path, problem)
    cohort = shipped_cohort(NAME).read_bytes()
    bundle = replace(made, card=stated).write(output / NAME / VERSION, cohort)
    write_cohort_notice(bundle.onnx_path.parent)
    return bundle


def card(source: Card) -> Card:
    """Give the card of the model, without the hash of its file."""
    made_of = source.identity
    identity = replace(made_of, name=NAME, version=VERSION)
    return replace(
        source,
        identity=identity,
        precision=PRECISION,
        origin=(
            f"{source.origin}; static int8 of {made_of.name}/{made_of.version} by python -m"
            f" speakerd_server.offline.int8_recipe, {SPEECH}"
        ),
        sha256="",
        calibration=Calibration(
            ACCEPT_AT,
            REJECT_BELOW,
            TRIALS,
            MEASURED,
            (LLR, *profiles_of(identity)),
            SEVERAL_BELOW,
            HANDOVER_BELOW,
            BANDS,
            read_boundaries(LEARNT / f"{NAME}.toml", identity),
            SCALES,
        ),
        cohort=cohort_of(NAME),
    )


if __name__ == "__main__":
    sys.exit(main())
