"""The repository's Python form, run by a real Triton."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from speakerd.kserve import inference_pb2 as pb
from speakerd.kserve.inference_pb2_grpc import GRPCInferenceServiceStub
from speakerd.v1 import audio_pb2, verification_pb2
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.triton_repository import Repository, write_repository
from speakerd_server.values import Float32, Int64
from support.daemon import Daemon
from support.speech import noise
from support.triton import Triton
from support.wire import connected

pytestmark = [pytest.mark.triton, pytest.mark.timeout(120)]

Stub = GRPCInferenceServiceStub
PYTHON = Repository("python", False, "float32", 8, 2, 1000)
FLOAT32 = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_FLOAT32LE, sample_rate_hz=16000)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("repository")
    write_repository(folder, load_bundle(shipped_bundle()), PYTHON)
    with Triton(folder) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def stub(triton: Triton) -> Iterator[Stub]:
    with grpc.insecure_channel(triton.address) as channel:
        yield GRPCInferenceServiceStub(channel)


def inferred(stub: Stub, model: str, output: str, **tensors: NDArray[Any]) -> Float32:
    kinds = {"WAV": "FP32", "pcm": "FP32", "rows": "INT64"}
    request = pb.ModelInferRequest(model_name=model)
    for name, tensor in tensors.items():
        request.inputs.add(name=name, datatype=kinds[name], shape=tensor.shape)
        request.raw_input_contents.append(tensor.tobytes())
    answer = stub.ModelInfer(request, timeout=60)
    assert [one.name for one in answer.outputs] == [output]
    found = np.frombuffer(answer.raw_output_contents[0], "<f4")
    return found.reshape(tuple(answer.outputs[0].shape))


def windows(count: int, frames: int, seed: int = 0) -> tuple[Float32, Int64]:
    generator = np.random.default_rng(seed)
    pcm = (0.1 * generator.standard_normal((count, buffer_samples(frames)))).astype(np.float32)
    # As in a tail: rows that straddle two pieces of audio are left out.
    rows = np.arange(frames)
    rows[frames // 2 :] += 2
    return pcm, np.tile(rows, (count, 1))


def lowest_cosine(found: Float32, wanted: Float32) -> float:
    one, other = found.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


def test_both_models_are_there_as_the_protocol_names_them(stub: Stub) -> None:
    wanted = {
        "speaker": ({"WAV": [-1, -1]}, {"EMBEDDINGS": [-1, 192]}),
        "speaker_windows": ({"pcm": [-1, -1], "rows": [-1, -1]}, {"embeddings": [-1, 192]}),
    }
    for model, (inputs, outputs) in wanted.items():
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=60)
        assert {one.name: list(one.shape) for one in metadata.inputs} == inputs
        assert {one.name: list(one.shape) for one in metadata.outputs} == outputs
        config = stub.ModelConfig(pb.ModelConfigRequest(name=model), timeout=60).config
        assert config.max_batch_size == 8
        assert config.dynamic_batching.max_queue_delay_microseconds == 1000
        assert config.instance_group[0].count == 2


def test_windows_are_embedded_as_the_bundle_does(stub: Stub) -> None:
    backend = OnnxRuntimeCpu(load_bundle(shipped_bundle()))
    for count, frames in ((1, 198), (5, 198), (2, 298), (1, 40)):
        pcm, rows = windows(count, frames)
        found = inferred(stub, "speaker_windows", "embeddings", pcm=pcm, rows=rows)
        assert found.shape == (count, 192)
        assert lowest_cosine(found, backend.embed(pcm, rows)) >= 1 - 1e-6


@pytest.mark.parametrize("seconds", [0.5, 2.02, 12.3])
def test_whole_utterances_are_embedded_as_the_daemon_does(
    stub: Stub, daemon: Daemon, seconds: float
) -> None:
    audio = noise(seconds)
    found = inferred(stub, "speaker", "EMBEDDINGS", WAV=audio[None])
    with connected(daemon.address) as stubs:
        request = verification_pb2.EmbedRequest(
            audio=verification_pb2.Audio(format=FLOAT32, content=audio.tobytes()),
            samples_per_chunk=-1,
        )
        wanted = np.array([stubs.verification.Embed(request, timeout=60).embedding], np.float32)
    assert lowest_cosine(found, wanted) >= 1 - 1e-6


def test_utterances_of_many_lengths_at_once_do_not_leak_into_each_other(stub: Stub) -> None:
    lengths = [720, 721, 8000, 8001, 16000, 16159, 16160, 32320, 48000] * 3

    def ask(number: int) -> Float32:
        audio = np.random.default_rng(number).standard_normal((1, lengths[number]))
        return inferred(stub, "speaker", "EMBEDDINGS", WAV=(0.1 * audio).astype(np.float32))

    alone = [ask(number) for number in range(len(lengths))]
    with ThreadPoolExecutor(len(lengths)) as pool:
        together = list(pool.map(ask, range(len(lengths))))
    assert lowest_cosine(np.concatenate(together), np.concatenate(alone)) >= 1 - 1e-6


@pytest.mark.parametrize("samples", [1, 399, 400, 719])
def test_an_utterance_too_short_for_the_network_is_refused(stub: Stub, samples: int) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        inferred(stub, "speaker", "EMBEDDINGS", WAV=noise(1.0)[None, :samples])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "at least 3 are needed" in (refused.value.details() or "")


@pytest.mark.parametrize(
    ("rows", "samples", "said"),
    [
        ([[-1, 0, 1]], 2000, "rows must be numbers of the 11 frames"),
        ([[0, 1, 11]], 2000, "rows must be numbers of the 11 frames"),
        ([[0, 1, 2]], 399, "numbers of the 0 frames"),
        ([[0, 1]], 2000, "2 frames of 400 samples, at least 3 are needed"),
    ],
)
def test_what_is_wrong_is_refused_and_its_neighbours_are_not(
    stub: Stub, rows: list[list[int]], samples: int, said: str
) -> None:
    pcm = noise(1.0)[None, :samples]

    def ask(number: int) -> str:
        if number % 2:
            return str(inferred(stub, "speaker_windows", "embeddings", **right).shape)
        with pytest.raises(grpc.RpcError) as refused:
            inferred(stub, "speaker_windows", "embeddings", pcm=pcm, rows=np.array(rows))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        return refused.value.details() or ""

    good_pcm, good_rows = windows(1, 50)
    right: dict[str, NDArray[Any]] = {"pcm": good_pcm, "rows": good_rows}
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(ask, range(8)))
    assert all(said in outcome for outcome in outcomes[::2])
    assert outcomes[1::2] == ["(1, 192)"] * 4
