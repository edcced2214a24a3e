"""`speakerd model quantize`: a float bundle becomes a faster and smaller one of 8 bits."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.cli.progress import progress
from speakerd_server.cli.reading import reading, reading_options
from speakerd_server.errors import ExtraMissing, OptionInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from speakerd_server.cards import Bundle
    from speakerd_server.offline.calibration_speech import Speech
    from speakerd_server.offline.quantizing import Quantized
    from speakerd_server.offline.recordings import Reading
    from speakerd_server.values import ModelIdentity

_PATH = click.Path(path_type=Path)
_IN_PART, _NOT_GOOD_ENOUGH = 1, 1


@click.command("quantize", short_help="Make a faster bundle of 8 bits.")
@click.argument("model", metavar="MODEL")
@click.option(
    "--audio",
    required=True,
    type=_PATH,
    metavar="WAV.SCP|FOLDER",
    help="Speech like that of the model's use, a few minutes of many voices; every fourth"
    " recording is held out to judge the result by.",
)
@click.option("--wav-root", type=_PATH, help="Folder of a list's relative paths.")
@click.option(
    "--output", required=True, type=_PATH, help="Folder that OUTPUT/NAME/VERSION goes to."
)
@click.option("--name", default="", help="Of the new model.  [default: that of MODEL with -int8]")
@click.option("--version", default="1", show_default=True, help="Of the new model.")
@click.option("--limit", type=click.IntRange(min=1), help="Most recordings to use.")
@click.option(
    "--lowest-cosine",
    type=click.FloatRange(-1, 1),
    default=0.95,
    show_default=True,
    help="Write nothing where a held-out window is less like the float model's than this.",
)
@reading_options
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def quantize(
    *,
    model: str,
    audio: Path,
    wav_root: Path | None,
    output: Path,
    name: str,
    version: str,
    limit: int | None,
    lowest_cosine: float,
    channel: int | None,
    raw: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Make an 8-bit bundle of MODEL (a shipped model's name or a bundle's folder).

    Its convolutions become int8, calibrated on the windows of the given audio; the front end and
    what is too small to gain stay float32. The new model has an identity of its own: voiceprints
    of MODEL do not fit it, and it has no thresholds until it is calibrated.

    Exit code 0: written. 1: written but some files could not be read, or not written because a
    held-out window's cosine to MODEL is too low. 2: not done.
    """
    try:
        from speakerd_server.models.quantize import steps
        from speakerd_server.offline import quantizing
    except ModuleNotFoundError as error:
        raise ExtraMissing("models", error.name or "onnx") from error
    from speakerd_server.models.bundle import load_bundle
    from speakerd_server.models.choice import find_bundle
    from speakerd_server.models.naming import new_bundle_folder
    from speakerd_server.offline.calibration_speech import find_recordings

    source = load_bundle(find_bundle(model))
    identity = _identity(source, name, version)
    folder = new_bundle_folder(output, identity.name, version, force=force)
    speech = _speech(source, find_recordings(audio, wav_root, limit), reading(channel, raw))
    with progress(steps(speech.calibration), "calibrating") as done:
        made = quantizing.make_quantized(source, identity, speech, done)
    problem = made.problem(lowest_cosine)
    if not problem:
        made.write(folder)
    _show(made, speech, None if problem else folder, as_json=as_json)
    if problem:
        click.echo(f"speakerd: nothing was written: {problem}", err=True)
        return _NOT_GOOD_ENOUGH
    return _IN_PART if speech.unusable else 0


def _identity(source: Bundle, name: str, version: str) -> ModelIdentity:
    """Name the new model, never as the one it is made of."""
    old = source.card.identity
    new = replace(old, name=name or f"{old.name}-int8", version=version)
    if new == old:
        problem = f"{new.name}/{new.version} is MODEL itself, whose voiceprints would be mixed"
        raise OptionInvalid("--name", f"{problem} with the 8-bit ones; choose another")
    return new


def _speech(source: Bundle, paths: Sequence[Path], read: Reading) -> Speech:
    from speakerd_server.offline.calibration_speech import read_speech

    with progress(len(paths), "reading") as done:
        speech = read_speech(source.card, paths, read, done)
    for error in speech.unusable:
        click.echo(f"speakerd: {error} [{error.reason}]", err=True)
    return speech


def _show(made: Quantized, speech: Speech, folder: Path | None, *, as_json: bool) -> None:
    told = _told(made, speech, folder)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    if folder:
        click.echo(f"wrote {folder}")
    size, float_size = told["size_bytes"] / 1e6, told["float_size_bytes"] / 1e6
    click.echo(f"  size          {size:.1f} MB (float {float_size:.1f} MB)")
    for speed in told["speeds"]:
        click.echo(
            f"  batch {speed['batch']:<8}{speed['windows_per_s']:.1f} windows/s on one core (float"
            f" {speed['float_windows_per_s']:.1f}; ratio {speed['ratio']:.2f})"
        )
    click.echo(
        f"  cosine        mean {told['mean_cosine']:.5f}, worst {told['worst_cosine']:.5f} to the"
        f" float model on {told['held_out_windows']} held-out windows"
    )
    click.echo(
        f"  calibrated on {told['calibration_windows']} windows; {told['recordings']} recordings,"
        f" {len(told['unusable'])} unusable"
    )
    click.echo("no thresholds: they were measured for the float model; see speakerd evaluate")


def _told(made: Quantized, speech: Speech, folder: Path | None) -> dict[str, Any]:
    from speakerd_server.models.quantize import steps

    measured = asdict(made.measured)
    return {
        "folder": str(folder) if folder else None,
        "name": made.card.identity.name,
        "version": made.card.identity.version,
        "sha256": made.card.sha256,
        "size_bytes": len(made.content),
        "float_size_bytes": made.source.onnx_path.stat().st_size,
        **measured,
        "calibration_windows": steps(speech.calibration),
        "recordings": speech.recordings,
        "unusable": [str(error.path) for error in speech.unusable],
    }
