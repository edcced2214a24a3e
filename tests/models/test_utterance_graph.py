from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.models.bundle import ONNX_NAME, load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from speakerd_server.models.utterance_graph import utterance_graph
from speakerd_server.windows.arithmetic import frame_count
from support.networks import saved, small_network, taken


def session(content: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def noise(windows: int, samples: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(samples)
    return (0.1 * generator.standard_normal((windows, samples))).astype(np.float32)


class Pair:
    """A bundle's graph and the same for whole utterances."""

    def __init__(self, content: bytes, dim: int) -> None:
        self.windows = session(content)
        self.whole = session(utterance_graph(content, dim, "WAV", "EMBEDDINGS"))

    def both(self, audio: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        rows = np.tile(np.arange(frame_count(audio.shape[1])), (len(audio), 1))
        wanted = self.windows.run(["embeddings"], {"pcm": audio, "rows": rows})[0]
        found = self.whole.run(["EMBEDDINGS"], {"WAV": audio})[0]
        return np.asarray(found), np.asarray(wanted)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    path = saved(small_network(opset=18), tmp_path_factory.mktemp("small") / "net.onnx")
    return Pair((taken(path).folder / ONNX_NAME).read_bytes(), 8)


@given(windows=st.integers(1, 4), samples=st.integers(400, 5000))
@settings(max_examples=60, deadline=None)
def test_a_whole_utterance_of_any_length_gives_what_all_of_its_rows_give(
    small: Pair, windows: int, samples: int
) -> None:
    found, wanted = small.both(noise(windows, samples))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["campplus", "campplus-int8"])
def test_the_shipped_models_give_the_same_for_whole_utterances(name: str) -> None:
    content = (shipped_bundle(name) / ONNX_NAME).read_bytes()
    found, wanted = Pair(content, 192).both(noise(2, 32000))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_graph_for_gpus_takes_whole_utterances_too() -> None:
    bundle = load_bundle(shipped_bundle())
    found, wanted = Pair(gpu_graph(bundle, "float32"), 192).both(noise(1, 20000))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_it_has_one_input_and_one_output_and_is_a_valid_graph(small: Pair, tmp_path: Path) -> None:
    content = utterance_graph((shipped_bundle() / ONNX_NAME).read_bytes(), 192, "WAV", "EMBEDDINGS")
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    (taken_in,), (given_out,) = small.whole.get_inputs(), small.whole.get_outputs()
    assert (taken_in.name, taken_in.shape) == ("WAV", ["B", "N"])
    assert (given_out.name, given_out.shape) == ("EMBEDDINGS", ["B", 8])


def test_less_than_a_frame_is_an_error_and_no_embedding(small: Pair) -> None:
    with pytest.raises(Exception, match=r"Conv|input"):
        small.whole.run(None, {"WAV": noise(1, 399)})
