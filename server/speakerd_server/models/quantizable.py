"""A bundle's float graph made ready for 8 bits, and which of its nodes are worth them.

What stays float32: everything before the frame rows are chosen (the front end), the convolutions
that read the features, and those whose work is too small to gain anything, such as the masks and
gates that are computed once for many frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from speakerd_server.errors import GraphRefused
from speakerd_server.values import Window

LEAST_SHARE = 0.0005
"""Of all multiplications of the network's convolutions: one with less stays float32."""

_SILENT = 4
INTEGER_NODES = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")
"""Operators that only 8-bit graphs have."""
_OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What becomes 8-bit."""

    convolutions: tuple[NodeProto, ...]
    """In the graph's order."""
    others: tuple[NodeProto, ...]
    """Relu and Add nodes that go with them."""
    tensors: tuple[str, ...]
    """Every activation that is rounded, sorted."""

    @property
    def names(self) -> list[str]:
        """Of all these nodes."""
        return [node.name for node in (*self.convolutions, *self.others)]


def prepare(path: Path) -> ModelProto:
    """Read a bundle's float graph with all that is constant computed and batch norms folded.

    Convolutions by ones are left out, and the mean over time is computed so that the same window
    gives the same bits in any batch: rounding to 8 bits would make much of the last bit.

    Raises:
        GraphRefused: ONNX Runtime cannot load it, or it is an 8-bit graph already.
    """
    if any(node.op_type in INTEGER_NODES for node in onnx.load(path).graph.node):
        problem = "it has 8-bit layers already; quantize the float model that it was made of"
        raise GraphRefused(path, problem)
    model = simplified(path)
    leave_out_ones(model)
    _steady_means(model)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    drop_unused(model)
    del model.graph.value_info[:]
    used = {node.domain for node in model.graph.node}
    kept = [one for one in model.opset_import if one.domain in used or one.domain in _OWN_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def choose(path: Path, model: ModelProto, window: Window) -> Chosen:
    """Choose the nodes that become 8-bit.

    Args:
        path: What an error names.
        model: As prepared.
        window: Any, of the length that the model is used with.

    Raises:
        GraphRefused: No convolution is worth it.
    """
    weights = initializers(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    behind = _behind_features(model)
    candidates = [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.name in behind
        and all(name in weights for name in node.input[1:])
    ]
    work = _multiplications(model, candidates, window)
    least = LEAST_SHARE * sum(work.values())
    convolutions = [node for node in candidates if work[node.name] >= least]
    if not convolutions:
        raise GraphRefused(path, "it has no convolution behind its first that 8 bits could serve")
    names = {node.name for node in convolutions}
    others: list[NodeProto] = []
    for node in model.graph.node:
        made = [makers.get(name) for name in node.input]
        fits = all(one is not None and one.name in names for one in made)
        if node.op_type in ("Relu", "Add") and fits:
            others.append(node)
            names.add(node.name)
    tensors = {
        name
        for node in (*convolutions, *others)
        for name in (*node.input, *node.output)
        if name and name not in weights
    }
    return Chosen(tuple(convolutions), tuple(others), tuple(sorted(tensors)))


def initializers(model: ModelProto) -> Mapping[str, TensorProto]:
    """Give the constant arrays of a graph by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def drop_unused(model: ModelProto) -> None:
    """Leave out arrays that no node takes any more."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def with_outputs(model: ModelProto, names: Sequence[str]) -> ort.InferenceSession:
    """Load a graph on one core with these values as its outputs."""
    shown = ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend([onnx.ValueInfoProto(name=name) for name in names])
    return ort.InferenceSession(
        shown.SerializeToString(), _options(), providers=["CPUExecutionProvider"]
    )


def feeds(window: Window) -> dict[str, NDArray[np.generic]]:
    """Give a window as the inputs of a bundle's graph, a batch of one."""
    return {"pcm": window.pcm[None], "rows": window.rows[None]}


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    return options


def simplified(path: Path, content: bytes | None = None) -> ModelProto:
    """Let ONNX Runtime fold what is constant; the result has ONNX's own operators alone.

    Args:
        path: The graph, and what an error names.
        content: The graph where it is not the one at `path`.

    Raises:
        GraphRefused: ONNX Runtime cannot load it.
    """
    options = _options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(written)
        try:
            ort.InferenceSession(content or path, options, providers=["CPUExecutionProvider"])
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:
            raise GraphRefused(path, f"ONNX Runtime cannot load it ({error})") from error
        return onnx.load(written)


def leave_out_ones(model: ModelProto) -> None:
    """Leave out convolutions of each channel by one, which only float32 kernels profit from."""
    weights, same = initializers(model), {}
    for node in list(model.graph.node):
        if node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in weights:
            array = numpy_helper.to_array(weights[node.input[1]])
            if array[0].size == 1 and (array == 1).all() and _group(node) == len(array):
                same[node.output[0]] = node.input[0]
                model.graph.node.remove(node)
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = same.get(name, name)


def _steady_means(model: ModelProto) -> None:
    """Compute the features' mean over time, [B, T, M] -> [B, 1, M], one window at a time.

    ONNX Runtime's ReduceMean adds in another order when there are several windows.
    """
    rows = {node.output[0] for node in _reached(model, {"rows"}) if node.op_type == "Unsqueeze"}
    chosen = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "GatherND" and rows & set(node.input)
    }
    for node in list(model.graph.node):
        if node.op_type == "ReduceMean" and node.input[0] in chosen:
            at = list(model.graph.node).index(node)
            model.graph.node.remove(node)
            for step, one in enumerate(_steady_mean(model, node.input[0], node.output[0])):
                model.graph.node.insert(at + step, one)


def _steady_mean(model: ModelProto, value: str, mean: str) -> Iterator[NodeProto]:
    name = f"{mean}_steady"
    one = numpy_helper.from_array(np.ones(1, np.float32))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), f"{name}_axis"))
    for op, inputs, output, attributes in (
        ("Shape", [value], "frames", {"start": 1, "end": 2}),
        ("ConstantOfShape", [f"{name}_frames"], "ones", {"value": one}),
        ("Cast", [f"{name}_frames"], "count", {"to": TensorProto.FLOAT}),
        ("Div", [f"{name}_ones", f"{name}_count"], "shares", {}),
        ("MatMul", [f"{name}_shares", value], "flat", {}),
    ):
        yield helper.make_node(op, inputs, [f"{name}_{output}"], **attributes)
    yield helper.make_node("Unsqueeze", [f"{name}_flat", f"{name}_axis"], [mean])


def _behind_features(model: ModelProto) -> set[str]:
    """Name the nodes that are behind a convolution of the chosen rows."""
    network = _reached(model, {"rows"})
    first = {node.output[0] for node in network if node.op_type == "Conv"}
    return {node.name for node in _reached(model, first)}


def _reached(model: ModelProto, values: set[str]) -> list[NodeProto]:
    """Give the nodes that some of these values, or what is made of them, go into."""
    known, found = set(values), []
    for node in model.graph.node:
        if known & set(node.input):
            known.update(node.output)
            found.append(node)
    return found


def _multiplications(
    model: ModelProto, nodes: Sequence[NodeProto], window: Window
) -> dict[str, int]:
    """Count the multiplications of convolutions for one window."""
    if not nodes:
        return {}
    weights, names = initializers(model), [node.output[0] for node in nodes]
    outputs = with_outputs(model, names).run(names, feeds(window))
    return {
        node.name: int(output.size * np.prod(weights[node.input[1]].dims[1:]))
        for node, output in zip(nodes, outputs, strict=True)
    }


def _group(node: NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "group"), 1)
