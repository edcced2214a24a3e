"""A bundle's graph with its frame rows made inside: samples of whole utterances to embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from speakerd_server.models.front_end import FRAME_SAMPLES, SHIFT_SAMPLES

_CONSTANTS = {"frame": FRAME_SAMPLES, "shift": SHIFT_SAMPLES, "zero": 0, "one": 1}
_ROWS = (
    ("Shape", ("audio",), "shape"),
    ("Gather", ("shape", "one"), "samples"),
    ("Sub", ("samples", "frame"), "behind"),
    ("Div", ("behind", "shift"), "shifts"),
    ("Add", ("shifts", "one"), "frames"),
    ("Range", ("zero", "frames", "one"), "in_order"),
    ("Gather", ("shape", "first"), "batch"),
    ("Reshape", ("frames", "single"), "length"),
    ("Concat", ("batch", "length"), "wanted"),
    ("Expand", ("in_order", "wanted"), "rows"),
)
"""Operator, inputs and output of each node that makes the rows 0 .. T - 1 of every window."""


def utterance_graph(content: bytes, dim: int, audio: str, embeddings: str) -> bytes:
    """Give the ONNX file that takes nothing but samples: one window over each whole row.

    Args:
        content: The ONNX file from pcm float32[B, N] and rows int64[B, T] to embeddings, with an
            opset of at least 11.
        dim: Length of an embedding.
        audio: Name of the input, float32[B, N], N at least 400.
        embeddings: Name of the output, float32[B, dim].

    Returns:
        The serialised model; it gives what the other one gives for rows 0 .. T - 1, where
        T = 1 + (N - 400) // 160.
    """
    model = onnx.load_model_from_string(content)
    graph = model.graph
    names = {"audio": audio, "rows": "rows"}

    def name(part: str) -> str:
        return names.get(part, f"utterance_{part}")

    before = [helper.make_node("Identity", [audio], ["pcm"], name="utterance_pcm")]
    for kind, inputs, output in _ROWS:
        axis: dict[str, Any] = {"axis": 0} if kind == "Concat" else {}
        made = name(output)
        before.append(helper.make_node(kind, [*map(name, inputs)], [made], name=made, **axis))
    after = helper.make_node("Identity", ["embeddings"], [embeddings], name="utterance_embeddings")
    nodes = [*before, *graph.node, after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    arrays = {part: np.array(number, np.int64) for part, number in _CONSTANTS.items()}
    arrays |= {"first": np.array([0], np.int64), "single": np.array([1], np.int64)}
    for part, array in arrays.items():
        graph.initializer.append(numpy_helper.from_array(array, name(part)))
    graph.input.append(helper.make_tensor_value_info(audio, TensorProto.FLOAT, ["B", "N"]))
    graph.output.append(helper.make_tensor_value_info(embeddings, TensorProto.FLOAT, ["B", dim]))
    return model.SerializeToString(deterministic=True)
