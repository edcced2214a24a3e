"""`speakerd model cohort`: people to normalise scores by, into a bundle of one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.cli.progress import progress
from speakerd_server.cli.reading import reading, reading_options
from speakerd_server.errors import OptionInvalid

if TYPE_CHECKING:
    from speakerd_server.offline.cohort import MadeCohort

_PATH = click.Path(path_type=Path)
_IN_PART = 1


@click.command("cohort", short_help="Give a bundle a cohort, for scores on asnorm.")
@click.argument("model", metavar="FOLDER")
@click.option(
    "--audio",
    required=True,
    type=_PATH,
    metavar="WAV.SCP|FOLDER",
    help="Wide-band recordings, one of each person, nobody of whom is ever enrolled or calls.",
)
@click.option("--wav-root", type=_PATH, help="Folder of a list's relative paths.")
@click.option("--limit", type=click.IntRange(min=1), help="Most recordings to use.")
@click.option(
    "--top-n",
    type=click.IntRange(min=2),
    help="How many most alike a score is normalised by.  [default: 300, or as many as there are]",
)
@click.option(
    "--origin",
    default="not stated",
    show_default=True,
    metavar="TEXT",
    help="Whose speech it is, and its licence, for the card.",
)
@reading_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def cohort(
    *,
    model: str,
    audio: Path,
    wav_root: Path | None,
    limit: int | None,
    top_n: int | None,
    origin: str,
    channel: int | None,
    raw: str | None,
    as_json: bool,
) -> int:
    """Embed recordings of other people into the bundle FOLDER, as they are and over a telephone.

    Scores on the scale asnorm are then measured in standard deviations of those people's scores,
    by the bands of both sides. A cohort that was there is replaced. The telephone line is
    simulated: mu-law at 8 kHz.

    Exit code 0: written. 1: written but some files could not be read. 2: not done.
    """
    from speakerd_server.models.bundle import load_bundle
    from speakerd_server.models.choice import find_bundle, shipped_bundles
    from speakerd_server.offline.calibration_speech import find_recordings
    from speakerd_server.offline.cohort import add_cohort, make_cohort

    folder = find_bundle(model)
    if folder in shipped_bundles():
        problem = f"{model} belongs to the installed package; give the folder of a bundle of yours"
        raise OptionInvalid("FOLDER", problem)
    paths = find_recordings(audio, wav_root, limit)
    bundle, read = load_bundle(folder), reading(channel, raw)
    with progress(len(paths), "embedding") as done:
        made = make_cohort(bundle, paths, read, done, origin=origin, top_n=top_n)
    for error in made.unusable:
        click.echo(f"speakerd: {error} [{error.reason}]", err=True)
    add_cohort(folder, made)
    _show(made, folder, as_json=as_json)
    return _IN_PART if made.unusable else 0


def _show(made: MadeCohort, folder: Path, *, as_json: bool) -> None:
    if as_json:
        unusable = [str(error.path) for error in made.unusable]
        told = {"folder": str(folder), **asdict(made.description), "unusable": unusable}
        click.echo(json.dumps(told, indent=2))
        return
    one = made.description
    click.echo(f"wrote {folder / one.file}")
    click.echo(
        f"  {one.speakers} people, each over a microphone and over a telephone line; scores are"
        f" normalised by the {one.top_n} most alike"
    )
