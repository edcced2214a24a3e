"""ONNX Runtime on a GPU: bound pinned memory, and a CUDA graph for each batch size.

Weights are each lane's own: ONNX Runtime allows one run at a time of a session that replays
CUDA graphs, and two lanes are there to run at the same time.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from speakerd_server.engine.bound_sessions import BoundSessions, failure_of
from speakerd_server.engine.cuda_place import CudaPlace
from speakerd_server.engine.devices import CPU_PROVIDER, CUDA_PROVIDER, look_for_gpus
from speakerd_server.engine.lane import Lane, LaneSizes, lane_memory
from speakerd_server.errors import DeviceUnavailable, ModelUnusable

_log = logging.getLogger(__name__)

_REPLAYS_SAFELY = (1, 31, 1)

Provider = str | tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class WindowGraphs:
    """The ONNX files of one model in one precision."""

    path: Path
    """The bundle's ONNX file, which errors name."""
    usual: bytes
    """For windows of the usual N and T."""
    other: bytes
    """For any N and T."""


def open_cuda_lane(graphs: WindowGraphs, sizes: LaneSizes, number: int) -> Lane:
    """Open one lane on a GPU, every bucket prepared; on the thread that will use it.

    Raises:
        DeviceUnavailable: There is no such GPU, or ONNX Runtime cannot use it.
        ModelUnusable: ONNX Runtime cannot load the graph.
        DeviceOutOfMemory: The GPU has no memory for it.
    """
    place = CudaPlace(number)
    try:
        memory = lane_memory(place, sizes)
        # Copies and kernels are on one stream, so that they are in order without waiting.
        usual = _open_usual(graphs, place)
        other = _open(graphs.path, graphs.other, _cuda(place, search="HEURISTIC"))
        program = BoundSessions(usual, other, place, memory, sizes)
        program.warm()
    except BaseException:
        place.close()
        raise
    return Lane(place, memory, program, sizes)


def open_session(path: Path, content: bytes, providers: Sequence[Provider]) -> ort.InferenceSession:
    """Load a graph for exactly these providers, without CUDA's where its libraries are missing.

    Raises:
        ModelUnusable: ONNX Runtime cannot load it.
        DeviceOutOfMemory: The device has no memory for it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Its fallback writes to standard output what failed, and goes on with the processor.
        return ort.InferenceSession(
            content, options, providers=list(providers), enable_fallback=False
        )
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        named = failure_of(error)
        if named is not None:
            raise named from error
        problem = f"ONNX Runtime cannot load {path.name} ({error})"
        raise ModelUnusable(path.parent, problem) from error


def _open_usual(graphs: WindowGraphs, place: CudaPlace) -> ort.InferenceSession:
    """Load the graph of the usual windows, with CUDA graphs where they can be trusted."""
    plain = _cuda(place, search="EXHAUSTIVE")
    if not replays_safely(ort.__version__):
        cause = f"ONNX Runtime {ort.__version__} may replay what is overwritten"
        _log.warning("no cuda graphs", extra={"cause": cause})
        return _open(graphs.path, graphs.usual, plain)
    try:
        recorded = _cuda(place, search="EXHAUSTIVE", enable_cuda_graph="1")
        return _open(graphs.path, graphs.usual, recorded)
    except ModelUnusable as error:
        if "graph capture" not in error.problem:
            raise
        _log.warning("no cuda graphs", extra={"cause": error.problem})
    return _open(graphs.path, graphs.usual, plain)


def replays_safely(version: str) -> bool:
    """Tell whether CUDA graphs of a version of ONNX Runtime stay right after other runs.

    Before 1.31.1 a graph with Concat or GatherND copied from host memory that was given back after
    the capture (its pull requests 32120 and 32121).
    """
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return numbers is not None and tuple(map(int, numbers.groups())) >= _REPLAYS_SAFELY


def _open(path: Path, content: bytes, providers: Sequence[Provider]) -> ort.InferenceSession:
    missing = load_cuda_libraries()
    session = open_session(path, content, providers)
    # ONNX Runtime goes on without a provider that cannot be loaded.
    if CUDA_PROVIDER not in session.get_providers():
        found = f"{look_for_gpus()}; {missing or 'the provider could not be loaded'}"
        raise DeviceUnavailable(f"{CUDA_PROVIDER} of ONNX Runtime", found)
    return session


def load_cuda_libraries() -> str:
    """Load the CUDA libraries that came as packages of pip; give what is said of missing ones."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        ort.preload_dlls()
    return " ".join(said.getvalue().split())


def _cuda(place: CudaPlace, search: str, **more: str) -> list[Provider]:
    """Give the providers: float32 stays float32, and memory is taken as it is needed."""
    settings: dict[str, Any] = {
        "device_id": str(place.number),
        "user_compute_stream": str(place.stream_address),
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": search,
        **more,
    }
    return [(CUDA_PROVIDER, settings), CPU_PROVIDER]
