"""What is asked of a server before a load, and how each kind of wrong server is named."""

from __future__ import annotations

import json

import pytest
from speakerd_client.errors import (
    InvalidLoad,
    NotFound,
    NotOffered,
    NotReachable,
    SpeakerdError,
    TooSlow,
    Unavailable,
)
from speakerd_client.load import kserve_probe
from speakerd_client.load.kserve import GRPC, HTTP, KSERVE_KINDS
from speakerd_client.load.kserve_probe import require_model
from support.daemon import Daemon
from support.raw_server import FORGET, answer, raw_server


def metadata(*inputs: tuple[str, str]) -> bytes:
    named = [{"name": name, "datatype": datatype, "shape": [-1, -1]} for name, datatype in inputs]
    return answer(json.dumps({"name": "speaker", "inputs": named}).encode())


@pytest.mark.parametrize("model", ["", "speaker/1", "campplus"])
async def test_a_model_that_is_there_is_found(daemon: Daemon, model: str) -> None:
    await require_model(GRPC, daemon.address, model)
    await require_model(HTTP, daemon.http, model)


@pytest.mark.parametrize("model", ["none", "speaker/7", "a b\r\nc"])
async def test_a_model_that_is_not_there_is_named(daemon: Daemon, model: str) -> None:
    for kind, address in ((GRPC, daemon.address), (HTTP, daemon.http)):
        with pytest.raises(NotFound, match="unknown model") as caught:
            await require_model(kind, address, model)
        assert caught.value.reason == "MODEL_UNKNOWN"


async def test_a_model_that_takes_something_else_is_named(daemon: Daemon) -> None:
    for kind, address in ((GRPC, daemon.address), (HTTP, daemon.http)):
        with pytest.raises(InvalidLoad, match="takes feats FP32; a load sends WAV FP32"):
            await require_model(kind, address, "speaker_model")


async def test_the_wrong_port_is_named_with_what_to_do(daemon: Daemon) -> None:
    with pytest.raises(NotOffered, match="speaks HTTP: take --kserve http"):
        await require_model(GRPC, daemon.http, "")
    with pytest.raises(NotOffered, match="take --kserve grpc"):
        await require_model(HTTP, daemon.address, "")
    with pytest.raises(NotOffered, match="does not offer KServe's inference protocol over HTTP"):
        await require_model(HTTP, daemon.metrics, "")


@pytest.mark.parametrize("kind", KSERVE_KINDS)
async def test_nobody_is_named(kind: str) -> None:
    with pytest.raises(NotReachable, match=r"no server answers at 127\.0\.0\.1:1"):
        await require_model(kind, "127.0.0.1:1", "")


@pytest.mark.parametrize("kind", KSERVE_KINDS)
async def test_a_server_that_says_nothing_is_too_slow(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kserve_probe, "ANSWER_S", 0.3)
    async with raw_server(None) as server:
        with pytest.raises((TooSlow, NotReachable)):
            await require_model(kind, server.address, "")


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (answer(b"<html>", "404 Not Found"), NotOffered),
        (answer(b"<html>"), NotOffered),
        (answer(b'{"inputs": 5}'), NotOffered),
        (answer(b'{"inputs": [5]}'), NotOffered),
        (answer(b"[" * 50_000), NotOffered),
        (answer(b'{"error": "unknown model"}', "400 Bad Request"), NotFound),
        (answer(b'{"error": "unknown model"}', "404 Not Found"), NotFound),
        (answer(b'{"error": "starting"}', "503 Service Unavailable"), Unavailable),
        (b"SSH-2.0-OpenSSH\r\n", NotOffered),
        (FORGET, NotOffered),
        (b"HTTP/1.1 nonsense\r\n\r\n", SpeakerdError),
        (metadata(), InvalidLoad),
        (metadata(("WAV", "INT16")), InvalidLoad),
        (metadata(("WAV", "FP32"), ("LENGTHS", "INT32")), InvalidLoad),
    ],
)
async def test_each_wrong_answer_over_http_is_named(sent: bytes, kind: type[SpeakerdError]) -> None:
    async with raw_server(sent) as server:
        with pytest.raises(kind):
            await require_model(HTTP, server.address, "")


async def test_metadata_that_says_the_right_input_is_enough() -> None:
    async with raw_server(metadata(("WAV", "FP32"))) as server:
        await require_model(HTTP, server.address, "")
