"""A float16 graph as float32 arithmetic that rounds every float16 value to float16.

ONNX Runtime has no float16 convolutions on a processor: it computes in float32 and may leave the
rounding between two nodes out. A GPU rounds what each node writes, and adds up in float32.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper


def rounding(content: bytes) -> ort.InferenceSession:
    """Load a graph on one core so that each of its float16 values is rounded when it is made."""
    model = onnx.load_model_from_string(content)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    halves = {
        value.name
        for value in inferred.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    assert halves, "the graph has no float16 values"
    _widen_weights(model)
    nodes = []
    for node in model.graph.node:
        rounded = [name for name in node.output if name in halves]
        if node.op_type == "Cast" and rounded:
            node.attribute[0].i = TensorProto.FLOAT
        node.output[:] = [f"{name}_exact" if name in rounded else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            nodes.append(
                helper.make_node("Cast", [f"{name}_exact"], [f"{name}_16"], to=TensorProto.FLOAT16)
            )
            nodes.append(helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # Optimising could take the two casts for nothing.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _widen_weights(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
