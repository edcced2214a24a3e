"""The recipe against torch and the real weights: `make test-export`."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from speakerd_server.models import recipe
from speakerd_server.models.bundle import ONNX_NAME, shipped_bundle
from speakerd_server.models.campplus import DIM, MIN_FRAMES, CamPlusPlus
from speakerd_server.models.checkpoint import read_checkpoint
from speakerd_server.models.embedder import Network, features_graph
from speakerd_server.models.front_end import FAMILIES, MEL_BINS, front_end
from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.parameters import Parameters
from support.checkpoint import real_checkpoint
from support.speech import eval_ids, eval_utterance

pytestmark = [pytest.mark.export, pytest.mark.timeout(300)]

Arrays = Mapping[str, NDArray[np.float32]]
Block = Callable[[CamPlusPlus, str], str]


@pytest.fixture
def torch(request: pytest.FixtureRequest) -> Any:
    """Torch, whose absence is a failure where the export tests were asked for."""
    if "export" not in request.config.getoption("-m"):
        pytest.skip("needs the export extra; run `make test-export`")
    return importlib.import_module("torch")


def random_norm(name: str, channels: int) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(channels)
    return {
        f"{name}.weight": generator.uniform(0.5, 2, channels).astype(np.float32),
        f"{name}.bias": generator.standard_normal(channels).astype(np.float32),
        f"{name}.running_mean": generator.standard_normal(channels).astype(np.float32),
        f"{name}.running_var": generator.uniform(0.1, 3, channels).astype(np.float32),
    }


def random_array(*shape: int) -> NDArray[Any]:
    generator = np.random.default_rng(sum(shape))
    scaled: NDArray[Any] = generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return scaled.astype(np.float32)


def run_block(parameters: Arrays, block: Block, value: NDArray[np.float32]) -> NDArray[Any]:
    """Run a part of the network alone on [B, C, H, T]."""
    graph = GraphBuilder()
    output = block(CamPlusPlus(graph, Parameters(parameters)), "value")
    shown = helper.make_tensor_value_info("value", TensorProto.FLOAT, list(value.shape))
    model = graph.model([shown], {"output": (output, list("abcd"[: value.ndim]))}, {})
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"value": value})[0])


def torch_norm(torch: Any, value: Any, name: str, parameters: Arrays) -> Any:
    mean, variance, weight, bias = (
        torch.from_numpy(parameters[f"{name}.{part}"])
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return torch.nn.functional.batch_norm(value, mean, variance, weight, bias)


def test_the_reader_agrees_with_torch_on_the_real_checkpoint(torch: Any) -> None:
    wanted = torch.load(io.BytesIO(real_checkpoint()), weights_only=True, map_location="cpu")
    read = read_checkpoint(real_checkpoint())
    assert list(read) == list(wanted)
    for name, tensor in wanted.items():
        assert read[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(read[name], tensor.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64"])
def test_the_reader_agrees_with_torch_on_views_and_parameters(torch: Any, dtype: str) -> None:
    base = torch.arange(24).to(getattr(torch, dtype)).reshape(4, 6)
    state = {"whole": base, "view": base.T[1:5:2, ::3], "number": base[2, 3]}
    if base.is_floating_point():
        state["parameter"] = torch.nn.Parameter(base[1])
    file = io.BytesIO()
    torch.save(state, file)
    read = read_checkpoint(file.getvalue())
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.detach().numpy())


def test_the_recipe_makes_the_shipped_bundle_byte_for_byte(torch: Any, tmp_path: Path) -> None:
    folder = recipe.make_bundle(real_checkpoint(), tmp_path)
    for shipped in shipped_bundle().iterdir():
        assert (folder / shipped.name).read_bytes() == shipped.read_bytes(), shipped.name


@pytest.mark.parametrize("utterance", [0, 20, 40])
def test_float16_storage_is_nearly_the_same_network(
    torch: Any, tmp_path: Path, utterance: int
) -> None:
    folder = recipe.make_bundle(real_checkpoint(), tmp_path, half_weights=False)
    pcm = eval_utterance(eval_ids()[utterance])[None, :32000]
    feeds = {"pcm": pcm, "rows": np.arange(198)[None]}
    full, half = (
        ort.InferenceSession(path / ONNX_NAME, providers=["CPUExecutionProvider"])
        .run(None, feeds)[0][0]
        .astype(np.float64)
        for path in (folder, shipped_bundle())
    )
    assert full @ half / np.linalg.norm(full) / np.linalg.norm(half) >= 0.999997


@pytest.mark.parametrize("strides", [[1, 1], [2, 1]])
def test_a_residual_unit_agrees_with_torch(torch: Any, strides: list[int]) -> None:
    functional = torch.nn.functional
    parameters = {
        "unit.conv1.weight": random_array(32, 32, 3, 3),
        "unit.conv2.weight": random_array(32, 32, 3, 3),
        **random_norm("unit.bn1", 32),
        **random_norm("unit.bn2", 32),
    }
    if strides != [1, 1]:
        parameters["unit.shortcut.0.weight"] = random_array(32, 32, 1, 1)
        parameters.update(random_norm("unit.shortcut.1", 32))
    value = random_array(2, 32, 8, 9)
    weights = {name: torch.from_numpy(array) for name, array in parameters.items()}
    given = torch.from_numpy(value)
    inner = functional.conv2d(given, weights["unit.conv1.weight"], stride=strides, padding=1)
    inner = functional.relu(torch_norm(torch, inner, "unit.bn1", parameters))
    inner = functional.conv2d(inner, weights["unit.conv2.weight"], padding=1)
    inner = torch_norm(torch, inner, "unit.bn2", parameters)
    if strides != [1, 1]:
        given = functional.conv2d(given, weights["unit.shortcut.0.weight"], stride=strides)
        given = torch_norm(torch, given, "unit.shortcut.1", parameters)
    wanted = functional.relu(inner + given)
    found = run_block(parameters, lambda net, name: net._residual(name, "unit", strides), value)
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5)


@pytest.mark.parametrize("frames", [2, 99, 100, 101, 250])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_dense_layer_agrees_with_torch(torch: Any, frames: int, dilation: int) -> None:
    functional = torch.nn.functional
    parameters = {
        "d.linear1.weight": random_array(128, 64, 1),
        "d.cam_layer.linear_local.weight": random_array(32, 128, 3),
        "d.cam_layer.linear1.weight": random_array(64, 128, 1),
        "d.cam_layer.linear1.bias": random_array(64),
        "d.cam_layer.linear2.weight": random_array(32, 64, 1),
        "d.cam_layer.linear2.bias": random_array(32),
        **random_norm("d.nonlinear1.batchnorm", 64),
        **random_norm("d.nonlinear2.batchnorm", 128),
    }
    weights = {name: torch.from_numpy(array) for name, array in parameters.items()}
    value = random_array(2, 64, 1, frames)
    hidden = torch_norm(
        torch, torch.from_numpy(value[:, :, 0]), "d.nonlinear1.batchnorm", parameters
    )
    hidden = functional.conv1d(functional.relu(hidden), weights["d.linear1.weight"])
    hidden = functional.relu(torch_norm(torch, hidden, "d.nonlinear2.batchnorm", parameters))
    local = functional.conv1d(
        hidden, weights["d.cam_layer.linear_local.weight"], padding=dilation, dilation=dilation
    )
    segments = [part.mean(-1, keepdim=True).expand_as(part) for part in hidden.split(100, dim=-1)]
    context = hidden.mean(-1, keepdim=True) + torch.cat(segments, dim=-1)
    for number, activation in ((1, functional.relu), (2, torch.sigmoid)):
        name = f"d.cam_layer.linear{number}"
        context = activation(
            functional.conv1d(context, weights[f"{name}.weight"], weights[f"{name}.bias"])
        )
    wanted = (local * context).numpy()[:, :, None]

    def block(net: CamPlusPlus, name: str) -> str:
        net._add_segments(name)
        return net._dense_layer(name, "d", 64, dilation)

    np.testing.assert_allclose(run_block(parameters, block, value), wanted, atol=2e-5)


def test_the_first_tdnn_agrees_with_torch(torch: Any) -> None:
    parameters = {
        "xvector.tdnn.linear.weight": random_array(128, 320, 5),
        **random_norm("xvector.tdnn.nonlinear.batchnorm", 128),
    }
    value = random_array(2, 32, 10, 21)
    flat = torch.from_numpy(value.reshape(2, 320, 21))
    weight = torch.from_numpy(parameters["xvector.tdnn.linear.weight"])
    wanted = torch.nn.functional.conv1d(flat, weight, stride=2, padding=2)
    wanted = torch_norm(torch, wanted, "xvector.tdnn.nonlinear.batchnorm", parameters).relu()
    found = run_block(parameters, lambda net, name: net._first_tdnn(name), value)
    np.testing.assert_allclose(found[:, :, 0], wanted.numpy(), atol=2e-5)


@pytest.mark.parametrize("frames", [2, 99])
def test_statistics_pooling_agrees_with_torch(torch: Any, frames: int) -> None:
    value = random_array(2, 16, 1, frames)

    def block(net: CamPlusPlus, name: str) -> str:
        net._add_segments(name)
        return net._graph.op("Unsqueeze", net._statistics(name, 16), net._graph.integers(2, 3))

    given = torch.from_numpy(value[:, :, 0])
    wanted = torch.cat([given.mean(-1), given.std(-1, unbiased=True)], dim=1)
    np.testing.assert_allclose(run_block({}, block, value)[:, :, 0, 0], wanted.numpy(), atol=1e-6)


@pytest.fixture(scope="module")
def both_networks() -> tuple[ort.InferenceSession, ort.InferenceSession]:
    """CAM++ as torch exports it and as it is built here, from features, with the real weights."""
    plain_campplus = importlib.import_module("support.plain_campplus")
    weights = read_checkpoint(real_checkpoint())
    network = Network(
        DIM,
        MEL_BINS,
        MIN_FRAMES,
        lambda graph, value: CamPlusPlus(graph, Parameters(weights)).add(value),
    )
    plain, ours = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        for content in (
            plain_campplus.plain_export(real_checkpoint()),
            features_graph(network, {}, half_weights=False),
        )
    )
    return plain, ours


@pytest.mark.parametrize("frames", [57, 198, 199, 200, 201, 450])
def test_the_fast_graph_is_the_network_that_torch_exports(
    torch: Any,
    request: pytest.FixtureRequest,
    frames: int,
) -> None:
    plain, ours = request.getfixturevalue("both_networks")
    front = front_end(FAMILIES["3dspeaker"])
    log_mel = [front.log_mel(eval_utterance(name))[:frames] for name in eval_ids()[:3]]
    feats = np.stack([one - one.mean(axis=0) for one in log_mel if len(one) == frames])
    assert len(feats)
    wanted, found = (
        each.run(["embs"], {"feats": feats.astype(np.float32)})[0] for each in (plain, ours)
    )
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    cosine = (found.astype(np.float64) * wanted).sum(axis=1)
    cosine /= np.linalg.norm(found.astype(np.float64), axis=1) * np.linalg.norm(wanted, axis=1)
    assert cosine.min() >= 0.999999
