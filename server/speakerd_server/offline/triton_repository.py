"""A model repository for NVIDIA's Triton, written for a bundle.

`speaker` is WeSpeaker's Triton recipe as one model: samples of a whole utterance in, its embedding
out. `speaker_windows` takes windows, as speakerd's own engines do; a speakerd whose engine is
elsewhere asks for it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerd_server.cards import Bundle
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.errors import ExtraMissing, OutputUnusable
from speakerd_server.offline.gpu_networks import networks_of
from speakerd_server.offline.triton_config import Configuration, Port
from speakerd_server.values import Float32

SPEAKER = "speaker"
WINDOWS = "speaker_windows"
ONNX, TENSORRT, PYTHON = FORMS = ("onnx", "tensorrt", "python")
_VERSION = "1"
_MODEL_PROGRAM = Path(__file__).with_name("triton_model.py")
_ONNX_RUNTIME = 'backend: "onnxruntime"'
_PYTHON = 'backend: "python"'
_TENSORRT = 'platform: "tensorrt_plan"'

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Repository:
    """What is wanted of a repository."""

    form: str
    """What computes: onnx (Triton's ONNX Runtime), tensorrt (a plan) or python."""
    on_gpu: bool
    """Whether Triton computes on GPUs; always with a plan, never with python."""
    precision: str
    """Of the network on a GPU: float32 or float16."""
    max_batch: int
    """Most windows at once."""
    instances: int
    """Batches at the same time: on the host, or on each GPU."""
    queue_delay_us: int
    """Longest wait for others to share a batch, in microseconds."""


def write_repository(
    folder: Path,
    bundle: Bundle,
    wanted: Repository,
    plan: Callable[[], bytes] | None = None,
    *,
    replace: bool = False,
) -> list[Path]:
    """Write the two models into a folder, each whole or not at all, and give their folders.

    Args:
        folder: Of the repository; made where it does not exist, other models in it are left alone.
        bundle: Verified.
        wanted: The form.
        plan: Builds the TensorRT plan, for that form alone.
        replace: Whether models of these names that are there are replaced.

    Raises:
        OutputUnusable: One is there already, or the folder cannot be written.
        ExtraMissing: Making graphs needs `onnx`.
        ModelUnusable: The model has no graph for a GPU (its layers are 8-bit).
    """
    targets = [folder / name for name in (SPEAKER, WINDOWS)]
    for target in targets:
        if target.exists() and not replace:
            raise OutputUnusable(target, "it is there already; give --force to replace it")
    models = {SPEAKER: _speaker(bundle, wanted), WINDOWS: _windows(bundle, wanted, plan)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target in targets:
            _write_model(target, models[target.name])
    except OSError as error:
        raise OutputUnusable(folder, error.strerror or str(error)) from error
    return targets


def _speaker(bundle: Bundle, wanted: Repository) -> Files:
    """Give the files of the model of whole utterances; beside a plan it is one of ONNX Runtime."""
    samples = bundle.card.samples_per_chunk
    audio = Port("WAV", "FP32", example=(samples, "WAV"))
    output = Port("EMBEDDINGS", "FP32", bundle.card.dim)
    network = _network(bundle, wanted)
    if wanted.form != PYTHON:
        network = _for_utterances(network, bundle.card.dim)
    configuration = Configuration(
        name=SPEAKER,
        runs=_PYTHON if wanted.form == PYTHON else _ONNX_RUNTIME,
        inputs=[audio],
        output=output,
        max_batch=wanted.max_batch,
        instances=wanted.instances,
        on_gpu=wanted.on_gpu,
        queue_delay_us=wanted.queue_delay_us,
        parameters=_parameters(bundle, wanted),
        is_ragged=wanted.form == PYTHON,
    )
    return _files(configuration, {"model.onnx": network}, {"WAV": _noise(samples).tobytes()})


def _windows(bundle: Bundle, wanted: Repository, plan: Callable[[], bytes] | None) -> Files:
    frames = 1 + (bundle.card.samples_per_chunk - 400) // 160
    samples = buffer_samples(frames)
    configuration = Configuration(
        name=WINDOWS,
        runs={ONNX: _ONNX_RUNTIME, PYTHON: _PYTHON, TENSORRT: _TENSORRT}[wanted.form],
        inputs=[
            Port("pcm", "FP32", example=(samples, "pcm")),
            Port("rows", "INT64", example=(frames, "rows")),
        ],
        output=Port("embeddings", "FP32", bundle.card.dim),
        max_batch=wanted.max_batch,
        instances=wanted.instances,
        on_gpu=wanted.on_gpu,
        queue_delay_us=wanted.queue_delay_us,
        parameters=_parameters(bundle, wanted),
        is_ragged=wanted.form == PYTHON,
    )
    computed = {"model.onnx": _network(bundle, wanted)} if plan is None else {"model.plan": plan()}
    rows = np.arange(frames, dtype="<i8").tobytes()
    return _files(configuration, computed, {"pcm": _noise(samples).tobytes(), "rows": rows})


def _parameters(bundle: Bundle, wanted: Repository) -> Mapping[str, int]:
    """Give each batch one processor: many batches of one thread give the most windows."""
    if wanted.on_gpu:
        return {}
    threads = {"intra_op_thread_count": 1, "inter_op_thread_count": 1}
    if wanted.form == PYTHON:
        return {**threads, "min_frames": bundle.card.min_frames}
    return threads


def _network(bundle: Bundle, wanted: Repository) -> bytes:
    if wanted.on_gpu:
        return networks_of(bundle).make(wanted.precision, None)
    return bundle.onnx_path.read_bytes()


def _for_utterances(network: bytes, dim: int) -> bytes:
    try:
        from speakerd_server.models.utterance_graph import utterance_graph
    except ModuleNotFoundError as error:
        raise ExtraMissing("models", error.name or "onnx") from error
    return utterance_graph(network, dim, "WAV", "EMBEDDINGS")


def _files(configuration: Configuration, computed: Files, warm_up: Files) -> Files:
    files = {"config.pbtxt": configuration.text.encode()}
    files |= {f"{_VERSION}/{name}": content for name, content in computed.items()}
    files |= {f"warmup/{name}": content for name, content in warm_up.items()}
    if configuration.runs == _PYTHON:
        files[f"{_VERSION}/model.py"] = _MODEL_PROGRAM.read_bytes()
    return files


def _noise(samples: int) -> Float32:
    noise: Float32 = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype("<f4")
    return noise


def _write_model(target: Path, files: Files) -> None:
    """Write beside the target and then put it in its place; raises OSError and leaves nothing."""
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        beside.chmod(0o755)
        if target.exists():
            old = beside / "replaced"
            target.rename(old)
            beside.rename(target)
            shutil.rmtree(target / "replaced")
        else:
            beside.rename(target)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(beside)
        raise
