"""`speakerd model`: list, show, export, import, quantize, cohort, build-engine, triton-repo."""

from __future__ import annotations

import click

from speakerd_server.cli.model_build_engine import build_engine
from speakerd_server.cli.model_cohort import cohort
from speakerd_server.cli.model_export import export
from speakerd_server.cli.model_import import import_network
from speakerd_server.cli.model_quantize import quantize
from speakerd_server.cli.model_show import list_models, show_model
from speakerd_server.cli.model_triton_repo import triton_repo


@click.group()
def model() -> None:
    """Make, look at and convert model bundles."""


model.add_command(build_engine)
model.add_command(cohort)
model.add_command(export)
model.add_command(import_network)
model.add_command(quantize)
model.add_command(list_models)
model.add_command(show_model)
model.add_command(triton_repo)
