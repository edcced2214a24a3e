"""Inference requests that lie, are too large or no requests: refused by name, alone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from speakerd.kserve import inference_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.kserve import SECOND, VOICE, Input, asked, infer, refused
from support.speech import noise

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


BYTES = SECOND.astype("<f4").tobytes()
WAV = Input(name="WAV", datatype="FP32", shape=(1, 16_000))
LYING: dict[str, tuple[str, pb.ModelInferRequest]] = {
    "both contents": (
        "TENSOR_INVALID",
        pb.ModelInferRequest(
            inputs=[
                Input(
                    name="WAV",
                    datatype="FP32",
                    shape=(1, 16_000),
                    contents=pb.InferTensorContents(fp32_contents=[0.5]),
                )
            ],
            raw_input_contents=[BYTES],
        ),
    ),
    "no contents": ("TENSOR_INVALID", pb.ModelInferRequest(inputs=[WAV])),
    "no inputs": ("TENSOR_INVALID", pb.ModelInferRequest()),
    "contents without input": ("TENSOR_INVALID", pb.ModelInferRequest(raw_input_contents=[BYTES])),
    "one byte less": (
        "TENSOR_INVALID",
        pb.ModelInferRequest(inputs=[WAV], raw_input_contents=[BYTES[1:]]),
    ),
    "a shape beyond memory": (
        "TENSOR_INVALID",
        pb.ModelInferRequest(
            inputs=[Input(name="WAV", datatype="FP32", shape=(1, 2**62))],
            raw_input_contents=[BYTES],
        ),
    ),
    "a batch beyond memory": (
        "BATCH_SIZE_INVALID",
        pb.ModelInferRequest(
            inputs=[Input(name="WAV", datatype="FP32", shape=(2**62, 0))],
            raw_input_contents=[b""],
        ),
    ),
    "nothing to hear": (
        "NO_AUDIO",
        pb.ModelInferRequest(
            inputs=[Input(name="WAV", datatype="FP32", shape=(1, 0))], raw_input_contents=[b""]
        ),
    ),
    "other typed contents": (
        "TENSOR_INVALID",
        pb.ModelInferRequest(
            inputs=[
                Input(
                    name="WAV",
                    datatype="FP32",
                    shape=(1, 2),
                    contents=pb.InferTensorContents(fp64_contents=[0.5, 0.5]),
                )
            ]
        ),
    ),
    "more than a minute": ("AUDIO_TOO_LONG", asked(np.tile(VOICE, 11)[: 16_000 * 60 + 1])),
    "infinite": ("AUDIO_NOT_FINITE", asked(np.full(16_000, np.inf, np.float32))),
    "no audio of any scale": ("AUDIO_OUT_OF_RANGE", asked(noise(1.0) * np.float32(1e9))),
}


@pytest.mark.parametrize("lie", LYING)
def test_a_request_that_lies_is_refused_by_name_and_others_never_notice(
    lie: str, stubs: wire.Stubs
) -> None:
    reason, request = LYING[lie]
    request.model_name = "speaker"
    before = infer(stubs, asked(SECOND))
    refusal = refused(stubs, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert refusal.domain == "speakerd"
    assert refusal.fields
    assert np.array_equal(infer(stubs, asked(SECOND)), before)


def test_a_request_of_60_mib_is_read_and_one_over_64_is_refused_by_grpc(
    stubs: wire.Stubs, daemon: Daemon
) -> None:
    silent = np.zeros(60 * 16_000, np.float32)
    assert refused(stubs, asked(*[silent] * 16)).reason == "AUDIO_WITHOUT_VOICE"
    with wire.connected(daemon.address, ("grpc.max_send_message_length", 100 << 20)) as wide:
        refusal = refused(wide, asked(*[silent] * 18))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")


def test_a_request_of_millions_of_tensors_holds_up_nobody(
    stubs: wire.Stubs, daemon: Daemon
) -> None:
    many = pb.ModelInferRequest(model_name="speaker", inputs=[Input()] * 500_000)
    shaped = pb.ModelInferRequest(
        model_name="speaker", inputs=[Input(name="WAV", datatype="FP32", shape=[1] * 5_000_000)]
    )
    for request, said in ((many, "at most 16 inputs"), (shaped, "at most 8 dimensions")):
        begun_s = time.monotonic()
        assert said in refused(stubs, request).message
        assert time.monotonic() - begun_s < 5.0
        assert infer(stubs, asked(SECOND)).shape == (1, 192)


def test_bytes_that_are_no_request_end_their_own_call(daemon: Daemon, stubs: wire.Stubs) -> None:
    bytes_of = random.Random(0)
    rpc: Any = stubs.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for _ in range(20):
        with pytest.raises(grpc.RpcError) as failed:
            rpc(bytes_of.randbytes(bytes_of.randrange(1, 500)), timeout=wire.DEADLINE_S)
        assert isinstance(failed.value, grpc.Call)
        assert failed.value.code() in (
            grpc.StatusCode.UNKNOWN,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
        )
    assert infer(stubs, asked(SECOND)).shape == (1, 192)
