"""Engine files of a model: found in a cache folder, or built into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speakerd_server.cards import Bundle
from speakerd_server.engine.engine_file import EngineFile, check_writable, find_engine, write_engine
from speakerd_server.engine.engine_key import EngineKey, build_command, model_of, profiles_of
from speakerd_server.engine.lane import LaneSizes
from speakerd_server.engine.tensorrt_build import Told, build_plan
from speakerd_server.engine.tensorrt_library import Library
from speakerd_server.errors import EngineFileMissing, EngineFileRefused


@dataclass(frozen=True, slots=True)
class Networks:
    """The graphs of one model for a GPU, made when they are needed."""

    make: Callable[[str, tuple[int, int] | None], bytes]
    """Gives the ONNX file of a precision, for windows of one N and T or (None) of any.

    Raises ModelUnusable or ExtraMissing."""
    recipe: int
    """Counts changes of what it makes."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """An engine that is wanted."""

    bundle: Bundle
    """The model."""
    sizes: LaneSizes
    """Of the lanes that will use it."""
    samples_per_chunk: int
    """That the usual windows are derived from."""
    precision: str
    """float32 or float16."""
    library: Library
    """That builds and runs it."""
    target: str
    """See `EngineKey.target`."""
    device: str
    """gpu:N, for the command that an error names."""

    def key(self, networks: Networks) -> EngineKey:
        """Give what the engine is of and for."""
        card = self.bundle.card
        return EngineKey(
            model=model_of(card),
            model_sha256=card.sha256,
            front_end=card.identity.front_end,
            precision=self.precision,
            recipe=networks.recipe,
            library=self.library.name,
            library_version=self.library.version,
            target=self.target,
            profiles=profiles_of(self.sizes, card.min_frames),
        )


def build_engine(
    request: EngineRequest, networks: Networks, told: Told = lambda phase: None
) -> EngineFile:
    """Build an engine; nothing is written.

    Raises:
        EngineBuildFailed: The library cannot.
        ModelUnusable: The model has no graph for a GPU.
        ExtraMissing: What makes the graph is not installed.
        KeyboardInterrupt: SIGINT came meanwhile.
    """
    key = request.key(networks)
    network = networks.make(request.precision, None)
    return EngineFile(key, build_plan(request.library, network, key, told))


def obtain_engine(
    request: EngineRequest, networks: Networks, folder: Path, may_build: bool
) -> EngineFile:
    """Find the engine in a cache folder, or build it into it.

    Args:
        request: The engine.
        networks: Its model's graphs.
        folder: The cache.
        may_build: Whether one that is missing, damaged or stale is built.

    Raises:
        EngineFileMissing: There is none, and none may be built.
        EngineFileRefused: It is damaged, or only others of this model are there.
        EngineBuildFailed: The library cannot build it.
        OutputUnusable: It cannot be written.
    """
    key = request.key(networks)
    command = build_command(
        request.bundle.onnx_path.parent, key, request.device, request.samples_per_chunk, folder
    )
    try:
        return find_engine(folder, key, command)
    except (EngineFileMissing, EngineFileRefused):
        if not may_build:
            raise
    check_writable(folder / key.file_name)
    engine = build_engine(request, networks)
    write_engine(folder, engine)
    return engine
