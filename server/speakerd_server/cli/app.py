"""The group of commands, `serve` and `settings`; the others have files of their own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from speakerd_server import __version__, config, logs, runtime
from speakerd_server.cli.compare import compare
from speakerd_server.cli.evaluate import evaluate
from speakerd_server.cli.extract import extract
from speakerd_server.cli.model import model
from speakerd_server.daemon import serve as serve_daemon
from speakerd_server.errors import SpeakerdError
from speakerd_server.life import Addresses

F = TypeVar("F", bound=Callable[..., Any])

_SHORT_FLAGS = {"server.workers": "--workers"}
"""Of settings whose flag has a second, shorter name."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="speakerd")
def speakerd() -> None:
    """Streaming speaker verification daemon."""


def _every_setting(command: F) -> F:
    """Give a command one flag for each setting, from the settings themselves."""
    for setting in reversed(list(config.all_settings())):
        shown = ",".join(setting.default) if isinstance(setting.default, tuple) else setting.default
        names = filter(None, (_SHORT_FLAGS.get(setting.dotted), setting.flag))
        option = click.option(
            *names,
            setting.dotted.replace(".", "__"),
            metavar=getattr(setting.kind, "__name__", "list").upper(),
            help=f"{setting.help} [default: {shown}]",
        )
        command = option(command)
    return command


@speakerd.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    envvar=config.CONFIG_VARIABLE,
    help="Settings file (TOML); deploy/speakerd.toml is an annotated one.",
)
@_every_setting
def serve(config_file: Path | None, **flags: str | None) -> None:
    """Run the daemon until SIGTERM, which lets open calls finish.

    Settings come from the file, then the environment (SPEAKERD_SECTION_FIELD), then these flags.
    Exit code 2 and a message that names the setting, file or address when it cannot start.
    """
    given = {name.replace("__", "."): value for name, value in flags.items() if value is not None}
    try:
        settings = config.load(config_file, os.environ, given)
        logs.configure(settings.logs)
        runtime.run(lambda: serve_daemon(settings, _announce))
    except SpeakerdError as error:
        click.echo(f"speakerd: {error} [{error.reason}]", err=True)
        sys.exit(2)


def _announce(addresses: Addresses) -> None:
    metrics = f", metrics on http://{addresses.metrics}/metrics" if addresses.metrics else ""
    http = f", HTTP on http://{addresses.http}" if addresses.http else ""
    click.echo(f"speakerd {__version__} serves on {addresses.grpc}{http}{metrics}")
    sys.stdout.flush()


@speakerd.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def settings(as_json: bool) -> None:
    """List every setting: file name, environment variable, flag, default, meaning."""
    rows = [
        {
            "setting": setting.dotted,
            "variable": setting.variable,
            "flag": setting.flag,
            "default": str(setting.default)
            if not isinstance(setting.default, tuple)
            else list(setting.default),
            "help": setting.help,
        }
        for setting in config.all_settings()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['setting']} = {row['default']}\n    {row['help']}")
        click.echo(f"    {row['variable']}  {row['flag']}\n")


for _command in (compare, extract, model, evaluate):
    speakerd.add_command(_command)
