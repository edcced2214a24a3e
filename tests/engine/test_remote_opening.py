from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from grpc import StatusCode
from speakerd_server.cards import Bundle
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.remote_opening import open_remote
from speakerd_server.engine.remote_settings import RemoteSettings
from speakerd_server.errors import RemoteEngineRefused, RemoteEngineUnavailable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from support.batching import window
from support.bundles import bundle_of_nan, small_bundle
from support.fleet import until
from support.kserve_server import KserveServer, served

DIM = 8
SETTINGS = RemoteSettings(health_interval_s=0.05, deadline_ms=5000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(small_bundle(tmp_path_factory.mktemp("small")))


@pytest.fixture
def server(small: Bundle) -> KserveServer:
    return KserveServer(OnnxRuntimeCpu(small), DIM)


@contextmanager
def opened(bundle: Bundle, address: str, settings: RemoteSettings = SETTINGS) -> Iterator[Lanes]:
    lanes = open_remote(bundle, address, settings, 2)
    yield lanes
    lanes.close()


def refusal(bundle: Bundle, server: KserveServer) -> str:
    with served(server) as address, pytest.raises(RemoteEngineRefused) as refused:
        open_remote(bundle, address, SETTINGS, 2)
    assert refused.value.address == address
    return refused.value.problem


def test_lanes_to_a_server_with_the_same_model_embed_as_the_bundle_does(
    small: Bundle, server: KserveServer
) -> None:
    with served(server) as address, opened(small, address) as lanes:
        assert len(lanes.narrow) == 2
        assert lanes.side_by_side
        for lane in lanes.narrow:
            (found,) = embed_windows(lane, [window(3, 50)], DIM)
            (wanted,) = embed_windows(OnnxRuntimeCpu(small), [window(3, 50)], DIM)
            assert isinstance(found, np.ndarray)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_a_server_that_is_not_there_is_refused(small: Bundle) -> None:
    with pytest.raises(RemoteEngineRefused, match=r"127\.0\.0\.1:1 cannot be used: UNAVAILABLE"):
        open_remote(small, "127.0.0.1:1", SETTINGS, 1)


def test_a_server_that_is_not_ready_is_refused(small: Bundle, server: KserveServer) -> None:
    server.ready = False
    assert refusal(small, server) == "the server, or its model speaker_windows, is not ready"


def test_a_server_without_the_model_is_refused(small: Bundle, server: KserveServer) -> None:
    settings = dataclasses.replace(SETTINGS, model="another")
    with served(server) as address, pytest.raises(RemoteEngineRefused, match="NOT_FOUND"):
        open_remote(small, address, settings, 1)


def test_a_model_of_whole_utterances_is_refused(small: Bundle, server: KserveServer) -> None:
    server.inputs = {"WAV": "FP32"}
    assert "takes WAV FP32 and gives embeddings" in refusal(small, server)


def test_a_model_of_another_dimension_is_refused(small: Bundle, server: KserveServer) -> None:
    server.dim = 192
    assert refusal(small, server).endswith("have 192 values, the card of small says 8")


def test_a_server_that_says_any_dimension_is_tried(small: Bundle, server: KserveServer) -> None:
    server.dim = -1
    with served(server) as address, opened(small, address):
        pass
    server.backend = FakeBackend(DIM + 1)
    assert "another: it gives embeddings of shape (3, 9)" in refusal(small, server)


def test_another_model_of_the_same_dimension_is_refused(
    small: Bundle, server: KserveServer
) -> None:
    server.backend = FakeBackend(DIM)
    assert "is another: an embedding in a batch of 3 has cosine" in refusal(small, server)


def test_a_model_that_gives_nan_is_refused(
    small: Bundle, server: KserveServer, tmp_path: Path
) -> None:
    server.backend = OnnxRuntimeCpu(load_bundle(bundle_of_nan(tmp_path)))
    assert "not finite" in refusal(small, server)


@pytest.mark.parametrize("code", [StatusCode.INTERNAL, StatusCode.PERMISSION_DENIED])
def test_a_server_that_fails_the_trial_is_refused(
    small: Bundle, server: KserveServer, code: StatusCode
) -> None:
    server.refusals = [code] * 3
    assert code.name in refusal(small, server)


def test_the_8_bit_model_is_not_taken_for_the_float_one(tmp_path: Path) -> None:
    eight_bit = OnnxRuntimeCpu(load_bundle(shipped_bundle("campplus-int8")))
    problem = refusal(load_bundle(shipped_bundle()), KserveServer(eight_bit, 192))
    assert "at least 0.999 is wanted" in problem


def test_the_servers_largest_batch_bounds_every_request(
    small: Bundle, server: KserveServer
) -> None:
    server.most_windows = 2
    with served(server) as address, opened(small, address) as lanes:
        server.asked.clear()
        embed_windows(lanes.narrow[0], [window(n) for n in range(5)], DIM)
    assert [shape[0] for shape in server.asked] == [2, 2, 1]


def test_every_lane_is_connected_again_before_a_server_counts_as_back(
    small: Bundle, server: KserveServer
) -> None:
    settings = dataclasses.replace(SETTINGS, retries=0)
    with ExitStack() as first:
        address = first.enter_context(served(server))
        with opened(small, address, settings) as lanes:
            watch = lanes.watch
            assert watch is not None
            for _ in range(3):
                first.close()
                for lane in lanes.narrow:
                    (outcome,) = embed_windows(lane, [window(1)], DIM)
                    assert isinstance(outcome, RemoteEngineUnavailable)
                until(lambda: watch.away, 10)
                # So that the connections wait for their next try.
                time.sleep(0.7)
                first.enter_context(served(server, address))
                until(lambda: watch.away is None, 10)
                for lane in lanes.narrow:
                    (outcome,) = embed_windows(lane, [window(1)], DIM)
                    assert isinstance(outcome, np.ndarray)


def test_another_model_after_a_restart_is_not_used(small: Bundle, server: KserveServer) -> None:
    with served(server) as address, opened(small, address) as lanes:
        watch = lanes.watch
        assert watch is not None
        right, server.backend = server.backend, FakeBackend(DIM)
        server.ready = False
        until(lambda: watch.away, 10)
        server.ready = True
        until(lambda: "is another" in (watch.away or ""), 10)
        (outcome,) = embed_windows(lanes.narrow[0], [window(1)], DIM)
        assert isinstance(outcome, RemoteEngineUnavailable)
        server.backend = right
        until(lambda: watch.away is None, 10)
        (outcome,) = embed_windows(lanes.narrow[0], [window(1)], DIM)
        assert isinstance(outcome, np.ndarray)
