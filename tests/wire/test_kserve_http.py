"""What each path does, over a real port and a small model; mistakes of HTTP are elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speakerd_server import metrics
from speakerd_server.calls.inference import Inference
from speakerd_server.calls.inference_values import InferenceRequest
from speakerd_server.cards import Bundle
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.wire.kserve_http_server import HttpServer
from support import inferring, over_http
from support.bundles import small_bundle
from support.over_http import LENGTH, Answer
from support.speech import Float32, noise

LOUD = 0.9
SECOND = np.clip(noise(1.0), -0.8, 0.8)[None]
POISON = np.where(np.arange(16_000) == 8_000, np.float32(LOUD + 0.05), SECOND)
Ask = Callable[..., Any]


def failing(bundle: Bundle) -> Lanes:
    def poisoned(window: Float32) -> bool:
        return float(np.abs(window).max()) > LOUD

    return Lanes(bundle.card.dim, [FakeBackend(bundle.card.dim, poisoned)])


class Served:
    """A port, and what is behind it."""

    def __init__(self, inference: Inference, address: str) -> None:
        self.inference, self.address = inference, address

    async def get(self, path: str) -> Answer:
        return await asyncio.to_thread(over_http.get, self.address, path)

    async def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return await asyncio.to_thread(over_http.post, self.address, path, body, **headers)

    async def infer(self, body: bytes, model: str = "speaker", **headers: str) -> Answer:
        return await self.post(f"/v2/models/{model}/infer", body, **headers)

    async def infer_binary(
        self, samples: Float32, said: dict[str, Any] | None = None, **headers: str
    ) -> Answer:
        body, length = over_http.in_binary(samples, **(said or {}))
        return await self.infer(body, Inference_Header_Content_Length=length, **headers)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Served]:
    async with inferring.inferring(tmp_path, open_lanes=failing) as (inference, one):
        small_bundle(one.folder, "small", "2")
        server = HttpServer(inference, "127.0.0.1:0")
        try:
            yield Served(inference, await server.start())
        finally:
            await server.stop()


async def expected(port: Served, samples: Float32) -> Float32:
    return inferring.embeddings(await port.inference.infer(inferring.utterances(*samples)))


async def test_json_and_binary_data_give_the_same_embeddings(port: Served) -> None:
    batch = np.stack([SECOND[0], SECOND[0][::-1]])
    wanted = await expected(port, batch)
    plain = await port.infer(over_http.in_json(batch))
    assert plain.headers["Content-Type"] == "application/json"
    assert LENGTH not in plain.headers
    assert np.array_equal(plain.embeddings, wanted)
    binary = await port.infer_binary(batch)
    assert binary.headers["Content-Type"] == "application/octet-stream"
    assert np.array_equal(binary.embeddings, wanted)
    assert plain.status == binary.status == 200
    assert plain.headers["Server"] == "speakerd"


async def test_the_bytes_of_an_input_may_begin_at_any_place(port: Served) -> None:
    wanted = await expected(port, SECOND)
    for blanks in range(4):
        answer = await port.infer_binary(SECOND, {"id": " " * blanks})
        assert np.array_equal(answer.embeddings, wanted)


@pytest.mark.parametrize("said", ["", "7", "\u00e9\u4e2d", "a" * 500, "line\nbreak"])
async def test_any_id_is_echoed(port: Served, said: str) -> None:
    answer = await port.infer(over_http.in_json(SECOND, id=said))
    assert answer.json.get("id", "") == said
    assert answer.json["model_name"] == "speaker"
    assert answer.json["model_version"] == "1"


@pytest.mark.parametrize(
    ("coding", "compress", "decompress"),
    [
        ("gzip", gzip.compress, gzip.decompress),
        ("deflate", zlib.compress, zlib.decompress),
    ],
)
async def test_both_ways_can_be_compressed(
    port: Served, coding: str, compress: Callable[..., bytes], decompress: Callable[..., bytes]
) -> None:
    wanted = await expected(port, SECOND)
    body, length = over_http.in_binary(SECOND)
    answer = await port.infer(
        compress(body),
        Inference_Header_Content_Length=length,
        Content_Encoding=coding,
        Accept_Encoding=coding,
    )
    assert answer.headers["Content-Encoding"] == coding
    content = decompress(answer.body)
    assert np.array_equal(Answer(200, answer.headers, content).embeddings, wanted)
    plain = await port.infer(compress(over_http.in_json(SECOND)), Content_Encoding=coding)
    assert "Content-Encoding" not in plain.headers
    assert np.array_equal(plain.embeddings, wanted)


async def test_a_bundle_answers_by_its_own_name_and_version(port: Served) -> None:
    for path in ("speaker/versions/1", "small", "small/versions/1", "sm%61ll"):
        answer = await port.infer(over_http.in_json(SECOND), path)
        assert np.array_equal(answer.embeddings, await expected(port, SECOND))


async def test_what_is_told_is_what_is_told_over_grpc(port: Served) -> None:
    said = (await port.get("/v2")).json
    assert said["name"] == "speakerd"
    assert "binary_tensor_data" in said["extensions"]
    for path in ("/v2/models/speaker", "/v2/models/speaker/versions/1", "/v2/models/speaker/"):
        metadata = (await port.get(path)).json
        assert metadata["inputs"] == [{"name": "WAV", "datatype": "FP32", "shape": [-1, -1]}]
    config = (await port.get("/v2/models/speaker/config")).json
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "WAV", "data_type": "TYPE_FP32", "dims": [-1]}]


async def test_health_is_a_status(port: Served) -> None:
    ready = ["/v2/health/live", "/v2/health/ready", "/v2/models/speaker/ready"]
    ready += ["/v2/models/speaker/versions/1/ready", "/v2/models/small/versions/1/ready"]
    for path in ready:
        answer = await port.get(path)
        assert (answer.status, answer.body) == (200, b"")
    assert (await port.get("/v2/models/none/ready")).status == 400
    assert (await port.get("/v2/models/speaker/versions/2/ready")).status == 400
    port.inference.well = False
    assert (await port.get("/v2/health/ready")).status == 400
    assert (await port.get("/v2/models/speaker/ready")).status == 400
    assert (await port.get("/v2/health/live")).status == 200


async def test_requests_are_counted_with_those_of_grpc(port: Served) -> None:
    await port.infer(over_http.in_json(np.concatenate([SECOND, SECOND])))
    await port.infer(over_http.in_json(SECOND[:, :10]))
    (found,) = (await port.get("/v2/models/speaker/stats")).json["model_stats"]
    assert found["inference_count"] == 2
    assert found["inference_stats"]["success"]["count"] == 1
    assert found["inference_stats"]["fail"]["count"] == 1
    every = (await port.get("/v2/models/stats")).json["model_stats"]
    assert {"speaker", "small"} <= {one["name"] for one in every}


async def test_bundles_are_listed_loaded_and_unloaded(port: Served) -> None:
    def states(answer: Answer) -> dict[str, str]:
        return {f"{one['name']}/{one['version']}": one["state"] for one in answer.json}

    listed = states(await port.post("/v2/repository/index"))
    assert (listed["small/1"], listed["small/2"]) == ("READY", "UNAVAILABLE")
    ready = states(await port.post("/v2/repository/index", b'{"ready": true}'))
    assert set(ready.values()) == {"READY"}
    answer = await port.post("/v2/repository/models/small/2/load", b"{}")
    assert (answer.status, answer.body) == (200, b"")
    assert (await port.get("/v2/models/small/versions/2/ready")).status == 200
    unload = b'{"parameters":{"unload_dependents":false}}'
    assert (await port.post("/v2/repository/models/small/2/unload", unload)).status == 200
    assert (await port.get("/v2/models/small/versions/2/ready")).status == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/v2/repository/index", b'{"ready": 1}', 400, "BODY_INVALID"),
        ("/v2/repository/index", b"[", 400, "BODY_INVALID"),
        ("/v2/repository/models/none/load", b"", 404, "MODEL_UNKNOWN"),
        ("/v2/repository/models/none/unload", b"", 404, "MODEL_UNKNOWN"),
        ("/v2/repository/models/small/unload", b"", 409, "MODEL_IS_DEFAULT"),
        (
            "/v2/repository/models/small/load",
            b'{"parameters":{"config":"{}"}}',
            400,
            "INFERENCE_UNSUPPORTED",
        ),
        ("/v2/models/none/infer", over_http.in_json(SECOND), 404, "MODEL_UNKNOWN"),
        ("/v2/models/speaker/versions/7/infer", over_http.in_json(SECOND), 404, "MODEL_UNKNOWN"),
        ("/v2/models/speaker/infer", b"", 400, "BODY_INVALID"),
        ("/v2/models/speaker/infer", b"{}", 400, "BODY_INVALID"),
        ("/v2/models/speaker/infer", b'{"inputs":[]}', 400, "TENSOR_INVALID"),
        ("/v2/models/speaker/infer", over_http.in_json(SECOND[0]), 400, "TENSOR_INVALID"),
        ("/v2/models/speaker/infer", over_http.in_json(SECOND[:0]), 400, "BATCH_SIZE_INVALID"),
        ("/v2/models/speaker/infer", over_http.in_json(SECOND * 1e30), 400, "AUDIO_OUT_OF_RANGE"),
        ("/v2/models/speaker/infer", over_http.in_json(POISON), 500, "ENGINE_BATCH_FAILED"),
        ("/v2", b"", 405, "METHOD_UNSUPPORTED"),
        ("/v2/models/speaker", b"", 405, "METHOD_UNSUPPORTED"),
        ("/v2/models/speaker/infer/more", b"", 404, "PATH_UNKNOWN"),
        ("/v2/systemsharedmemory/status", b"", 404, "PATH_UNKNOWN"),
    ],
)
async def test_a_mistake_is_answered_by_its_status_and_in_words(
    port: Served, path: str, body: bytes, status: int, reason: str
) -> None:
    before = metrics.REFUSALS.labels(reason)._value.get()
    answer = await port.post(path, body)
    assert (answer.status, answer.reason) == (status, reason)
    assert len(answer.error) >= 10
    assert metrics.REFUSALS.labels(reason)._value.get() == before + 1
    assert (await port.infer(over_http.in_json(SECOND))).status == 200


async def test_a_wrong_method_is_told_the_right_one(port: Served) -> None:
    answer = await port.post("/v2", b"")
    assert answer.headers["Allow"] == "GET"


async def test_the_words_are_those_that_tritons_clients_look_for(port: Served) -> None:
    answer = await port.infer(over_http.in_json(SECOND), "none")
    assert answer.error == "Request for unknown model: 'none' is not found"


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "", "9" * 30, "\u0663", "4000000"])
async def test_a_length_of_the_json_that_cannot_be_is_refused(port: Served, length: str) -> None:
    body, _ = over_http.in_binary(SECOND)
    answer = await port.infer(body, Inference_Header_Content_Length=length or " ")
    assert (answer.status, answer.reason) == (400, "BODY_INVALID")


async def test_when_draining_bodies_are_refused_and_lines_closed_only_for_good(
    port: Served,
) -> None:
    places = port.inference.serving.places
    places.draining = True
    answer = await port.infer_binary(SECOND)
    assert (answer.status, answer.reason) == (503, "DRAINING")
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers.get("Connection") != "close"
    places.stopping = True
    assert (await port.get("/v2/health/ready")).headers["Connection"] == "close"


async def test_when_every_place_is_taken_the_client_is_told_at_once(port: Served) -> None:
    places = port.inference.serving.places
    with places.unary(512 << 20):
        answer = await port.infer_binary(SECOND)
    assert (answer.status, answer.reason) == (429, "TOO_MANY_CALLS")
    assert (await port.infer_binary(SECOND)).status == 200


async def test_a_failure_without_a_name_is_told_without_a_word_of_it(
    port: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: InferenceRequest) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(port.inference, "infer", broken)
    answer = await port.infer(over_http.in_json(SECOND, id="call-7"))
    assert (answer.status, answer.reason) == (500, "INTERNAL")
    assert answer.error == "the daemon failed; its log has the cause under request call-7"


async def test_an_answer_in_json_has_floats_that_come_back_to_the_bit(port: Served) -> None:
    answer = await port.infer(over_http.in_json(SECOND))
    (output,) = json.loads(answer.body)["outputs"]
    assert all(isinstance(one, float) for one in output["data"])
    assert np.array_equal(np.array(output["data"], np.float32)[None], await expected(port, SECOND))
