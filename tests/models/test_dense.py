from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.dense import dense_as_convolutions
from speakerd_server.models.gpu_graph import gpu_graph
from support.wespeaker import session_of

VALUE = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)


def dense(weight: NDArray[np.float32], **attributes: Any) -> ModelProto:
    bias = np.arange(3, dtype=np.float32)
    inside = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    node = helper.make_node("Gemm", ["value", "weight", "bias"], ["embeddings"], **attributes)
    inputs = [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["B", 5])]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", 3])]
    graph = helper.make_graph([node], "g", inputs, outputs, initializer=inside)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def run(model: ModelProto) -> NDArray[np.float32]:
    found = session_of(model.SerializeToString()).run(None, {"value": VALUE})[0]
    return np.asarray(found, np.float32)


@pytest.mark.parametrize("turned", [0, 1])
def test_a_linear_layer_gives_the_same_as_a_convolution(turned: int) -> None:
    weight = np.random.default_rng(1).standard_normal((3, 5) if turned else (5, 3))
    model = dense(weight.astype(np.float32), transB=turned)
    wanted = run(model)
    dense_as_convolutions(model)
    assert [node.op_type for node in model.graph.node] == ["Unsqueeze", "Conv", "Squeeze"]
    np.testing.assert_allclose(run(model), wanted, rtol=1e-5)


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}])
def test_a_layer_that_does_more_is_left_alone(attributes: dict[str, float]) -> None:
    model = dense(np.ones((5, 3), np.float32), **attributes)
    dense_as_convolutions(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm"]


def test_a_float16_network_has_no_float32_matrix_product_left() -> None:
    model = onnx.load_model_from_string(gpu_graph(load_bundle(shipped_bundle()), "float16"))
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    assert products
    assert TensorProto.FLOAT not in {kinds.get(name) for node in products for name in node.input}
