"""Builds engines of a PCM-to-embedding ONNX file, before calls are answered."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from speakerd_server.engine.engine_key import EngineKey, Profile
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.tensorrt_library import (
    Library,
    collecting_logger,
    progress_monitor,
    target_of,
)
from speakerd_server.errors import EngineBuildFailed

Told = Callable[[str], None]


def build_plan(
    library: Library, network: bytes, key: EngineKey, told: Told = lambda phase: None
) -> bytes:
    """Build the engine that a key describes.

    Types are the graph's own (a strongly typed network), and products of float32 numbers are not
    rounded to TF32: front end and float32 networks stay as exact as they were.

    Args:
        library: That of the key.
        network: The ONNX file from pcm and rows to embeddings, in the key's precision.
        key: Of the engine.
        told: Called with the name of each phase of the build.

    Returns:
        What the library serialised; not the same bytes every time.

    Raises:
        EngineBuildFailed: The library cannot read the graph, has no such target, or fails.
        KeyboardInterrupt: SIGINT came meanwhile; the library has given up.
    """
    module, lines = library.module, list[str]()
    logger = collecting_logger(module, lambda: lines)
    try:
        builder = module.Builder(logger)
    except TypeError as error:
        # So its bindings say that the library made none.
        raise EngineBuildFailed(key.model, _said(lines)) from error
    flags = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    definition = builder.create_network(flags)
    parser = module.OnnxParser(definition, logger)
    if not parser.parse(network):
        errors = [str(parser.get_error(at)) for at in range(parser.num_errors)]
        problem = f"{library.name} {library.version} cannot read the graph: {_said(errors)}"
        raise EngineBuildFailed(key.model, problem)
    config = builder.create_builder_config()
    config.clear_flag(module.BuilderFlag.TF32)
    _set_target(library, config, key)
    for profile in key.profiles:
        _add_profile(builder, config, profile)
    with _interruptible() as is_stopped:

        def tell(phase: str) -> bool:
            if phase and not is_stopped():
                told(phase)
            return not is_stopped()

        # The library keeps no reference of its own.
        monitor = progress_monitor(module, tell)
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(definition, config)
    if plan is None:
        problem = f"{library.name} {library.version} fails: {_said(lines)}"
        raise EngineBuildFailed(key.model, problem)
    return bytes(plan)


def check_target(library: Library, compute_capability: str, model: str) -> None:
    """Raise EngineBuildFailed where a library has no such target."""
    if library.can_run_on(compute_capability):
        return
    raise EngineBuildFailed(
        model,
        f"{library.name} {library.version} has no target for compute capability"
        f" {compute_capability}, only {', '.join(library.targets)}; on such a GPU use ONNX Runtime,"
        " or the full tensorrt",
    )


def _set_target(library: Library, config: Any, key: EngineKey) -> None:
    """Choose the compute capability that the key means; the full library has that of its GPU."""
    for capability in library.targets:
        if key.target == target_of(capability):
            config.num_compute_capabilities = 1
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(library.module.ComputeCapability, name), 0)
            return
    if library.targets:
        raise EngineBuildFailed(key.model, f"{library.name} has no target for {key.target}")


def _add_profile(builder: Any, config: Any, profile: Profile) -> None:
    chosen = builder.create_optimization_profile()
    sizes = list(zip(profile.windows, profile.frames, strict=True))
    pcm = [(windows, buffer_samples(frames)) for windows, frames in sizes]
    chosen.set_shape("pcm", *pcm)
    chosen.set_shape("rows", *sizes)
    config.add_optimization_profile(chosen)


def _said(lines: list[str]) -> str:
    return "; ".join(lines[:3]) or "it says no more"


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let SIGINT end a build by its monitor: no exception may cross the library's own code."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted.is_set():
        raise KeyboardInterrupt
