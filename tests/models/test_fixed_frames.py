from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from speakerd_server.values import Float32, Int64
from support.networks import constant, saved, small_network, taken
from support.sounds import batch, lowest_cosine
from support.wespeaker import session_of


def padded(windows: int, frames: int) -> tuple[Float32, Int64]:
    pcm, rows = batch(windows, frames)
    return np.pad(pcm, [(0, 0), (0, buffer_samples(frames) - pcm.shape[1])]), rows


@pytest.mark.parametrize("frames", [98, 198])
def test_a_graph_for_one_length_gives_what_the_graph_for_any_length_gives(frames: int) -> None:
    bundle = load_bundle(shipped_bundle())
    fixed = session_of(gpu_graph(bundle, "float32", (buffer_samples(frames), frames)))
    for windows in (1, 3):
        pcm, rows = padded(windows, frames)
        (found,) = fixed.run(None, {"pcm": pcm, "rows": rows})
        assert lowest_cosine(found, OnnxRuntimeCpu(bundle).embed(pcm, rows)) >= 1 - 1e-6


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_no_size_is_read_off_a_shape_where_the_length_is_fixed(precision: str) -> None:
    content = gpu_graph(load_bundle(shipped_bundle()), precision, (buffer_samples(198), 198))
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    used = {node.op_type for node in model.graph.node}
    assert not used & {"Shape", "Range", "ConstantOfShape", "Equal"}
    sizes = {one.name: one.type.tensor_type.shape.dim[1].dim_value for one in model.graph.input}
    assert sizes == {"pcm": buffer_samples(198), "rows": 198}


def test_another_length_than_the_fixed_one_is_refused() -> None:
    content = gpu_graph(load_bundle(shipped_bundle()), "float32", (buffer_samples(198), 198))
    pcm, rows = padded(1, 199)
    with pytest.raises(Exception, match="invalid dimensions"):
        session_of(content).run(None, {"pcm": pcm, "rows": rows})


def test_a_size_that_the_batch_decides_stays_one_of_the_batch(tmp_path: Path) -> None:
    network = small_network(
        extra=[
            helper.make_node("Shape", ["active"], ["shape"], name="s"),
            helper.make_node("Gather", ["shape", "first_two"], ["sizes"], name="g"),
            helper.make_node("Cast", ["sizes"], ["numbers"], name="n", to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["numbers"], ["largest"], name="m", keepdims=0),
            helper.make_node("Div", ["pooled", "largest"], ["scaled"], name="d2"),
        ],
        result="scaled",
    )
    constant(network, "first_two", np.array([0, 1], np.int64))
    bundle = load_bundle(taken(saved(network, tmp_path / "net.onnx")).folder)
    fixed = session_of(gpu_graph(bundle, "float32", (buffer_samples(50), 50)))
    for windows in (1, 4):
        pcm, rows = padded(windows, 50)
        (found,) = fixed.run(None, {"pcm": pcm, "rows": rows})
        np.testing.assert_allclose(found, OnnxRuntimeCpu(bundle).embed(pcm, rows), rtol=1e-5)
