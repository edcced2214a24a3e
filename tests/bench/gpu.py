"""Windows per second on a GPU, bare and through the whole service, against two ceilings.

    python tests/bench/gpu.py [--device gpu:0] [--output docs/measurements/gpu-NAME.md]

in an environment of `deploy/install.sh --gpu`, or of the packages it names. Prints one JSON line.
For CAM++, ResNet34 and ECAPA-TDNN c512 (random weights), batches of 1 to 128 windows of 198
frames, each backend that is installed and each precision: windows/s of two lanes, medians over the
rounds, and the lowest cosine to the processor's float32 embeddings (bars 0.99999 and 0.999). The
ceilings, in the same run: copies of page-locked memory to the GPU, and the product of two square
matrices. The service: Embed of one window at a time, closed loop, against the bare rate of its
largest batch, measured just before (bar 0.95). Where there is no GPU it says what there is and ends
with exit code 3.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnxruntime as ort
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.devices import Device, Gpu, look_for_gpus, parse_device
from speakerd_server.engine.gpu_settings import ONNX_RUNTIME, GpuSettings
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.opening import Opening, open_backends
from speakerd_server.engine.tensorrt_cache import Networks
from speakerd_server.engine.tensorrt_library import installed_libraries
from speakerd_server.errors import SpeakerdError
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.gpu_networks import networks_of
from support import wire
from support.daemon import Daemon
from support.gpu_bench import (
    copy_gb_per_s,
    matrix_tflop_per_s,
    median_of,
    operations,
    windows_per_s,
)
from support.gpu_note import note
from support.load import closed_loop
from support.shared import ROOT
from support.sounds import lowest_cosine, window
from support.speech import noise, pcm16

NO_GPU = 3
FRAMES = 198
SAMPLES_PER_CHUNK = 32000
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
PRECISIONS = ("float32", "float16")
BARS = {"float32": 0.99999, "float16": 0.999}
ROUNDS = 5
ROUND_S = 1.0
SERVICE_BATCH = 64
CONCURRENCIES = (1, 8, 64, 256)
EXPERIMENTS = {"ResNet34": "resnet34", "ECAPA-512": "ecapa512"}


def service_flags(settings: GpuSettings, device: Device) -> list[str]:
    """Give the daemon's flags for a device: the one place where they are spelt here."""
    return [
        f"--engine-devices={device}",
        f"--gpu-library={settings.library}",
        f"--gpu-precision={settings.precision}",
        f"--gpu-batch-windows={settings.batch_windows}",
        f"--gpu-engine-folder={settings.engine_folder}",
        "--gpu-missing-engine=build",
    ]


def main() -> int:
    options = _options()
    device = parse_device(options.device)
    found = look_for_gpus()
    gpus = [gpu for gpu in found.gpus if gpu.number == device.gpu]
    if not gpus:
        sys.stderr.write(f"gpu bench: {device} is not there, so nothing was measured: {found}\n")
        return NO_GPU
    with tempfile.TemporaryDirectory() as folder:
        result = measure(gpus[0], found.driver, Path(folder), options.seconds)
    print(json.dumps(result))
    if options.output is not None:
        options.output.write_text(note(result), encoding="utf-8")
    return 0


