"""How GPUs are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ONNX_RUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """How GPUs are used, where `engine.devices` names one."""

    library: str = field(
        default="auto", metadata={"choices": ("auto", ONNX_RUNTIME, "tensorrt", "tensorrt_rtx")}
    )
    """What computes on a GPU; auto: TensorRT where it is installed and can, else ONNX Runtime."""
    precision: str = field(default="float16", metadata={"choices": ("float32", "float16")})
    """Of the network on a GPU; the front end is float32 always."""
    batch_windows: int = field(default=64, metadata={"minimum": 1, "maximum": 256})
    """Most windows in one step of a GPU."""
    lanes: int = field(default=2, metadata={"minimum": 1, "maximum": 8})
    """Batches in flight on a GPU."""
    longest_s: float = field(default=30.0, metadata={"minimum": 1.0, "maximum": 60.0})
    """Longest window that a GPU computes in one piece; longer ones are cut and averaged."""
    engine_folder: Path = Path("engines")
    """Where TensorRT's engine files are."""
    missing_engine: str = field(default="refuse", metadata={"choices": ("refuse", "build")})
    """What the start does without an engine file: refuse, or build it before calls are answered."""
