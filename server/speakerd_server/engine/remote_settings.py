"""How an engine that is elsewhere is asked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How a server of KServe's protocol is used, where `engine.devices` names one."""

    model: str = "speaker_windows"
    """Its model of windows: inputs pcm and rows, output embeddings. A Triton has it by `speakerd
    model triton-repo`; another speakerd has it for its default model."""
    deadline_ms: float = field(default=5000.0, metadata={"minimum": 10.0, "maximum": 600_000.0})
    """A batch that has no answer after so long, all tries together, fails:
    REMOTE_ENGINE_UNAVAILABLE."""
    retries: int = field(default=3, metadata={"minimum": 0, "maximum": 20})
    """How often a batch is sent again where the server says UNAVAILABLE, or cannot be reached."""
    backoff_ms: float = field(default=50.0, metadata={"minimum": 1.0, "maximum": 10_000.0})
    """Wait before the first of them, more or less; twice as long before each further one."""
    lanes: int = field(default=4, metadata={"minimum": 1, "maximum": 64})
    """Batches in flight, each on a connection of its own."""
    batch_windows: int = field(default=8, metadata={"minimum": 1, "maximum": 256})
    """Largest batch that may be chosen; the server's own largest bounds it too."""
    health_interval_s: float = field(default=1.0, metadata={"minimum": 0.05, "maximum": 3600.0})
    """How often the server is asked whether it is ready. While it is not, windows fail at once and
    health says NOT_SERVING, unless other devices are there."""
