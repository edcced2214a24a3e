"""`speakerd model import`: an ONNX file from elsewhere becomes a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.errors import ExtraMissing

if TYPE_CHECKING:
    from speakerd_server.models.importing import Imported

_PATH = click.Path(path_type=Path)


@click.command("import", short_help="Make a bundle of somebody's ONNX network.")
@click.argument("file", type=_PATH, metavar="FILE.onnx")
@click.option(
    "--front-end",
    required=True,
    metavar="wespeaker|3dspeaker|FILE.toml",
    help="What the network was trained with: the wrong one goes unnoticed and costs accuracy."
    " A file has sample_scale (32768 or 1), window and, where they differ from the families',"
    " mel_bins, low_hz, high_hz, pre_emphasis, mean_removed.",
)
@click.option(
    "--output", required=True, type=_PATH, help="Folder that OUTPUT/NAME/VERSION goes to."
)
@click.option("--name", default="", help="Of the bundle.  [default: from the file's name]")
@click.option("--version", default="1", show_default=True, help="Of the bundle.")
@click.option("--licence", default="LicenseRef-unknown", show_default=True, help="SPDX identifier.")
@click.option("--origin", default="", help="Where the weights come from, in words.")
@click.option("--mean-vec", type=_PATH, help="Vector (.npy) to subtract from every embedding.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def import_network(
    *,
    file: Path,
    front_end: str,
    name: str,
    mean_vec: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a bundle of a network from features [B, T, M] to embeddings [B, D].

    Any ONNX file with such an input and output: WeSpeaker's published ones, 3D-Speaker's, your
    own. Front end and network become one graph from PCM, written only if its embeddings are those
    of FILE on the same features. Exit code 2 and the reason when the network does not fit.
    """
    try:
        from speakerd_server.models import importing
    except ModuleNotFoundError as error:
        raise ExtraMissing("models", error.name or "onnx") from error
    from speakerd_server.models.description import choose_front_end
    from speakerd_server.models.naming import name_from_file

    wanted = importing.Wanted(
        front_end=choose_front_end(front_end),
        name=name or name_from_file(file),
        mean_vec=importing.read_mean_vec(mean_vec) if mean_vec else None,
        **options,
    )
    told = _told(importing.import_network(file, wanted))
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"wrote {told['folder']}")
    for key in ("dim", "min_frames", "precision", "front_end", "sha256", "lowest_cosine"):
        click.echo(f"  {key:<13} {told[key]}")
    click.echo("not calibrated: there is no default threshold; see speakerd evaluate --calibrate")


def _told(imported: Imported) -> dict[str, Any]:
    card = imported.card
    return {
        "folder": str(imported.folder),
        "name": card.identity.name,
        "version": card.identity.version,
        "dim": card.dim,
        "min_frames": card.min_frames,
        "precision": card.precision,
        "front_end": card.identity.front_end,
        "licence": card.licence,
        "origin": card.origin,
        "sha256": card.sha256,
        "lowest_cosine": round(imported.lowest_cosine, 9),
        "highest_relative_difference": imported.highest_relative,
    }
