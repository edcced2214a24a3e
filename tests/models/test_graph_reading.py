from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization import quantize_dynamic
from speakerd_server.errors import GraphRefused
from speakerd_server.models.bundle import ONNX_NAME, shipped_bundle
from speakerd_server.models.importing import Wanted, import_network
from support.networks import (
    WESPEAKER,
    constant,
    refusal,
    saved,
    saved_outside,
    small_network,
    taken,
)


def test_weights_that_are_not_beside_it_are_named(tmp_path: Path) -> None:
    path = saved_outside(small_network(), tmp_path / "net.onnx", "net.onnx.data")
    (tmp_path / "net.onnx.data").unlink()
    assert "its weights are in net.onnx.data, which is not beside it" in refusal(path)


def test_weights_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    path = saved_outside(small_network(), tmp_path / "net.onnx", "net.onnx.data")
    data = (tmp_path / "net.onnx.data").read_bytes()
    (tmp_path / "net.onnx.data").write_bytes(data[: len(data) // 2])
    assert "its weights in net.onnx.data cannot be read" in refusal(path)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "deeper/data", "..\\secret", ""]
)
def test_no_file_of_another_folder_is_read(tmp_path: Path, location: str) -> None:
    model = small_network()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    problem = refusal(saved(model, tmp_path / "net.onnx"))
    assert f"its weights are in {location!r}, not in the same folder" in problem


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = saved_outside(small_network(), tmp_path / "inside" / "net.onnx", "data")
    shutil.move(tmp_path / "inside" / "data", tmp_path / "data")
    (tmp_path / "inside" / "data").symlink_to(tmp_path / "data")
    assert "its weights in data cannot be read" in refusal(path)


def with_output(model: ModelProto, kind: int, *sizes: int | str) -> ModelProto:
    model.graph.output.pop()
    model.graph.output.append(helper.make_tensor_value_info("embs", kind, list(sizes)))
    return model


def of_two_inputs() -> ModelProto:
    model = small_network(
        extra=[helper.make_node("Mul", ["pooled", "gain"], ["loud"])], result="loud"
    )
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]))
    return model


def without_input() -> ModelProto:
    model = small_network()
    constant(model, "feats", np.zeros((1, 3, 80), np.float32))
    return model


