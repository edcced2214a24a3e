"""The whole graph from PCM windows to embeddings: front end, frame rows, mean removal, network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from speakerd_server.models.campplus import DIM, CamPlusPlus
from speakerd_server.models.front_end import FLOOR, SHIFT_SAMPLES, FrontEnd
from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.parameters import Parameters

SPECTRUM = "front_end_spectrum"
"""Name of the one array of the graph in which front end families differ."""


def build_embedder(
    parameters: Mapping[str, NDArray[Any]],
    front_end: FrontEnd,
    metadata: Mapping[str, str],
    *,
    half_weights: bool,
) -> bytes:
    """Build the ONNX file of CAM++ from PCM to embeddings.

    The graph's inputs are `pcm` float32[B, N] in [-1, 1] and `rows` int64[B, T], where frame r is
    pcm[160 r : 160 r + 400]; its output is `embeddings` float32[B, 192], not length-normalised.

    Args:
        parameters: Those of the checkpoint.
        front_end: Kept in float32.
        metadata: Written to the file's properties.
        half_weights: Store the network's matrices as float16.

    Returns:
        The serialised model; the same bytes for the same arguments.

    Raises:
        CheckpointRefused: A parameter is missing, misshapen or unknown.
    """
    graph = GraphBuilder(half_weights=half_weights)
    features = _add_front_end(graph, front_end)
    embeddings = CamPlusPlus(graph, Parameters(parameters)).add(features)
    inputs = [
        helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["B", "N"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["B", "T"]),
    ]
    return graph.model(inputs, {"embeddings": (embeddings, ["B", DIM])}, metadata)


def _add_front_end(graph: GraphBuilder, front_end: FrontEnd) -> str:
    """Log-mel features of the wanted rows, their mean over time removed: [B, 1, 80, T]."""
    op, integers = graph.op, graph.integers
    frames = op("Unsqueeze", "pcm", integers(1, 2))
    kernels = graph.constant(front_end.spectrum[:, None, None, :], SPECTRUM)
    parts = op("Conv", frames, kernels, strides=[1, SHIFT_SAMPLES])
    mel = graph.constant(front_end.mel[:, :, None, None], "front_end_mel")
    energies = op("Conv", op("Mul", parts, parts), mel)
    log_mel = op("Log", op("Max", energies, graph.constant(np.array(FLOOR))))
    by_frame = op("Transpose", op("Squeeze", log_mel, integers(2)), perm=[0, 2, 1])
    chosen = op("GatherND", by_frame, op("Unsqueeze", "rows", integers(2)), batch_dims=1)
    free = op("Sub", chosen, op("ReduceMean", chosen, axes=[1], keepdims=1))
    return op("Unsqueeze", op("Transpose", free, perm=[0, 2, 1]), integers(1))
