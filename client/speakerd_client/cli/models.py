"""speakerctl models: what the daemon embeds with."""

from __future__ import annotations

from typing import Annotated

import typer

from speakerd_client.admin_records import Model, ModelLoad, ModelStatus
from speakerd_client.blocking import Client
from speakerd_client.cli import options, render
from speakerd_client.cli.daemon_text import model_rows
from speakerd_client.cli.live import waiting

app = typer.Typer(
    rich_markup_mode=None, help="List the daemon's models; load and unload one while it runs."
)

_LOADING_S = 900.0
"""Building the engine of a large network for a GPU takes minutes."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="NAME or NAME/VERSION of the model.")]
Version = Annotated[
    str,
    typer.Option(
        "--version",
        help="Its version.  [default: the newest to load, the one its name means to unload]",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu, gpu:0, ...; empty: as the daemon's settings say."),
]
MakeDefault = Annotated[
    bool,
    typer.Option("--make-default", help="Let calls that name no model, or it alone, mean it."),
]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    address: options.Address = options.ADDRESS,
    in_json: options.Json = False,
) -> int:
    """List the daemon's models; load and unload one while it runs."""
    if context.invoked_subcommand is None:
        return list_models(address, in_json)
    given = [name for name in ("address", "in_json") if _is_given(context, name)]
    if given:
        raise typer.BadParameter(f"options come after `models {context.invoked_subcommand}`")
    return 0


@app.command("list")
def list_models(address: options.Address = options.ADDRESS, in_json: options.Json = False) -> int:
    """List the models by name and version, as `speakerctl models` does."""
    with Client(address) as client:
        found = client.list_models()
    for line in map(render.as_json, found) if in_json else model_rows(found):
        render.say(line)
    return 0


@app.command()
def load(
    name: Name,
    version: Version = "",
    device: Device = "",
    make_default: MakeDefault = False,
    address: options.Address = options.ADDRESS,
    in_json: options.Json = False,
) -> int:
    """Load a model, of the daemon's folder of models or a shipped one, and warm it up.

    Without a version the newest one there is. A model that is loaded already stays as it is.
    """
    reference = _reference(name, version)
    loading = waiting(render.printable(f"loading {reference}"))
    with Client(address, timeout_s=_LOADING_S) as client, loading:
        loaded = client.load_model(reference, device=device, make_default=make_default)
    render.say(render.as_json(loaded) if in_json else _load_text(loaded))
    return 0


@app.command()
def unload(
    name: Name,
    version: Version = "",
    address: options.Address = options.ADDRESS,
    in_json: options.Json = False,
) -> int:
    """Let no new call name a model; calls that hold it finish on it."""
    with Client(address) as client:
        model = client.unload_model(_reference(name, version))
    if in_json:
        render.say(render.as_json(model))
    else:
        render.say(render.printable(f"{model.status.name}  {model.identity}{_held_text(model)}"))
    return 0


def _reference(name: str, version: str) -> str:
    """Make NAME or NAME/VERSION; a version is given once."""
    if version and "/" in name:
        raise typer.BadParameter(f"{name} has its version already; leave out --version")
    return f"{name}/{version}" if version else name


def _held_text(model: Model) -> str:
    """Say how many calls finish on a model that is being unloaded."""
    if model.status is not ModelStatus.UNLOADING:
        return ""
    count = model.open_calls
    return "  1 call still holds it" if count == 1 else f"  {count} calls still hold it"


def _load_text(loaded: ModelLoad) -> str:
    model = loaded.model
    devices = ", ".join(each.device for each in model.devices)
    parts = [
        f"{model.status.name}  {model.identity}{f' on {devices}' if devices else ''}",
        f"{loaded.load_s:.1f} s" if loaded.load_s else "it was loaded already",
        "the default" if model.is_default else "",
    ]
    return render.printable("  ".join(filter(None, parts)))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
