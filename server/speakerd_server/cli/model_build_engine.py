"""`speakerd model build-engine`: a TensorRT engine of a bundle, for a GPU here or elsewhere."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.errors import EngineBuildFailed, ExtraMissing, OptionInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from speakerd_server.cards import Bundle
    from speakerd_server.engine.engine_file import EngineFile
    from speakerd_server.engine.tensorrt_cache import EngineRequest, Networks
    from speakerd_server.engine.tensorrt_library import Library

_PATH = click.Path(path_type=Path)
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")


@click.command("build-engine", short_help="Build a TensorRT engine for a GPU.")
@click.argument("model", metavar="MODEL")
@click.option("--device", metavar="gpu:N", help="For this GPU of this machine.  [default: gpu:0]")
@click.option(
    "--compute-capability",
    metavar="X.Y",
    help="For all GPUs of it, such as 8.9; needs no GPU here (tensorrt_rtx only).",
)
@click.option(
    "--library",
    type=click.Choice(["auto", "tensorrt", "tensorrt_rtx"]),
    default="auto",
    show_default=True,
    help="Which TensorRT builds it, and will run it.",
)
@click.option(
    "--precision",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Of the network; the front end is float32 always.",
)
@click.option("--samples-per-chunk", type=int, help="Length of full windows.  [default: card's]")
@click.option(
    "--max-batch", type=click.IntRange(1, 256), default=64, show_default=True, help="Of these."
)
@click.option(
    "--longest-s",
    type=click.FloatRange(1, 60),
    default=30.0,
    show_default=True,
    help="Longest window computed in one piece; longer ones are cut.",
)
@click.option(
    "--cache-folder",
    type=_PATH,
    default=Path("engines"),
    show_default=True,
    help="Where the file goes, under a name that says what it is of and for.",
)
@click.option("--output", type=_PATH, help="Write this file instead.")
@click.option("--force", is_flag=True, help="Build it even where it is there and whole.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def build_engine(
    *,
    model: str,
    device: str | None,
    compute_capability: str | None,
    library: str,
    precision: str,
    samples_per_chunk: int | None,
    max_batch: int,
    longest_s: float,
    cache_folder: Path,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    """Build a TensorRT engine of MODEL (a shipped model's name or a bundle's folder).

    The daemon uses it with the same model, precision, window length and largest batch, on a GPU
    of that kind, with the same version of the library; it refuses any other. An engine that is
    there and whole is left alone. Exit code 2 and a message when there is none in the end.
    """
    from speakerd_server.models.bundle import load_bundle
    from speakerd_server.models.choice import find_bundle
    from speakerd_server.offline.gpu_networks import networks_of

    bundle = load_bundle(find_bundle(model))
    networks = networks_of(bundle)
    chosen, target = _target(bundle, device, compute_capability, library)
    request = _request(
        bundle,
        chosen,
        (target, device or "gpu:0"),
        precision,
        samples_per_chunk,
        max_batch,
        longest_s,
    )
    path = output or cache_folder / request.key(networks).file_name
    _show(path, *_built(path, request, networks, force=force), as_json=as_json)
    return 0


def _target(
    bundle: Bundle, device: str | None, compute_capability: str | None, wanted: str
) -> tuple[Library, str]:
    """Choose the library and name the GPUs that the engine is for."""
    from speakerd_server.engine.devices import find_gpu, parse_device
    from speakerd_server.engine.engine_key import model_of
    from speakerd_server.engine.tensorrt_build import check_target
    from speakerd_server.engine.tensorrt_library import (
        FULL,
        LIBRARIES,
        installed_libraries,
        target_of,
    )

    if device is not None and compute_capability is not None:
        raise OptionInvalid("--compute-capability", "give it or --device, not both")
    if compute_capability is not None and not _CAPABILITY.fullmatch(compute_capability):
        problem = f"{compute_capability!r} is none; write it like 8.9"
        raise OptionInvalid("--compute-capability", problem)
    libraries = installed_libraries(LIBRARIES if wanted == "auto" else [wanted])
    if not libraries:
        raise _missing(bundle, wanted)
    if compute_capability is None:
        asked = parse_device(device or "gpu:0")
        if asked.gpu is None:
            raise OptionInvalid("--device", "engines are for GPUs: write gpu:N")
        gpu = find_gpu(asked)
        fitting = [one for one in libraries if one.can_run_on(gpu.compute_capability)]
        library = (fitting or libraries)[0]
        check_target(library, gpu.compute_capability, model_of(bundle.card))
        return library, library.target_of(gpu)
    elsewhere = [one for one in libraries if one.name != FULL]
    if not elsewhere:
        problem = f"{FULL} builds for a GPU that is in this machine only: give --device"
        raise OptionInvalid("--compute-capability", problem)
    check_target(elsewhere[0], compute_capability, model_of(bundle.card))
    return elsewhere[0], target_of(compute_capability)


def _missing(bundle: Bundle, wanted: str) -> EngineBuildFailed | ExtraMissing:
    from speakerd_server.engine.engine_key import model_of
    from speakerd_server.engine.tensorrt_library import FULL

    if wanted == FULL:
        problem = f"the Python package {FULL} is not installed; NVIDIA's own index has it"
        return EngineBuildFailed(model_of(bundle.card), problem)
    return ExtraMissing("tensorrt", "tensorrt_rtx")


def _request(
    bundle: Bundle,
    library: Library,
    where: tuple[str, str],
    precision: str,
    samples_per_chunk: int | None,
    max_batch: int,
    longest_s: float,
) -> EngineRequest:
    from speakerd_server.engine.opening import lane_sizes
    from speakerd_server.engine.tensorrt_cache import EngineRequest
    from speakerd_server.windows.arithmetic import WHOLE_SIGNAL, check_samples_per_chunk

    samples = bundle.card.samples_per_chunk if samples_per_chunk is None else samples_per_chunk
    if samples == WHOLE_SIGNAL:
        problem = "whole signals have a profile of their own in every engine; give a window length"
        raise OptionInvalid("--samples-per-chunk", problem)
    check_samples_per_chunk(samples, bundle.card)
    if math.isnan(longest_s):
        raise OptionInvalid("--longest-s", "nan is no number of seconds; give 1 to 60")
    return EngineRequest(
        bundle=bundle,
        sizes=lane_sizes(bundle, samples, max_batch, longest_s),
        samples_per_chunk=samples,
        precision=precision,
        library=library,
        target=where[0],
        device=where[1],
    )


def _built(
    path: Path, request: EngineRequest, networks: Networks, *, force: bool
) -> tuple[EngineFile, float | None]:
    """Give the engine at a path, and the seconds that its building took; None: it was there."""
    from speakerd_server.engine.engine_file import check_writable, read_engine, write_engine_to
    from speakerd_server.engine.tensorrt_cache import build_engine as build
    from speakerd_server.errors import EngineFileMissing, EngineFileRefused

    if not force:
        try:
            return read_engine(path, request.key(networks), "--force"), None
        except (EngineFileMissing, EngineFileRefused):
            # What is there is of no use to the daemon either.
            pass
    check_writable(path)
    begin_s = time.monotonic()
    engine = build(request, networks, _phases())
    seconds = time.monotonic() - begin_s
    write_engine_to(path, engine)
    return engine, seconds


def _phases() -> Callable[[str], None]:
    """Give what writes each phase to a terminal when it comes first, and nothing to a pipe."""
    seen = set[str]()

    def tell(phase: str) -> None:
        if phase not in seen and sys.stderr.isatty():
            click.echo(f"  {phase}", err=True)
        seen.add(phase)

    return tell


def _show(path: Path, engine: EngineFile, seconds: float | None, *, as_json: bool) -> None:
    told: dict[str, Any] = {
        "path": str(path),
        "built": seconds is not None,
        "seconds": None if seconds is None else round(seconds, 2),
        "size_bytes": path.stat().st_size,
        **engine.key.to_fields(),
    }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    took = "is there already" if seconds is None else f"built in {seconds:.1f} s"
    click.echo(f"{path}: {took}, {told['size_bytes'] / 1e6:.1f} MB")
    key = engine.key
    rows = [
        ("model", f"{key.model}, {key.precision}"),
        ("runs on", key.target),
        ("library", f"{key.library} {key.library_version}"),
    ]
    for name, profile in zip(("full windows", "any length"), key.profiles, strict=True):
        windows, frames = profile.windows, profile.frames
        length = str(frames[0]) if frames[0] == frames[2] else f"{frames[0]} to {frames[2]}"
        rows.append((name, f"{length} frames, up to {windows[2]} windows"))
    for name, value in rows:
        click.echo(f"  {name:<14}{value}")
