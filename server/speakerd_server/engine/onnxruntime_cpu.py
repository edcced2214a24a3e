"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import plain_buffers
from speakerd_server.errors import ModelUnusable
from speakerd_server.values import Float32, Int64

_LARGE_FRAMES = 4096
"""A batch with more frames than this gives its memory back when it is done."""


class OnnxRuntimeCpu:
    """One session over a bundle's graph, for any number of callers at once.

    An unusually large batch does not leave the arena at its size for good.

    Args:
        bundle: Verified when it was read.
        threads: Cores that one batch may use.
        spinning: Whether its threads spin while they wait for each other within a batch: faster
            while every core is free for it, a waste of other threads' time otherwise.

    Raises:
        ModelUnusable: ONNX Runtime cannot load the graph, or the graph is not one of windows.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, *, spinning: bool = False) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = ort.InferenceSession(
                bundle.onnx_path, options, providers=["CPUExecutionProvider"]
            )
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:
            problem = f"ONNX Runtime cannot load {bundle.onnx_path.name} ({error})"
            raise ModelUnusable(bundle.onnx_path.parent, problem) from error
        if {node.name for node in self._session.get_inputs()} != {"pcm", "rows"}:
            problem = f"the inputs of {bundle.onnx_path.name} are not pcm and rows"
            raise ModelUnusable(bundle.onnx_path.parent, problem)
        self._run_options = ort.RunOptions()
        self._shrinking = ort.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give plain memory; see `Backend.buffers`."""
        return plain_buffers(windows, samples, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch; see `Backend.embed`."""
        options = self._shrinking if rows.size > _LARGE_FRAMES else self._run_options
        outputs = self._session.run(["embeddings"], {"pcm": pcm, "rows": rows}, options)
        return np.asarray(outputs[0], dtype=np.float32)

    def close(self) -> None:
        """Let go of the session."""
        del self._session
