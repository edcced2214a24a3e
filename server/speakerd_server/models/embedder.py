"""Whole graphs: a network behind a front end, from PCM windows to embeddings, or from features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from speakerd_server.models.campplus import DIM, MIN_FRAMES, CamPlusPlus
from speakerd_server.models.front_end import FLOOR, MEL_BINS, SHIFT_SAMPLES, FrontEnd
from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.parameters import Parameters

SPECTRUM = "front_end_spectrum"
"""Name of the one array of the graph in which front end families differ."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network that can be put behind a front end."""

    dim: int
    """Length of an embedding."""
    mel_bins: int
    """Features of a frame."""
    min_frames: int
    """Fewest frames that give finite numbers."""
    add: Callable[[GraphBuilder, str], str]
    """Adds it to a graph, from log-mel features [B, 1, mel_bins, T] to embeddings [B, dim].

    Raises CheckpointRefused when a parameter is missing, misshapen or unknown.
    """


def build_embedder(
    parameters: Mapping[str, NDArray[Any]],
    front_end: FrontEnd,
    metadata: Mapping[str, str],
    *,
    half_weights: bool,
) -> bytes:
    """Build the ONNX file of 3D-Speaker's CAM++ from PCM to embeddings; see `pcm_graph`."""
    network = Network(
        DIM, MEL_BINS, MIN_FRAMES, lambda graph, value: _campplus(graph, parameters, value)
    )
    return pcm_graph(network, front_end, metadata, half_weights=half_weights)


def pcm_graph(
    network: Network, front_end: FrontEnd, metadata: Mapping[str, str], *, half_weights: bool
) -> bytes:
    """Build the ONNX file of a network and its front end.

    The graph's inputs are `pcm` float32[B, N] in [-1, 1] and `rows` int64[B, T], where frame r is
    pcm[160 r : 160 r + 400]; its output is `embeddings` float32[B, dim], not length-normalised.

    Args:
        network: Takes as many features as the front end gives.
        front_end: Kept in float32.
        metadata: Written to the file's properties.
        half_weights: Store the network's matrices as float16.

    Returns:
        The serialised model; the same bytes for the same arguments.

    Raises:
        CheckpointRefused: A parameter is missing, misshapen or unknown.
    """
    graph = GraphBuilder(half_weights=half_weights)
    embeddings = network.add(graph, add_front_end(graph, front_end))
    inputs = [
        helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["B", "N"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["B", "T"]),
    ]
    return graph.model(inputs, {"embeddings": (embeddings, ["B", network.dim])}, metadata)


def features_graph(network: Network, metadata: Mapping[str, str], *, half_weights: bool) -> bytes:
    """Build the ONNX file of a network alone, as WeSpeaker's tools take it.

    The graph's input is `feats` float32[B, T, mel_bins], log-mel features whose mean over time is
    removed; its output is `embs` float32[B, dim]. Arguments, result and errors are `pcm_graph`'s.
    """
    graph = GraphBuilder(half_weights=half_weights)
    by_bin = graph.op("Transpose", "feats", perm=[0, 2, 1])
    embeddings = network.add(graph, graph.op("Unsqueeze", by_bin, graph.integers(1)))
    shape: list[str | int | None] = ["B", "T", network.mel_bins]
    inputs = [helper.make_tensor_value_info("feats", TensorProto.FLOAT, shape)]
    return graph.model(inputs, {"embs": (embeddings, ["B", network.dim])}, metadata)


def add_front_end(graph: GraphBuilder, front_end: FrontEnd) -> str:
    """Add log-mel features of the wanted rows of `pcm`, by its description without their mean.

    Args:
        graph: Will have the inputs `pcm` and `rows` of `pcm_graph`.
        front_end: Kept in float32.

    Returns:
        The name of a value [B, 1, mel bins, T].
    """
    op, integers = graph.op, graph.integers
    frames = op("Unsqueeze", "pcm", integers(1, 2))
    kernels = graph.constant(front_end.spectrum[:, None, None, :], SPECTRUM)
    parts = op("Conv", frames, kernels, strides=[1, SHIFT_SAMPLES])
    mel = graph.constant(front_end.mel[:, :, None, None], "front_end_mel")
    energies = op("Conv", op("Mul", parts, parts), mel)
    log_mel = op("Log", op("Max", energies, graph.constant(np.array(FLOOR))))
    by_frame = op("Transpose", op("Squeeze", log_mel, integers(2)), perm=[0, 2, 1])
    chosen = op("GatherND", by_frame, op("Unsqueeze", "rows", integers(2)), batch_dims=1)
    if front_end.mean_removed:
        chosen = op("Sub", chosen, op("ReduceMean", chosen, axes=[1], keepdims=1))
    return op("Unsqueeze", op("Transpose", chosen, perm=[0, 2, 1]), integers(1))


def _campplus(graph: GraphBuilder, parameters: Mapping[str, NDArray[Any]], features: str) -> str:
    return CamPlusPlus(graph, Parameters(parameters)).add(features)
