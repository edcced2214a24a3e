"""Static int8: what the arithmetic promises, and what the shipped 8-bit model keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper
from speakerd_server.cards import Bundle
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import GraphRefused
from speakerd_server.models.activation_ranges import look_at
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.front_end import FAMILIES, front_end
from speakerd_server.models.quantizable import choose, prepare
from speakerd_server.models.quantize import MOST_WINDOWS, quantize, steps
from speakerd_server.values import Float32, Window
from speakerd_server.windows.slicer import Slicer
from support.error_rates import equal_error_rate
from support.networks import saved, small_network, taken
from support.shared import shared_path
from support.speech import RATE_HZ, eval_ids, eval_utterance, noise

pytestmark = pytest.mark.timeout(120)

LEAST_MEAN_COSINE = 0.995
LEAST_COSINE = 0.95
HIGHEST_RATE_OF_2_S = 0.005

values = arrays.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 5)),
    elements=st.floats(-1e6, 1e6, width=32),
)


@pytest.fixture(scope="module")
def exact() -> OnnxRuntimeCpu:
    return OnnxRuntimeCpu(load_bundle(shipped_bundle("campplus")))


@pytest.fixture(scope="module")
def rounded() -> OnnxRuntimeCpu:
    return OnnxRuntimeCpu(load_bundle(shipped_bundle("campplus-int8")))


def windows_of(samples: Float32, samples_per_chunk: int = 32000) -> list[Window]:
    slicer = Slicer(samples_per_chunk, 3)
    return [*slicer.push(samples), *slicer.end()]


def speech(count: int, samples_per_chunk: int = 32000) -> list[Window]:
    """First full windows of as many utterances."""
    step = len(eval_ids()) // count
    return [
        windows_of(eval_utterance(name), samples_per_chunk)[0]
        for name in eval_ids()[:: max(step, 1)][:count]
    ]


def embed(backend: OnnxRuntimeCpu, windows: list[Window]) -> npt.NDArray[np.float64]:
    alone = [backend.embed(window.pcm[None], window.rows[None])[0] for window in windows]
    return np.stack(alone).astype(np.float64)


def cosines(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: npt.NDArray[np.float64] = (one * other).sum(axis=1) / lengths
    return found


def test_the_shipped_int8_model_stays_near_the_float_one(
    exact: OnnxRuntimeCpu, rounded: OnnxRuntimeCpu
) -> None:
    windows = speech(30)
    found = cosines(embed(exact, windows), embed(rounded, windows))
    assert found.mean() >= LEAST_MEAN_COSINE
    assert found.min() >= LEAST_COSINE


@pytest.mark.parametrize("samples_per_chunk", [32000, 48000, 17777])
def test_an_int8_embedding_is_the_same_in_any_batch(
    rounded: OnnxRuntimeCpu, samples_per_chunk: int
) -> None:
    windows = speech(8, samples_per_chunk)
    alone = np.concatenate([rounded.embed(one.pcm[None], one.rows[None]) for one in windows])
    for size in (2, 3, 8):
        pcm = np.stack([window.pcm for window in windows[:size]])
        padded = np.pad(pcm, [(0, 0), (0, 4000)])
        together = rounded.embed(padded, np.stack([window.rows for window in windows[:size]]))
        lengths = np.linalg.norm(alone[:size].astype(np.float64), axis=1)
        # The last matrix is float32, and its sums are in another order for several rows.
        np.testing.assert_allclose(together, alone[:size], atol=1e-6 * lengths.min())


def test_the_shipped_int8_file_keeps_the_front_end_in_float32_and_says_whose_speech_it_saw() -> (
    None
):
    bundle = load_bundle(shipped_bundle("campplus-int8"))
    model = onnx.load(bundle.onnx_path)
    by_shape = {tuple(tensor.dims): tensor for tensor in model.graph.initializer}
    spectrum = numpy_helper.to_array(by_shape[510, 1, 1, 400])
    wanted = front_end(FAMILIES["3dspeaker"]).spectrum[:, None, None, :]
    np.testing.assert_array_equal(spectrum, wanted.astype(np.float32))
    integers = [one for one in model.graph.initializer if one.data_type == TensorProto.INT8]
    assert sum(int(np.prod(one.dims)) for one in integers) > 5_900_000
    assert bundle.onnx_path.stat().st_size < 9_500_000
    for part in ("LibriSpeech", "Panayotov et al., 2015", "CC BY 4.0", "openslr.org/12"):
        assert part in bundle.card.origin
    assert {one.key for one in model.metadata_props} == {"licence", "name", "origin"}


@pytest.mark.accuracy
@pytest.mark.timeout(300)
def test_the_equal_error_rate_of_int8_at_2_s_stays_under_its_bar(rounded: OnnxRuntimeCpu) -> None:
    embeddings = {}
    for name in eval_ids():
        samples = eval_utterance(name)
        start = (len(samples) - 2 * RATE_HZ) // 2
        mean = embed(rounded, windows_of(samples[start : start + 2 * RATE_HZ])).mean(axis=0)
        embeddings[name] = mean / np.linalg.norm(mean)
    scores: dict[str, list[float]] = {"target": [], "nontarget": []}
    for line in shared_path("data/trials/all_pairs.txt").read_text().splitlines():
        enrolled, test, label = line.split()
        scores[label].append(float(embeddings[enrolled] @ embeddings[test]))
    rate = equal_error_rate(np.array(scores["target"]), np.array(scores["nontarget"]))
    assert rate <= HIGHEST_RATE_OF_2_S


def test_what_is_quantized_leaves_out_front_end_first_layer_and_masks(
    exact: OnnxRuntimeCpu,
) -> None:
    path = shipped_bundle("campplus") / "model.onnx"
    model = prepare(path)
    chosen = choose(path, model, windows_of(noise(2.0))[0])
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {shapes[node.input[1]] for node in chosen.convolutions}
    kept = {(510, 1, 1, 400), (80, 510, 1, 1), (32, 1, 3, 3), (64, 128, 1, 1), (32, 64, 1, 1)}
    assert not found & kept
    assert {(32, 32, 3, 3), (128, 32, 10, 5), (32, 128, 1, 3), (512, 1024, 1, 1)} <= found
    assert len(chosen.convolutions) == 119


def test_the_prepared_graph_is_the_same_network(exact: OnnxRuntimeCpu, tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle("campplus"))
    onnx.save(prepare(bundle.onnx_path), tmp_path / "prepared.onnx")
    prepared = OnnxRuntimeCpu(Bundle(bundle.card, tmp_path / "prepared.onnx"))
    windows = speech(3)
    assert cosines(embed(exact, windows), embed(prepared, windows)).min() >= 1 - 1e-9


def test_an_int8_graph_is_not_quantized_again() -> None:
    with pytest.raises(GraphRefused, match="8-bit layers already"):
        prepare(shipped_bundle("campplus-int8") / "model.onnx")


def test_a_network_without_convolutions_is_refused(tmp_path: Path) -> None:
    folder = taken(saved(small_network(), tmp_path / "net.onnx")).folder
    with pytest.raises(GraphRefused, match="no convolution"):
        quantize(folder / "model.onnx", windows_of(noise(2.0)), {})


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString())
    with pytest.raises(GraphRefused, match=r"model\.onnx"):
        quantize(path, windows_of(noise(2.0)), {})


def test_many_windows_are_thinned_out_evenly() -> None:
    (window,) = windows_of(noise(2.0)[:31920])
    assert [steps([window] * count) for count in (1, 256, 257, 3000)] == [1, 256, 256, 256]
    assert MOST_WINDOWS == 256


@given(one=values, other=values)
def test_what_is_seen_in_two_windows_is_what_is_seen_in_both_together(
    one: Float32, other: Float32
) -> None:
    channels = min(one.shape[1], other.shape[1])
    one, other = one[:, :channels], other[:, :channels]
    both = np.concatenate([one, other], axis=2)
    seen, whole = look_at(one).joined(look_at(other)), look_at(both)
    assert (seen.low, seen.high, seen.places) == (whole.low, whole.high, whole.places)
    np.testing.assert_allclose(seen.channel_means, both[0].mean(axis=1, dtype=float), atol=1e-3)
    low, high = seen.range()
    assert low <= 0 <= high
    slack = 1e-3 * max(abs(seen.low), abs(seen.high))
    assert low <= seen.low + slack
    assert high >= seen.high - slack