def three_outputs() -> ModelProto:
    model = small_network()
    for name in ("hidden", "pooled"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def of_custom_operator() -> ModelProto:
    strange = helper.make_node("Attend", ["pooled"], ["seen"], domain="org.example")
    model = small_network(extra=[strange], result="seen")
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    return model


def at_rate(rate: str) -> ModelProto:
    model = small_network()
    helper.set_model_props(model, {"sample_rate": rate})
    return model


def reshaped(*sizes: int) -> ModelProto:
    """Make a network whose nodes allow no other sizes than these."""
    model = small_network(
        extra=[helper.make_node("Reshape", ["pooled", "sizes"], ["fixed"])], result="fixed"
    )
    constant(model, "sizes", np.array(sizes, np.int64))
    return model


def traced_frames(frames: int) -> ModelProto:
    """Make a network that was traced with so many frames and says that it takes any."""
    model = small_network()
    node = next(node for node in model.graph.node if node.op_type == "Tanh")
    node.input[0] = "reshaped"
    shape = np.array([-1, frames, 12], np.int64)
    constant(model, "traced", shape)
    model.graph.node.insert(1, helper.make_node("Reshape", ["hidden", "traced"], ["reshaped"]))
    return model


def neighbourly() -> ModelProto:
    """Make a network that takes the batch's mean off, as a forgotten training mode does."""
    return small_network(
        extra=[
            helper.make_node("ReduceMean", ["pooled"], ["of_batch"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["pooled", "of_batch"], ["off"]),
            helper.make_node("Add", ["off", "pooled"], ["both"]),
        ],
        result="both",
    )


def not_a_number() -> ModelProto:
    return small_network(
        extra=[
            helper.make_node("Sub", ["pooled", "pooled"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["nan"]),
        ],
        result="nan",
    )


def always_the_same() -> ModelProto:
    return small_network(
        extra=[
            helper.make_node("Sub", ["pooled", "pooled"], ["zero"]),
            helper.make_node("Exp", ["zero"], ["one"]),
        ],
        result="one",
    )


REFUSED: dict[str, tuple[ModelProto, str]] = {
    "two inputs": (of_two_inputs(), r"2 inputs \(feats, gain\), one is wanted"),
    "no input": (without_input(), "0 inputs"),
    "integers": (small_network(kind=TensorProto.INT16), "feats is int16, float32 is wanted; a net"),
    "double": (small_network(kind=TensorProto.DOUBLE), "feats is double, float32 is wanted"),
    "half": (small_network(kind=TensorProto.FLOAT16), "feats is float16, float32 is wanted"),
    "samples": (small_network(sizes=["B", "N"]), r"\[B, N\]: a network of raw samples"),
    "one channel": (small_network(sizes=["B", 1, "N"]), "a network of raw samples"),
    "four": (small_network(sizes=["B", 1, 80, "T"]), r"\[B, 1, 80, T\], features \[B, T, 80\]"),
    "turned": (small_network(sizes=["B", 80, "T"]), "export it with frames before features"),
    "mel bins": (small_network(mel_bins=64), r"gives \[B, T, 80\]; describe its own front end"),
    "frames": (small_network(sizes=["B", 200, 80]), "200 frames and no other number; export it"),
    "batch": (small_network(sizes=[4, "T", 80]), "batches of 4 and no other; export it"),
    "inner batch": (reshaped(1, 12), r"fails on an input of \[2, 198, 80\]"),
    "inner frames": (traced_frames(200), r"fails on an input of \[1, 198, 80\]"),
    "traced frames": (traced_frames(198), r"fails on an input of \[1, 301, 80\]"),
    "three": (three_outputs(), r"3 outputs \(embs \[B, 8\], hidden of any shape, pooled"),
    "rank": (with_output(small_network(), TensorProto.FLOAT, "B", 8, 1), "no output is float32"),
    "kind": (with_output(small_network(), TensorProto.INT64, "B", 8), "no output is float32"),
    "unsaid rank": (reshaped(1, 1, 12), r"embs is \[1, 1, 8\] for a batch of 1"),
    "custom": (of_custom_operator(), "ONNX Runtime cannot load it .*Attend"),
    "rate": (at_rate("8000"), "it is for 8000 Hz; there is none but 16000 Hz"),
    "neighbours": (neighbourly(), "depends on what else is in the batch"),
    "nan": (not_a_number(), r"198 frames is not finite \(NaN\)"),
    "constant": (always_the_same(), "same embedding for different sounds"),
}
REFUSED["unknown kind"] = (small_network(), "feats is of the unknown type 99, float32 is wanted")
REFUSED["unknown kind"][0].graph.input[0].type.tensor_type.elem_type = 99
REFUSED["unsaid rank"][0].graph.output[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    model, problem = REFUSED[case]
    found = refusal(saved(model, tmp_path / "net.onnx"))
    assert re.search(problem, found), found


def test_a_network_quantised_by_what_comes_is_refused(tmp_path: Path) -> None:
    # Its scales are those of the whole batch at hand.
    path = saved(small_network(), tmp_path / "whole.onnx")
    quantize_dynamic(path, tmp_path / "net.onnx")
    assert "depends on what else is in the batch" in refusal(tmp_path / "net.onnx")


def test_a_rate_that_fits_may_be_said(tmp_path: Path) -> None:
    assert taken(saved(at_rate("16000"), tmp_path / "net.onnx")).card.sample_rate_hz == 16000


def test_the_graph_of_a_bundle_is_told_from_a_network() -> None:
    with pytest.raises(GraphRefused, match="it is a bundle's already; use its folder"):
        import_network(shipped_bundle() / ONNX_NAME, Wanted(WESPEAKER, Path("models"), "mine"))


def test_bytes_that_are_no_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert "cannot be read (No such file or directory)" in refusal(path)
    path.mkdir()
    assert "cannot be read (Is a directory)" in refusal(path)
    path.rmdir()
    path.write_bytes(b"")
    assert "it holds no network" in refusal(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "pointer of Git LFS" in refusal(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(content)
        refusal(path)


@given(st.integers(0, 10**6))
def test_a_truncated_network_is_refused(length: int) -> None:
    content = small_network().SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(content[: length % len(content)])
        refusal(path)
