"""`speakerd model`: list, show, export, import, quantize."""

from __future__ import annotations

import click


@click.group()
def model() -> None:
    """Make, look at and convert model bundles."""