def measure(gpu: Gpu, driver: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Measure everything; what fails is told in its row and stops nothing else."""
    libraries = [one for one in installed_libraries() if one.can_run_on(gpu.compute_capability)]
    result: dict[str, Any] = {
        "bench": "gpu",
        "date": datetime.date.today().isoformat(),
        "gpu": str(gpu),
        "driver_cuda": driver,
        "onnxruntime": f"{ort.__version__} {ort.get_device()}",
        "tensorrt": {one.name: one.version for one in libraries},
        "not_run": [one.name for one in installed_libraries() if one not in libraries],
        "copy_gb_per_s": round(copy_gb_per_s(gpu.number), 2),
        "matrix_tflop_per_s": {p: matrix_tflop_per_s(gpu.number, p) for p in PRECISIONS},
        "bare": [],
    }
    names = [*(one.name for one in libraries), ONNX_RUNTIME]
    for name, bundle in bundles(folder):
        if isinstance(bundle, str):
            row = {"model": name, "library": "", "precision": "", "failed": bundle}
            result["bare"].append(row)
            continue
        for library in names:
            for precision in PRECISIONS:
                row = {"model": name, "library": library, "precision": precision}
                settings = _settings(library, precision, max(BATCHES), folder)
                measured = bare(bundle, settings, Device(gpu.number), result, seconds)
                result["bare"].append(row | measured)
    result["service"] = [
        service(_settings(one, "float16", 64, folder), Device(gpu.number)) for one in names
    ]
    return result


def bundles(folder: Path) -> Iterator[tuple[str, Bundle | str]]:
    """Give the shipped model, and the two with random weights, or why one of them is not there."""
    yield "CAM++", load_bundle(shipped_bundle())
    checkpoints = ROOT.parent / "shared" / "reference" / "wespeaker_checkpoints"
    for name, experiment in EXPERIMENTS.items():
        yield name, _exported(checkpoints / experiment, folder / "bundles")


def _exported(source: Path, folder: Path) -> Bundle | str:
    try:
        from speakerd_server.models.exporting import Wanted, export

        wanted = Wanted(source / "config.yaml", source / "avg_model.pt", folder)
        return load_bundle(export(wanted).folder)
    except (SpeakerdError, ImportError) as error:
        return told(error)


def bare(
    bundle: Bundle,
    settings: GpuSettings,
    device: Device,
    ceilings: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Measure the bare engine at every batch size, and its distance to the processor."""
    networks = networks_of(bundle)
    try:
        with _opened(bundle, settings, device, networks) as lanes:
            windows = [window(FRAMES, seed) for seed in range(16)]
            rates = {
                batch: median_of(partial(windows_per_s, lanes, windows, batch, seconds), ROUNDS)
                for batch in BATCHES
            }
            cosine = _cosine(lanes[0], bundle)
    # Whatever a library raises, the other rows are measured.
    except Exception as error:  # noqa: BLE001
        return {"failed": told(error)}
    best = max(rates.values())
    sizes = buffer_samples(FRAMES), FRAMES
    work = operations(networks.make("float32", sizes))
    matrix = ceilings["matrix_tflop_per_s"][settings.precision]
    copied = sizes[0] * 4 + FRAMES * 8
    return {
        "windows_per_s": {str(batch): round(rate, 1) for batch, rate in rates.items()},
        "lowest_cosine": cosine,
        "cosine_bar": BARS[settings.precision],
        "share_of_matrix_rate": matrix and round(best * work / (matrix[0] * 1e12), 4),
        "share_of_copy_rate": round(best * copied / (ceilings["copy_gb_per_s"] * 1e9), 4),
    }


def service(settings: GpuSettings, device: Device) -> dict[str, Any]:
    """Measure the shipped model's bare engine, then the whole daemon with the same settings."""
    bundle = load_bundle(shipped_bundle())
    row: dict[str, Any] = {"library": settings.library, "precision": settings.precision}
    request = pb.EmbedRequest(
        audio=pb.Audio(format=wire.PCM16, content=pcm16(noise((160 * 197 + 400) / 16000)))
    )
    windows = [window(FRAMES, seed) for seed in range(16)]
    networks = networks_of(bundle)
    try:
        with _opened(bundle, settings, device, networks) as lanes:
            rates = [windows_per_s(lanes, windows, SERVICE_BATCH, ROUND_S) for _ in range(ROUNDS)]
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(Path(folder), *service_flags(settings, device))
            with daemon:
                row["rows"] = [_served(daemon, request, c, rates) for c in CONCURRENCIES]
    # Whatever a library raises, the other rows are measured.
    except Exception as error:  # noqa: BLE001
        row["failed"] = told(error)
    return row


@contextmanager
def _opened(
    bundle: Bundle, settings: GpuSettings, device: Device, networks: Networks
) -> Iterator[list[Backend]]:
    opening = Opening(bundle, settings, device, lambda: networks, SAMPLES_PER_CHUNK)
    lanes = open_backends(opening)
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.close()


def told(error: Exception) -> str:
    """Say why something was not measured, with its reason where it has one."""
    if isinstance(error, SpeakerdError):
        return f"{error} [{error.reason}]"
    return f"{type(error).__name__}: {error}"


def _served(
    daemon: Daemon, request: pb.EmbedRequest, concurrency: int, bare_rates: list[float]
) -> dict[str, Any]:
    loads = [
        asyncio.run(
            closed_loop(daemon.address, request, concurrency=concurrency, seconds=2 * ROUND_S)
        )
        for _ in range(ROUNDS)
    ]
    rate = float(np.median([load.messages / load.wall_s for load in loads]))
    bare_rate = float(np.median(bare_rates))
    return {
        "concurrency": concurrency,
        "service_per_s": round(rate, 1),
        "bare_per_s": round(bare_rate, 1),
        "ratio": round(rate / bare_rate, 3),
        "generator_cores": round(
            float(np.median([x.generator_cpu_s / x.wall_s for x in loads])), 2
        ),
        "errors": sum(sum(load.errors.values()) for load in loads),
    }


def _cosine(lane: Backend, bundle: Bundle) -> float:
    """Give the lowest cosine to the processor over windows of several lengths."""
    exact = OnnxRuntimeCpu(bundle)
    cosines: list[float] = []
    for frames in (FRAMES, FRAMES, 98, 500):
        one = window(frames, frames + len(cosines))
        pcm, rows = one.pcm[None], one.rows[None]
        cosines.append(lowest_cosine(lane.embed(pcm, rows), exact.embed(pcm, rows)))
    return round(min(cosines), 8)


def _settings(library: str, precision: str, batch_windows: int, folder: Path) -> GpuSettings:
    return GpuSettings(
        library=library,
        precision=precision,
        batch_windows=batch_windows,
        engine_folder=folder / "engines",
        missing_engine="build",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="gpu:0", help="which GPU")
    parser.add_argument("--output", type=Path, help="also write a note in Markdown")
    parser.add_argument("--seconds", type=float, default=ROUND_S, help="of each round")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
