"""Float16 networks behind float32 front ends, rounded as a GPU rounds them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from speakerd_server.cards import Bundle
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import GraphRefused
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.embedder import pcm_graph
from speakerd_server.models.front_end import FAMILIES, front_end
from speakerd_server.models.gpu_graph import gpu_graph
from speakerd_server.models.half import to_half
from support.half_rounding import rounding
from support.networks import constant, saved, shipped_network, small_network, taken
from support.sounds import lowest_cosine, window, windows_of
from support.speech import eval_ids, eval_utterance
from support.wespeaker import network_of

pytestmark = pytest.mark.timeout(120)

LOWEST_COSINE = 0.999
SENSITIVE = {"ReduceSumSquare", "ReduceSum", "ReduceMean", "Sqrt", "Softmax", "Div", "Log"}
KINDS = (
    "campplus",
    "ResNet34_TSTP",
    "ResNet34_ASTP",
    "ECAPA_TDNN_c512_ASTP",
    "ECAPA_TDNN_GLOB_c512_ASTP",
)


def bundle_of(kind: str, folder: Path) -> Bundle:
    """Give the shipped model, or a WeSpeaker network with random weights."""
    shipped = load_bundle(shipped_bundle())
    if kind == "campplus":
        return shipped
    network, _ = network_of(folder, kind)
    front = FAMILIES["wespeaker"]
    path = folder / "model.onnx"
    path.write_bytes(pcm_graph(network, front_end(front), {}, half_weights=False))
    card = dataclasses.replace(shipped.card, dim=network.dim, front_end=front)
    return Bundle(card, path)


def kinds_of(content: bytes) -> dict[str, int]:
    """Give the element type of every value of a graph by name."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content)).graph
    return {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_float16_network_stays_near_the_float32_one_on_real_speech(
    kind: str, tmp_path: Path
) -> None:
    bundle = bundle_of(kind, tmp_path)
    exact, rounded = OnnxRuntimeCpu(bundle), rounding(gpu_graph(bundle, "float16"))
    for name in eval_ids()[::15]:
        samples = eval_utterance(name)
        for one in (windows_of(samples)[0], windows_of(samples)[-1], *windows_of(samples, -1)):
            pcm, rows = one.pcm[None], one.rows[None]
            (found,) = rounded.run(None, {"pcm": pcm, "rows": rows})
            assert lowest_cosine(found, exact.embed(pcm, rows)) >= LOWEST_COSINE


@pytest.mark.parametrize("kind", ["campplus", "ResNet34_TSTP"])
@pytest.mark.parametrize("gain", [1e-4, 300.0, 30000.0])
def test_quiet_and_loud_audio_neither_overflows_nor_vanishes(
    kind: str, gain: float, tmp_path: Path
) -> None:
    bundle = bundle_of(kind, tmp_path)
    exact, rounded = OnnxRuntimeCpu(bundle), rounding(gpu_graph(bundle, "float16"))
    (one, *_) = windows_of(eval_utterance(eval_ids()[0]))
    pcm, rows = one.pcm[None] * np.float32(gain), one.rows[None]
    (found,) = rounded.run(None, {"pcm": pcm, "rows": rows})
    assert np.isfinite(found).all()
    assert lowest_cosine(found, exact.embed(pcm, rows)) >= LOWEST_COSINE


@pytest.mark.parametrize("kind", KINDS)
def test_front_end_and_statistics_are_float32_and_the_rest_is_float16(
    kind: str, tmp_path: Path
) -> None:
    content = gpu_graph(bundle_of(kind, tmp_path), "float16")
    model, kinds = onnx.load_model_from_string(content), kinds_of(content)
    onnx.checker.check_model(model, full_check=True)
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    picked = [node.op_type for node in model.graph.node].index("GatherND")
    for node in model.graph.node[: picked + 1]:
        assert TensorProto.FLOAT16 not in {kinds.get(name) for name in node.output}, node.op_type
    for node in model.graph.node:
        if node.op_type in SENSITIVE:
            assert TensorProto.FLOAT16 not in {kinds.get(name) for name in node.input}
    convolutions = [node for node in model.graph.node[picked:] if node.op_type == "Conv"]
    halves = [node for node in convolutions if weights[node.input[1]] == TensorProto.FLOAT16]
    assert len(halves) >= 0.8 * len(convolutions)
    assert kinds["embeddings"] == TensorProto.FLOAT


def test_the_front_ends_tables_are_not_rounded() -> None:
    model = onnx.load_model_from_string(gpu_graph(load_bundle(shipped_bundle()), "float16"))
    arrays = {tuple(one.dims): numpy_helper.to_array(one) for one in model.graph.initializer}
    wanted = front_end(FAMILIES["3dspeaker"]).spectrum[:, None, None, :]
    np.testing.assert_array_equal(arrays[510, 1, 1, 400], wanted)


def test_the_same_bundle_gives_the_same_bytes() -> None:
    bundle = load_bundle(shipped_bundle())
    assert gpu_graph(bundle, "float16") == gpu_graph(bundle, "float16")


@pytest.mark.parametrize("make", [small_network, shipped_network])
def test_an_imported_network_becomes_float16_too(make: object, tmp_path: Path) -> None:
    assert callable(make)
    folder = taken(saved(make(), tmp_path / "net.onnx")).folder
    bundle = load_bundle(folder)
    exact, content = OnnxRuntimeCpu(bundle), gpu_graph(bundle, "float16")
    kinds = kinds_of(content)
    assert TensorProto.FLOAT16 in kinds.values()
    one = window(198)
    pcm, rows = one.pcm[None], one.rows[None]
    (found,) = rounding(content).run(None, {"pcm": pcm, "rows": rows})
    assert lowest_cosine(found, exact.embed(pcm, rows)) >= LOWEST_COSINE


def test_weights_that_float16_cannot_hold_keep_their_node_in_float32(tmp_path: Path) -> None:
    network = small_network(
        extra=[
            helper.make_node("Mul", ["pooled", "huge"], ["grown"], name="grow"),
            helper.make_node("Mul", ["grown", "tiny"], ["shrunk"], name="shrink"),
        ],
        result="shrunk",
    )
    constant(network, "huge", np.full(12, 1e6, np.float32))
    constant(network, "tiny", np.full(12, 1e-6, np.float32))
    bundle = load_bundle(taken(saved(network, tmp_path / "net.onnx")).folder)
    content = gpu_graph(bundle, "float16")
    stored = {
        float(numpy_helper.to_array(one).ravel()[0]): one.data_type
        for one in onnx.load_model_from_string(content).graph.initializer
        if one.dims == [12]
    }
    assert set(stored.values()) == {TensorProto.FLOAT}
    one = window(57)
    pcm, rows = one.pcm[None], one.rows[None]
    (found,) = rounding(content).run(None, {"pcm": pcm, "rows": rows})
    assert lowest_cosine(found, OnnxRuntimeCpu(bundle).embed(pcm, rows)) >= LOWEST_COSINE


def model_of(*nodes: onnx.NodeProto) -> ModelProto:
    inputs = [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["B", "N"])]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", 3])]
    return helper.make_model(helper.make_graph(list(nodes), "g", inputs, outputs))


def test_a_graph_that_picks_no_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match="no frame rows"):
        to_half(tmp_path, model_of(helper.make_node("Relu", ["pcm"], ["embeddings"])))


def test_control_flow_is_refused(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("If", ["pcm"], ["embeddings"], then_branch=inner, else_branch=inner)
    with pytest.raises(GraphRefused, match="control flow"):
        to_half(tmp_path, model_of(node))
