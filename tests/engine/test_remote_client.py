from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd.kserve import inference_pb2 as pb
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.remote_client import (
    RemoteAnswerWrong,
    RemoteClient,
    RemoteModel,
    embeddings_of,
)
from speakerd_server.values import Float32, Int64
from support.kserve_server import MODEL, KserveServer, served

DIM = 5
DEADLINE_S = 5.0


@pytest.fixture
def server() -> KserveServer:
    return KserveServer(FakeBackend(DIM), DIM)


@pytest.fixture
def client(server: KserveServer) -> Iterator[RemoteClient]:
    with served(server) as address:
        opened = RemoteClient(address, MODEL)
        yield opened
        opened.close()


def windows(count: int, frames: int = 3) -> tuple[Float32, Int64]:
    pcm = np.random.default_rng(1).standard_normal((count, 160 * frames + 240)).astype(np.float32)
    return pcm, np.tile(np.arange(frames), (count, 1))


def test_what_comes_back_is_what_the_other_side_computed(client: RemoteClient) -> None:
    pcm, rows = windows(3)
    found = client.embed(pcm, rows, DEADLINE_S)
    np.testing.assert_array_equal(found, FakeBackend(DIM).embed(pcm, rows))
    assert found.dtype == np.float32
    assert found.flags.writeable


def test_a_view_of_larger_arrays_arrives_as_it_is(client: RemoteClient) -> None:
    pcm, rows = windows(6)
    found = client.embed(pcm[::2, :], rows[::2], DEADLINE_S)
    np.testing.assert_array_equal(found, FakeBackend(DIM).embed(pcm[::2], rows[::2]))


def test_a_server_is_ready_only_with_its_model(server: KserveServer, client: RemoteClient) -> None:
    assert client.is_ready(DEADLINE_S)
    server.ready = False
    assert not client.is_ready(DEADLINE_S)


def test_a_model_that_is_not_there_is_an_error(server: KserveServer) -> None:
    with served(server) as address:
        other = RemoteClient(address, "speaker")
        with pytest.raises(grpc.RpcError) as refused:
            other.is_ready(DEADLINE_S)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        other.close()


def test_a_server_says_what_it_is_and_has(server: KserveServer, client: RemoteClient) -> None:
    server.most_windows = 16
    assert client.describe(DEADLINE_S) == RemoteModel("made-up 1", DIM, 16)


@pytest.mark.parametrize("inputs", [{"WAV": "FP32"}, {"pcm": "FP32", "rows": "INT32"}, {}])
def test_a_model_of_other_inputs_is_told_by_them(
    server: KserveServer, client: RemoteClient, inputs: dict[str, str]
) -> None:
    server.inputs = inputs
    with pytest.raises(RemoteAnswerWrong, match="a model of windows takes pcm FP32, rows INT64"):
        client.describe(DEADLINE_S)


@pytest.mark.parametrize(
    "wrong",
    [
        {"datatype": "FP64"},
        {"shape": [2, DIM]},
        {"shape": [3, DIM + 1]},
        {"shape": [3, 0], "content": b""},
        {"shape": [3, -1]},
        {"shape": [3 * DIM]},
        {"content": b""},
        {"content": b"\0" * (4 * 3 * DIM - 1)},
        {"name": "EMBEDDINGS"},
    ],
)
def test_an_answer_that_contradicts_itself_is_none(
    server: KserveServer, client: RemoteClient, wrong: dict[str, Any]
) -> None:
    server.wrong = wrong
    with pytest.raises(RemoteAnswerWrong):
        client.embed(*windows(3), DEADLINE_S)


def test_no_answer_in_time_is_an_error(server: KserveServer, client: RemoteClient) -> None:
    server.gate.clear()
    with pytest.raises(grpc.RpcError) as late:
        client.embed(*windows(1), 0.1)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@given(
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    content=st.binary(max_size=64),
    kind=st.sampled_from(["FP32", "FP16", ""]),
    windows=st.integers(1, 4),
)
def test_any_answer_is_embeddings_or_refused(
    shape: list[int], content: bytes, kind: str, windows: int
) -> None:
    answer = pb.ModelInferResponse(raw_output_contents=[content])
    answer.outputs.add(name="embeddings", datatype=kind, shape=shape)
    try:
        found = embeddings_of(answer, windows)
    except RemoteAnswerWrong:
        return
    assert found.shape == tuple(shape)
    assert found.nbytes == len(content)
