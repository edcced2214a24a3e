from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from speakerd_server.cards import FrontEndDescription
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import OptionInvalid, OutputUnusable, VectorsUnusable
from speakerd_server.models.bundle import ONNX_NAME, load_bundle
from speakerd_server.models.description import choose_front_end
from speakerd_server.models.front_end import front_end
from speakerd_server.models.importing import Imported, read_mean_vec
from support.networks import (
    DIM,
    HIDDEN,
    WESPEAKER,
    constant,
    saved,
    saved_outside,
    small_network,
    taken,
)
from support.speech import noise

TRIED_ROWS = np.arange(98)[None]


def own_embedding(path: Path, description: FrontEndDescription = WESPEAKER) -> NDArray[Any]:
    """Give what the file itself makes of one second of noise."""
    features = front_end(description).log_mel(noise(1.0))
    if description.mean_removed:
        features = features - features.mean(axis=0)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    embedding: NDArray[Any] = session.run(None, {port.name: features[None]})[-1]
    return embedding


def bundle_embedding(folder: Path) -> NDArray[Any]:
    return OnnxRuntimeCpu(load_bundle(folder)).embed(noise(1.0)[None], TRIED_ROWS)


def assert_same(found: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Hold a graph's embedding against one of features computed elsewhere."""
    assert np.linalg.norm(found - wanted) <= 1e-3 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", ["feats", "feature", "pcm", "rows", "embeddings", "Conv_1"])
def test_a_network_becomes_a_bundle_whatever_its_names_are(tmp_path: Path, name: str) -> None:
    path = saved(small_network(name=name), tmp_path / "net.onnx")
    imported = taken(path, licence="MIT", origin="our own")
    assert imported.folder == tmp_path / "models" / "mine" / "1"
    card = load_bundle(imported.folder).card
    assert card == imported.card
    assert str(card.identity) == "mine/1 (wespeaker-61c2ee95130b)"
    assert (card.dim, card.min_frames, card.precision) == (DIM, 1, "float32")
    assert (card.sample_rate_hz, card.samples_per_chunk) == (16000, 32000)
    assert (card.licence, card.accept_at, card.reject_below) == ("MIT", None, None)
    assert card.origin.startswith("our own; net.onnx, SHA-256 ")
    assert_same(bundle_embedding(imported.folder), own_embedding(path))
    assert imported.lowest_cosine >= 0.999999
    assert imported.highest_relative <= 1e-4


def graph_of(imported: Imported) -> ModelProto:
    return onnx.load(imported.folder / ONNX_NAME)


@pytest.mark.parametrize("opset", [9, 11, 13, 14, 16, 17, 18, 20, 21, 23])
def test_the_opset_stays_from_13_up_and_rises_to_13_else(tmp_path: Path, opset: int) -> None:
    path = saved(small_network(opset=opset), tmp_path / "net.onnx")
    imported = taken(path)
    model = graph_of(imported)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", max(opset, 13))]
    onnx.checker.check_model(model, full_check=True)
    assert_same(bundle_embedding(imported.folder), own_embedding(path))


def test_the_graph_says_what_it_is_and_takes_pcm_and_rows(tmp_path: Path) -> None:
    model = small_network()
    helper.set_model_props(model, {"url": "https://example.org", "name": "other"})
    imported = taken(saved(model, tmp_path / "net.onnx"))
    joined = graph_of(imported)
    properties = {entry.key: entry.value for entry in joined.metadata_props}
    assert properties["url"] == "https://example.org"
    assert properties["name"] == "mine/1"
    assert [port.name for port in joined.graph.input] == ["pcm", "rows"]
    assert [port.name for port in joined.graph.output] == ["embeddings"]
    assert taken(tmp_path / "net.onnx", force=True).card.sha256 == imported.card.sha256


def test_weights_that_are_inputs_too_are_no_inputs(tmp_path: Path) -> None:
    model = small_network(opset=11, ir_version=3)
    for tensor in model.graph.initializer:
        port = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(port)
    path = saved(model, tmp_path / "net.onnx")
    assert_same(bundle_embedding(taken(path).folder), own_embedding(path))


def test_graphs_inside_a_graph_keep_what_they_refer_to(tmp_path: Path) -> None:
    half = helper.make_node("Mul", ["pooled", "half"], ["inner"])
    shown = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    same = helper.make_node("Add", ["pooled", "local"], ["inner"])
    one = numpy_helper.from_array(np.ones(1, np.float32), "local")
    choice = helper.make_node(
        "If",
        ["yes"],
        ["chosen"],
        then_branch=helper.make_graph([half], "then", [], [shown]),
        else_branch=helper.make_graph([same], "else", [], [shown], initializer=[one]),
    )
    model = small_network(extra=[choice], result="chosen")
    constant(model, "yes", np.array(True))
    constant(model, "half", np.array(0.5, np.float32))
    path = saved(model, tmp_path / "net.onnx")
    assert_same(bundle_embedding(taken(path).folder), own_embedding(path))


def test_arguments_left_out_stay_left_out(tmp_path: Path) -> None:
    clip = helper.make_node("Clip", ["pooled", "", "most"], ["clipped"])
    model = small_network(extra=[clip], result="clipped")
    constant(model, "most", np.array(0.01, np.float32))
    path = saved(model, tmp_path / "net.onnx")
    assert_same(bundle_embedding(taken(path).folder), own_embedding(path))


def of_half_precision_inside() -> ModelProto:
    model = small_network(
        extra=[
            helper.make_node("Cast", ["pooled"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["half", "turn"], ["turned"]),
            helper.make_node("Cast", ["turned"], ["whole"], to=TensorProto.FLOAT),
        ],
        result="whole",
    )
    constant(model, "turn", np.eye(HIDDEN, dtype=np.float16)[::-1])
    return model


def test_half_precision_inside_is_taken_and_nodes_need_no_names(tmp_path: Path) -> None:
    path = saved(of_half_precision_inside(), tmp_path / "net.onnx")
    imported = taken(path)
    assert "" in {node.name for node in graph_of(imported).graph.node}
    found, wanted = bundle_embedding(imported.folder), own_embedding(path)
    assert np.abs(found - wanted).max() <= 1e-2 * np.abs(wanted).max()


def test_functions_of_the_file_are_taken_in(tmp_path: Path) -> None:
    model = small_network(
        extra=[helper.make_node("Double", ["pooled"], ["twice"], domain="mine")], result="twice"
    )
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Double", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    path = saved(model, tmp_path / "net.onnx")
    imported = taken(path)
    assert not graph_of(imported).functions
    assert_same(bundle_embedding(imported.folder), own_embedding(path))


def test_the_last_of_two_outputs_is_the_embedding(tmp_path: Path) -> None:
    model = small_network()
    first = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["B", 12])
    last = model.graph.output.pop()
    model.graph.output.extend([first, last])
    path = saved(model, tmp_path / "two.onnx")
    imported = taken(path)
    assert imported.card.dim == DIM
    assert_same(bundle_embedding(imported.folder), own_embedding(path))


def test_frames_beside_the_embedding_are_left_out(tmp_path: Path) -> None:
    model = small_network()
    model.graph.output.append(
        helper.make_tensor_value_info("active", TensorProto.FLOAT, ["B", "T", 12])
    )
    assert taken(saved(model, tmp_path / "two.onnx")).card.dim == DIM


def test_a_batch_fixed_at_one_only_by_name_becomes_any(tmp_path: Path) -> None:
    path = saved(small_network(sizes=[1, "T", 80]), tmp_path / "net.onnx")
    backend = OnnxRuntimeCpu(load_bundle(taken(path).folder))
    both = backend.embed(np.stack([noise(1.0), noise(1.0, 1)]), np.tile(TRIED_ROWS, (2, 1)))
    for found, seed in zip(both, (0, 1), strict=True):
        assert_same(found, backend.embed(noise(1.0, seed)[None], TRIED_ROWS)[0])


@pytest.mark.parametrize("mel_bins", [40, 64])
def test_a_described_front_end_goes_into_graph_and_card(tmp_path: Path, mel_bins: int) -> None:
    toml = tmp_path / "front_end.toml"
    toml.write_text(
        f'sample_scale = 32768\nwindow = "hanning"\nmel_bins = {mel_bins}\nlow_hz = 60\n'
        "high_hz = -400\npre_emphasis = 0\nmean_removed = false\n"
    )
    described = choose_front_end(str(toml))
    assert described == FrontEndDescription(
        "described", 32768.0, "hanning", mel_bins, 60.0, 7600.0, 0.0, False
    )
    path = saved(small_network(mel_bins=mel_bins), tmp_path / "net.onnx")
    imported = taken(path, described)
    card = load_bundle(imported.folder).card
    assert card.front_end == described
    assert card.identity.front_end.startswith("described-")
    assert_same(bundle_embedding(imported.folder), own_embedding(path, described))


def test_a_mean_vector_is_taken_off_inside_the_graph(tmp_path: Path) -> None:
    path = saved(small_network(), tmp_path / "net.onnx")
    np.save(tmp_path / "mean_vec.npy", np.linspace(-1, 1, DIM))
    mean = read_mean_vec(tmp_path / "mean_vec.npy")
    imported = taken(path, mean_vec=mean)
    assert_same(bundle_embedding(imported.folder), own_embedding(path) - mean)
    with pytest.raises(OptionInvalid, match="it has 9 numbers, an embedding has 8"):
        taken(path, mean_vec=np.zeros(DIM + 1, np.float32), force=True)


def test_weights_in_a_file_beside_it_come_along(tmp_path: Path) -> None:
    path = saved_outside(small_network(), tmp_path / "net.onnx", "net.onnx.data")
    wanted = own_embedding(path)
    imported = taken(path)
    (tmp_path / "net.onnx.data").unlink()
    assert_same(bundle_embedding(imported.folder), wanted)


def test_a_name_that_is_taken_needs_force(tmp_path: Path) -> None:
    path = saved(small_network(), tmp_path / "net.onnx")
    folder = taken(path).folder
    with pytest.raises(OutputUnusable, match="--force"):
        taken(path)
    assert taken(path, force=True).folder == folder


def npy_head(count: int) -> bytes:
    """Give the beginning of a file that says it has so many numbers."""
    file = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((2, 8), np.float32), "the shape"),
        (np.zeros(8, np.int64), "array of floats"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
        (np.array([1e300]), "too large for float32"),
        (np.array([{}], object), "no npy file of floats"),
        (b"PK\x03\x04 no archive", "no npy file of floats"),
        (npy_head(1 << 58), "no npy file of floats"),
        (b"no numpy", "no npy file of floats"),
        (b"", "no npy file of floats"),
        (None, "No such file"),
    ],
    ids=str,
)
def test_what_is_no_mean_vector_is_refused(
    tmp_path: Path, array: NDArray[Any] | bytes | None, problem: str
) -> None:
    path = tmp_path / "mean_vec.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(VectorsUnusable, match=problem):
        read_mean_vec(path)
