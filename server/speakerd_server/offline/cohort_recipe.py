"""Makes the cohorts of the shipped models from the cohort recordings.

    python -m speakerd_server.offline.cohort_recipe --audio FOLDER --output DIR

writes DIR/NAME/1/cohort.npz for campplus and campplus-int8, whose cards describe them: what
`speakerd model cohort` makes. Another kind of processor may differ in an embedding's last digits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from speakerd_server.errors import OutputUnusable, SpeakerdError
from speakerd_server.models.bundle import list_shipped, load_bundle, shipped_bundle, write_whole
from speakerd_server.models.cohort import COHORT_NAME
from speakerd_server.models.recipe import COHORT_ORIGIN
from speakerd_server.offline.calibration_speech import find_recordings
from speakerd_server.offline.cohort import make_cohort
from speakerd_server.offline.recordings import Reading


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m speakerd_server.offline.cohort_recipe")
    parser.add_argument("--audio", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--output", type=Path, required=True, help="folder of bundles")
    options = parser.parse_args(arguments)
    try:
        paths = find_recordings(options.audio, None, None)
        for name in list_shipped():
            path = make_file(name, paths, options.output)
            sys.stderr.write(f"wrote {path}\n")
    except SpeakerdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def make_file(name: str, paths: Sequence[Path], output: Path) -> Path:
    """Write the cohort of one shipped model and give the file.

    Raises:
        AudioFileUnusable: A recording cannot be embedded.
        CohortTooSmall: There is not more than one.
        OutputUnusable: The folder cannot be written.
    """
    folder = shipped_bundle(name)
    made = make_cohort(
        load_bundle(folder), paths, Reading(), lambda count: None, origin=COHORT_ORIGIN
    )
    if made.unusable:
        raise made.unusable[0]
    path = output / name / folder.name / COHORT_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, made.content)
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error
    return path


if __name__ == "__main__":
    sys.exit(main())
