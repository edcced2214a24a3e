"""KServe's inference protocol spoken directly: requests, and what answers say."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from speakerd.kserve import inference_pb2 as pb
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.front_end import front_end
from support import wire
from support.speech import VOICES, Float32, read

VOICE = read(VOICES / "slt-call.flac")
SECOND = VOICE[16_000:32_000]
Input = pb.ModelInferRequest.InferInputTensor


def asked(*utterances: Float32, model: str = "speaker", **more: str) -> pb.ModelInferRequest:
    """Ask for the embeddings of utterances of one length."""
    batch = np.stack(utterances)
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[Input(name="WAV", datatype="FP32", shape=batch.shape)],
        raw_input_contents=[batch.astype("<f4").tobytes()],
        **more,  # type: ignore[arg-type]
    )


def embeddings(reply: pb.ModelInferResponse) -> Float32:
    (output,) = reply.outputs
    (raw,) = reply.raw_output_contents
    values: Float32 = np.frombuffer(raw, "<f4").reshape(output.shape)
    return values


def infer(stubs: wire.Stubs, request: pb.ModelInferRequest) -> Float32:
    return embeddings(stubs.inference.ModelInfer(request, timeout=wire.DEADLINE_S))


def refused(stubs: wire.Stubs, request: pb.ModelInferRequest) -> wire.Refusal:
    with pytest.raises(grpc.RpcError) as failed:
        stubs.inference.ModelInfer(request, timeout=wire.DEADLINE_S)
    return wire.refusal(failed.value)


def statistics(stubs: wire.Stubs, model: str = "speaker") -> pb.ModelStatistics:
    (found,) = stubs.inference.ModelStatistics(
        pb.ModelStatisticsRequest(name=model), timeout=wire.DEADLINE_S
    ).model_stats
    return found


def features_asked(samples: Float32) -> pb.ModelInferRequest:
    """Ask for the embedding of the features of an utterance."""
    card = load_bundle(shipped_bundle()).card
    features = front_end(card.front_end).log_mel(samples)
    features -= features.mean(0)
    return pb.ModelInferRequest(
        model_name="speaker_model",
        inputs=[Input(name="feats", datatype="FP32", shape=(1, *features.shape))],
        raw_input_contents=[features.tobytes()],
    )
