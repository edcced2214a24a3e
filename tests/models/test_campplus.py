from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import CheckpointRefused
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.campplus import CamPlusPlus
from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.parameters import Parameters
from support.shared import shared_path
from support.speech import eval_utterance


@pytest.mark.timeout(120)
def test_whole_utterances_agree_with_the_reference_code() -> None:
    backend = OnnxRuntimeCpu(load_bundle(shipped_bundle()))
    golden = np.load(shared_path("reference/campplus_whole_utterance.npz"))
    for utterance, wanted in zip(golden["ids"], golden["embeddings"], strict=True):
        pcm = eval_utterance(utterance)
        rows = np.arange(1 + (pcm.size - 400) // 160)
        embedding = backend.embed(pcm[None], rows[None])[0].astype(np.float64)
        cosine = embedding @ wanted / np.linalg.norm(embedding) / np.linalg.norm(wanted)
        assert cosine >= 0.99999, utterance


def test_the_shipped_file_keeps_the_front_end_in_float32_and_names_its_origin() -> None:
    model = onnx.load(load_bundle(shipped_bundle()).onnx_path)
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    assert arrays["front_end_spectrum"].data_type == TensorProto.FLOAT
    assert arrays["front_end_spectrum"].dims == [510, 1, 1, 400]
    assert arrays["front_end_mel"].dims == [80, 510, 1, 1]
    halves = [tensor for tensor in arrays.values() if tensor.data_type == TensorProto.FLOAT16]
    assert sum(int(np.prod(tensor.dims)) for tensor in halves) > 6_500_000
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["licence"] == "Apache-2.0"
    assert "SHA-256 92f29b94" in properties["origin"]


def test_a_checkpoint_without_a_parameter_is_refused_by_its_name() -> None:
    with pytest.raises(CheckpointRefused, match=r"head\.conv1\.weight is missing"):
        CamPlusPlus(GraphBuilder(), Parameters({})).add("features")


def test_parameters_of_another_shape_and_unknown_ones_are_refused_by_name() -> None:
    parameters = Parameters({"a": np.zeros((2, 3), np.float32), "b": np.zeros(1, np.float32)})
    with pytest.raises(
        CheckpointRefused, match=r"a has shape \(2, 3\), the network needs \(3, 2\)"
    ):
        parameters.take("a", 3, 2)
    with pytest.raises(CheckpointRefused, match=r"1 parameter\(s\) are unknown .* b"):
        parameters.finish()


def test_equal_calls_build_equal_bytes() -> None:
    def build() -> bytes:
        graph = GraphBuilder(half_weights=True)
        product = graph.op("Mul", "x", graph.weight(np.full((2, 2), 0.1)))
        total = graph.op("Add", product, graph.filled(2, 1.0))
        twice = graph.op("Add", total, graph.filled(2, 1.0))
        shown = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2])
        return graph.model([shown], {"y": (twice, ["B", 2])}, {"b": "1", "a": "2"})

    assert build() == build()
    model = onnx.load_model_from_string(build())
    assert [node.op_type for node in model.graph.node].count("ConstantOfShape") == 1
