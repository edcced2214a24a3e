"""A backend that computes on one thread of its own, whoever calls it.

CUDA's current device belongs to a thread, and ONNX Runtime finds a captured graph again only on the
thread that captured it; the batcher warms a backend on one thread and works it on another.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from speakerd_server.engine.backend import Backend
from speakerd_server.values import Float32, Int64


class OwnThread:
    """Runs a backend, from its making to its closing, on one thread.

    Args:
        make: Makes the backend; what it raises is raised.
        name: Of the thread.
    """

    def __init__(self, make: Callable[[], Backend], name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        try:
            self._backend = self._thread.submit(make).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give the backend's memory; see `Backend.buffers`."""
        return self._backend.buffers(windows, samples, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch; see `Backend.embed`."""
        return self._thread.submit(self._backend.embed, pcm, rows).result()

    def close(self) -> None:
        """Close the backend and end the thread, also where closing fails."""
        try:
            self._thread.submit(self._backend.close).result()
        finally:
            self._thread.shutdown()
