"""Which TensorRT is installed: the full library, or that for RTX GPUs with the same Python API."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from speakerd_server.engine.devices import Gpu

FULL, RTX = "tensorrt", "tensorrt_rtx"
LIBRARIES = (FULL, RTX)
"""In the order in which they are chosen where both are there."""

_MODULES = {FULL: ("tensorrt",), RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_TARGET = "SM"


@dataclass(frozen=True, slots=True)
class Library:
    """One TensorRT library, loaded."""

    name: str
    """tensorrt or tensorrt_rtx."""
    version: str
    """In full."""
    module: Any
    """The Python module."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Give the compute capabilities that it can build for on any machine.

        The full library has none: it builds on, and for, a GPU that is there.
        """
        if self.name == FULL:
            return ()
        names = self.module.ComputeCapability.__members__
        numbers = [name[len(_TARGET) :] for name in names if name.startswith(_TARGET)]
        return tuple(f"{number[:-1]}.{number[-1]}" for number in numbers)

    def can_run_on(self, compute_capability: str) -> bool:
        """Tell whether engines of this library run on such a GPU."""
        return not self.targets or compute_capability in self.targets

    def target_of(self, gpu: Gpu) -> str:
        """Name what an engine for a GPU runs on: `EngineKey.target`."""
        if self.name == FULL:
            return f"{gpu.name} (compute capability {gpu.compute_capability})"
        return target_of(gpu.compute_capability)


def target_of(compute_capability: str) -> str:
    """Name all GPUs of a compute capability: `EngineKey.target`."""
    return f"compute capability {compute_capability}"


def installed_libraries(names: Sequence[str] = LIBRARIES) -> tuple[Library, ...]:
    """Load what is installed of these libraries, in their order."""
    found = (_load(name) for name in names)
    return tuple(library for library in found if library is not None)


class Said(threading.local):
    """What a library said, kept apart for each thread that it was called on."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """At most 20."""


def collecting_logger(module: Any, said: Callable[[], list[str]]) -> Any:
    """Make a logger for a library that keeps its errors, at most 20 lines of them, in a list."""

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                lines = said()
                lines.append(" ".join(msg.split()))
                del lines[:-20]

    return Logger()


def progress_monitor(module: Any, told: Callable[[str], bool]) -> Any:
    """Make a monitor that is told of each phase begun; the build ends where it answers False."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            told(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            """Nothing is told of an end: the next phase begins."""

        def step_complete(self, phase_name: str, step: int) -> bool:
            return told("")

    return Monitor()


def _load(name: str) -> Library | None:
    for module_name in _MODULES[name]:
        try:
            module = importlib.import_module(module_name)
        except (ImportError, OSError, RuntimeError):
            continue
        return Library(name, str(module.__version__), module)
    return None
