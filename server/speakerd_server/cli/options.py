"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_MODEL = "campplus"
MODEL_VARIABLE = "SPEAKERD_MODEL_DEFAULT"


def model_option(command: F) -> F:
    """Give a command `--model`, the parameter `model: str`, for `models.choice.find_bundle`."""
    option = click.option(
        "--model",
        default=DEFAULT_MODEL,
        show_default=True,
        envvar=MODEL_VARIABLE,
        metavar="NAME|FOLDER",
        help=f"Shipped model (NAME or NAME/VERSION) or a bundle's folder; also {MODEL_VARIABLE}.",
    )
    return option(command)
