"""`speakerd model triton-repo`: a model repository for NVIDIA's Triton, of a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.errors import OptionInvalid

if TYPE_CHECKING:
    from speakerd_server.cards import Bundle
    from speakerd_server.offline.triton_repository import Repository

_PATH = click.Path(path_type=Path)
_MOST_ON = {"cpu": 8, "gpu": 64}
"""Windows of a batch, by where Triton computes."""


@click.command("triton-repo", short_help="Write a model repository for NVIDIA's Triton.")
@click.argument("model", metavar="MODEL")
@click.option("--output", required=True, type=_PATH, help="The repository's folder.")
@click.option(
    "--form",
    type=click.Choice(["onnx", "tensorrt", "python"]),
    default="onnx",
    show_default=True,
    help="Triton's backend: ONNX Runtime, a TensorRT plan, or Python with ONNX Runtime in it.",
)
@click.option(
    "--device",
    metavar="cpu|gpu",
    help="Where Triton computes.  [default: cpu; gpu for tensorrt]",
)
@click.option(
    "--precision",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Of the network on a GPU; the front end is float32 always.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1, 256),
    help="Most windows at once.  [default: 8 on cpu, 64 on gpu]",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Batches at the same time, on each GPU; on cpu give the host's processors.",
)
@click.option(
    "--queue-delay-us",
    type=click.IntRange(0, 1_000_000),
    default=1000,
    show_default=True,
    help="Longest wait for others to share a batch.",
)
@click.option(
    "--longest-s",
    type=click.FloatRange(1, 60),
    default=10.0,
    show_default=True,
    help="Longest window of a plan (tensorrt only).",
)
@click.option("--force", is_flag=True, help="Replace the two models where they are there already.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def triton_repo(
    *,
    model: str,
    output: Path,
    form: str,
    device: str | None,
    precision: str,
    max_batch: int | None,
    instances: int,
    queue_delay_us: int,
    longest_s: float,
    force: bool,
    as_json: bool,
) -> None:
    """Write a repository for MODEL (a shipped model's name or a bundle's folder).

    Two models go into it: `speaker` takes the samples of a whole utterance (WAV, FP32, 16 kHz, in
    [-1, 1]) and gives EMBEDDINGS, as WeSpeaker's recipe for Triton does; `speaker_windows` takes
    windows (pcm, rows), and is what a speakerd with the device kserve:HOST:PORT asks for. Other
    models in the folder are left alone. Exit code 2 and a message when it is not written.
    """
    from speakerd_server.models.bundle import load_bundle
    from speakerd_server.models.choice import find_bundle
    from speakerd_server.offline.triton_repository import Repository, write_repository

    bundle = load_bundle(find_bundle(model))
    place = _place(form, device)
    wanted = Repository(
        form=form,
        on_gpu=place == "gpu",
        precision=precision,
        max_batch=max_batch or _MOST_ON[place],
        instances=instances,
        queue_delay_us=queue_delay_us,
    )
    plan = _plan(bundle, wanted, longest_s)
    folders = write_repository(output, bundle, wanted, plan, replace=force)
    _show(folders, bundle, wanted, as_json=as_json)


def _place(form: str, device: str | None) -> str:
    """Give where Triton computes; raises OptionInvalid where the form cannot."""
    place = device or ("gpu" if form == "tensorrt" else "cpu")
    if place not in _MOST_ON:
        raise OptionInvalid("--device", f"{place!r} is none; write cpu or gpu")
    if form == "tensorrt" and place == "cpu":
        raise OptionInvalid("--device", "a TensorRT plan computes on GPUs")
    if form == "python" and place == "gpu":
        problem = "the python form computes on processors; on a GPU take --form onnx or tensorrt"
        raise OptionInvalid("--device", problem)
    return place


def _plan(bundle: Bundle, wanted: Repository, longest_s: float) -> Callable[[], bytes] | None:
    from speakerd_server.offline.triton_plan import PlanRequest, build, triton_library

    if wanted.form != "tensorrt":
        return None
    library, target = triton_library(bundle, "gpu:0")
    request = PlanRequest(bundle, library, target, wanted.precision, wanted.max_batch, longest_s)
    return lambda: build(request)


def _show(folders: list[Path], bundle: Bundle, wanted: Repository, *, as_json: bool) -> None:
    identity = bundle.card.identity
    if as_json:
        told = {
            "models": [{"name": one.name, "folder": str(one)} for one in folders],
            "bundle": f"{identity.name}/{identity.version}",
            "form": wanted.form,
            "device": "gpu" if wanted.on_gpu else "cpu",
            "dim": bundle.card.dim,
            "max_batch": wanted.max_batch,
            "instances": wanted.instances,
        }
        click.echo(json.dumps(told, indent=2))
        return
    for folder in folders:
        click.echo(f"wrote {folder}")
    click.echo(f"run tritonserver --model-repository={folders[0].parent}")
