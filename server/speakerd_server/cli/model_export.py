"""`speakerd model export`: a WeSpeaker experiment becomes a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.errors import ExtraMissing

if TYPE_CHECKING:
    from speakerd_server.models.exporting import Exported

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--config", required=True, type=_PATH, help="The experiment's config.yaml.")
@click.option("--checkpoint", required=True, type=_PATH, help="Its weights, such as avg_model.pt.")
@click.option("--mean-vec", type=_PATH, help="Vector (.npy) to subtract from every embedding.")
@click.option(
    "--output", required=True, type=_PATH, help="Folder that OUTPUT/NAME/VERSION goes to."
)
@click.option("--name", default="", help="Of the bundle.  [default: from the config's model]")
@click.option("--version", default="1", show_default=True, help="Of the bundle.")
@click.option("--licence", default="LicenseRef-unknown", show_default=True, help="SPDX identifier.")
@click.option("--features", is_flag=True, help="Also write features.onnx, feats -> embs.")
@click.option("--float16", "half_weights", is_flag=True, help="Store matrices in half the size.")
@click.option("--force", "replace", is_flag=True, help="Replace a bundle that is there already.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def export(*, as_json: bool, **options: Any) -> None:
    """Make a bundle of a WeSpeaker experiment.

    ResNet 18 to 293, ECAPA-TDNN and CAM++ with TSTP, ASTP, TAP or TSDP pooling. The checkpoint
    is read as weights alone; nothing in it is executed. Where torchaudio is installed, the front
    end is compared with it and nothing is written if they differ. Exit code 2 and a message that
    names what does not fit when there is no bundle.
    """
    try:
        from speakerd_server.models.exporting import Wanted
        from speakerd_server.models.exporting import export as make
    except ModuleNotFoundError as error:
        raise ExtraMissing("models", error.name or "onnx") from error
    exported = make(Wanted(**options))
    if exported.front_end_difference is None:
        click.echo(
            "speakerd: torchaudio is not there, so the front end was not compared with it", err=True
        )
    told = _told(exported)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"wrote {told['folder']}: {told['architecture']} with {told['pooling']}")
    for key in ("dim", "min_frames", "precision", "front_end", "sha256", "features"):
        if told[key] is not None:
            click.echo(f"  {key:<10} {told[key]}")


def _told(exported: Exported) -> dict[str, Any]:
    card = exported.card
    return {
        "folder": str(exported.folder),
        "name": card.identity.name,
        "version": card.identity.version,
        "architecture": exported.experiment.architecture,
        "pooling": exported.experiment.pooling,
        "dim": card.dim,
        "min_frames": card.min_frames,
        "precision": card.precision,
        "front_end": card.identity.front_end,
        "front_end_difference": exported.front_end_difference,
        "sha256": card.sha256,
        "features": str(exported.features) if exported.features else None,
    }
