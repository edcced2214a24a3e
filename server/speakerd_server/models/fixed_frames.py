"""A graph for windows of one length: what depends on the number of frames becomes constant.

A CUDA graph cannot be captured while a processor computes numbers that the GPU needs, and
that is what reading the length off a shape means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto, numpy_helper

from speakerd_server.models.graph_reading import dims


def fix_frames(model: ModelProto, samples: int, frames: int) -> None:
    """Make a bundle's graph one of pcm float32[B, N] and rows int64[B, T] with T and N fixed.

    Args:
        model: From pcm and rows to embeddings; changed in place. Sizes that it reads off shapes
            become constants where T alone decides them; `simplified` then folds what follows.
        samples: N.
        frames: T.
    """
    sizes = {"pcm": samples, "rows": frames}
    for port in model.graph.input:
        port.type.tensor_type.shape.dim[1].Clear()
        port.type.tensor_type.shape.dim[1].dim_value = sizes[port.name]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: value for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    read = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "Shape" and node.input[0] in shapes
    }
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type != "Gather" or node.input[0] not in read or node.input[1] not in weights:
            continue
        places = numpy_helper.to_array(weights[node.input[1]])
        known = _known(shapes[read[node.input[0]].input[0]], read[node.input[0]], places)
        if known is not None:
            model.graph.node.remove(node)
            model.graph.initializer.append(numpy_helper.from_array(known, node.output[0]))


def _known(
    value: ValueInfoProto, shape: NodeProto, places: NDArray[Any]
) -> NDArray[np.int64] | None:
    """Give the sizes at these places of a shape, or None where one of them is not fixed."""
    sizes = dims(value)
    if sizes is None or shape.attribute:
        return None
    chosen = [sizes[place] for place in places.ravel()]
    if not all(isinstance(size, int) for size in chosen):
        return None
    return np.array(chosen, np.int64).reshape(places.shape)
