from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import GraphRefused
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from support.sounds import batch, lowest_cosine
from support.wespeaker import session_of


def test_the_float32_graph_is_the_same_network_without_what_only_processors_profit_from() -> None:
    bundle = load_bundle(shipped_bundle())
    content = gpu_graph(bundle, "float32")
    pcm, rows = batch(2, 198)
    (found,) = session_of(content).run(None, {"pcm": pcm, "rows": rows})
    assert lowest_cosine(found, OnnxRuntimeCpu(bundle).embed(pcm, rows)) >= 1 - 1e-9
    convolutions = [
        sum(node.op_type == "Conv" for node in model.graph.node)
        for model in (onnx.load(bundle.onnx_path), onnx.load_model_from_string(content))
    ]
    # One by one, behind the mask of each of 52 layers.
    assert convolutions[0] - convolutions[1] == 52


def test_the_graph_says_what_it_is_of() -> None:
    model = onnx.load_model_from_string(gpu_graph(load_bundle(shipped_bundle()), "float16"))
    said = {one.key: one.value for one in model.metadata_props}
    assert said == {"name": "campplus/1", "precision": "float16"}


def test_an_8_bit_model_is_refused() -> None:
    with pytest.raises(GraphRefused, match="8-bit, made for processors"):
        gpu_graph(load_bundle(shipped_bundle("campplus-int8")), "float32")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff\xff\xff no graph")
    bundle = dataclasses.replace(load_bundle(shipped_bundle()), onnx_path=path)
    with pytest.raises(GraphRefused, match="cannot be read"):
        gpu_graph(bundle, "float32")
    with pytest.raises(GraphRefused, match="cannot be read"):
        gpu_graph(dataclasses.replace(bundle, onnx_path=tmp_path / "absent"), "float32")
