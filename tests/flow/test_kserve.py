"""KServe's inference protocol spoken directly: what requests may hold, and what a daemon lives."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd.kserve import inference_pb2 as pb
from speakerd.v1 import admin_pb2, verification_pb2
from speakerd_server.values import Float32, Window
from speakerd_server.windows.slicer import Slicer
from support import wire
from support.daemon import Daemon, over_fake_engine
from support.kserve import (
    SECOND,
    VOICE,
    Input,
    asked,
    embeddings,
    features_asked,
    infer,
    refused,
    statistics,
)
from support.page import grown, read_page
from support.speech import noise, pcm16

pytestmark = pytest.mark.timeout(90)
KiB = 1024


@pytest.fixture(scope="module")
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def resident_kib(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def cosine(one: Float32, other: Float32) -> float:
    a, b = one[0].astype(np.float64), other[0].astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_typed_contents_give_the_bits_of_raw_ones(stubs: wire.Stubs) -> None:
    raw = infer(stubs, asked(SECOND))
    contents = pb.InferTensorContents(fp32_contents=SECOND.tolist())
    typed = pb.ModelInferRequest(
        model_name="speaker",
        inputs=[Input(name="WAV", datatype="FP32", shape=(1, SECOND.size), contents=contents)],
    )
    assert np.array_equal(infer(stubs, typed), raw)


def test_a_batch_has_an_embedding_for_each_utterance_in_their_order(stubs: wire.Stubs) -> None:
    utterances = [VOICE[start : start + 16_000] for start in range(0, 64_000, 8_000)]
    alone = np.concatenate([infer(stubs, asked(one)) for one in utterances])
    together = infer(stubs, asked(*utterances))
    assert together.shape == (8, 192)
    cosines = (together * alone).sum(1)
    cosines /= np.linalg.norm(together, axis=1) * np.linalg.norm(alone, axis=1)
    assert cosines.min() >= 1 - 1e-6


def test_windows_of_a_recording_give_the_mean_that_embed_gives(stubs: wire.Stubs) -> None:
    signal = VOICE[:100_000]
    slicer = Slicer(32_000, 3)
    cut: list[Window] = [*slicer.push(signal), *slicer.end()]
    found = []
    for one in cut:
        request = pb.ModelInferRequest(
            model_name="speaker_windows",
            inputs=[
                Input(name="pcm", datatype="FP32", shape=(1, one.pcm.size)),
                Input(name="rows", datatype="INT64", shape=(1, one.rows.size)),
            ],
            raw_input_contents=[one.pcm.tobytes(), one.rows.astype("<i8").tobytes()],
        )
        found.append(infer(stubs, request)[0])
    audio = verification_pb2.Audio(format=wire.PCM16, content=pcm16(signal))
    embed = verification_pb2.EmbedRequest(audio=audio, samples_per_chunk=32_000)
    expected = np.array(stubs.verification.Embed(embed, timeout=wire.DEADLINE_S).embedding)
    mean = np.mean(np.array(found, np.float64), 0)
    assert len(found) == len(cut) == 3
    assert mean @ expected / np.linalg.norm(mean) / np.linalg.norm(expected) >= 1 - 1e-6


def test_features_give_the_embedding_of_their_audio(stubs: wire.Stubs) -> None:
    reply = stubs.inference.ModelInfer(features_asked(SECOND), timeout=wire.DEADLINE_S)
    assert (reply.model_name, reply.model_version) == ("speaker_model", "1")
    assert reply.outputs[0].name == "embs"
    assert cosine(embeddings(reply), infer(stubs, asked(SECOND))) >= 1 - 1e-6
    config = stubs.inference.ModelConfig(pb.ModelConfigRequest(name="speaker_model")).config
    assert [list(one.dims) for one in config.input] == [[-1, 80]]
    assert [list(one.dims) for one in config.output] == [[192]]


def test_statistics_only_grow_and_every_part_of_a_request_is_in_them(stubs: wire.Stubs) -> None:
    before = statistics(stubs)
    for _ in range(3):
        infer(stubs, asked(SECOND, SECOND))
    refused(stubs, asked(SECOND[:100]))
    after = statistics(stubs)
    assert after.inference_count - before.inference_count == 6
    assert 1 <= after.execution_count - before.execution_count <= 6
    assert after.last_inference >= before.last_inference > 0
    old, new = before.inference_stats, after.inference_stats
    assert (new.success.count - old.success.count, new.fail.count - old.fail.count) == (3, 1)
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        earlier, later = getattr(old, part), getattr(new, part)
        assert later.count - earlier.count == 3, part
        assert later.ns > earlier.ns, part
    assert sum(one.compute_infer.count for one in after.batch_stats) <= after.execution_count


def test_samples_beyond_full_scale_are_embedded_and_counted(
    stubs: wire.Stubs, daemon: Daemon
) -> None:
    before = read_page(daemon)
    loud = SECOND.copy()
    loud[:10] = 2.0
    assert np.isfinite(infer(stubs, asked(loud))).all()
    assert grown(before, read_page(daemon), "speakerd_loud_samples_total") == 10


def test_memory_stays_flat_over_a_thousand_lengths(own_daemon: Daemon) -> None:
    lengths = list(range(720, 720 + 1000 * 24, 24))
    random.Random(1).shuffle(lengths)
    samples = VOICE[:24_720]

    def embed_all(stubs: wire.Stubs, some: list[int]) -> None:
        waiting = [
            stubs.inference.ModelInfer.future(asked(samples[:length]), timeout=wire.DEADLINE_S)
            for length in some
        ]
        for one in waiting:
            assert embeddings(one.result()).shape == (1, 192)

    with own_daemon as daemon, wire.connected(daemon.address) as stubs:
        embed_all(stubs, [*lengths[:100], max(lengths)])
        before_kib = resident_kib(daemon)
        for start in range(0, 1000, 50):
            embed_all(stubs, lengths[start : start + 50])
        assert resident_kib(daemon) - before_kib < 32 * KiB
        assert statistics(stubs).inference_count == 1101


def test_health_and_reflection_know_the_service(daemon: Daemon) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
        answer = health.Check(request, timeout=wire.DEADLINE_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_daemon_that_drains_is_not_ready_and_tells_requests_so(own_daemon: Daemon) -> None:
    with own_daemon as daemon, wire.connected(daemon.address) as stubs:
        ready = pb.ServerReadyRequest()
        assert stubs.inference.ServerReady(ready).ready
        stubs.admin.Drain(admin_pb2.DrainRequest())
        assert not stubs.inference.ServerReady(ready).ready
        assert stubs.inference.ServerLive(pb.ServerLiveRequest()).live
        refusal = refused(stubs, asked(SECOND))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        (answer,) = stubs.inference.ModelStreamInfer(iter([asked(SECOND, id="7")]))
        assert answer.error_message == refusal.message
        assert answer.infer_response.id == "7"
        stubs.admin.Drain(admin_pb2.DrainRequest(resume=True))
        assert stubs.inference.ServerReady(ready).ready
        assert infer(stubs, asked(SECOND)).shape == (1, 192)


def test_a_dead_engine_is_not_ready(tmp_path: Path) -> None:
    deadly = noise(1.0)
    deadly[500] = 0.96
    with over_fake_engine(tmp_path) as fake, wire.connected(fake.address) as stubs:
        assert stubs.inference.ServerReady(pb.ServerReadyRequest()).ready
        assert refused(stubs, asked(deadly)).reason == "ENGINE_DEAD"
        assert not stubs.inference.ServerReady(pb.ServerReadyRequest()).ready
        model = pb.ModelReadyRequest(name="speaker")
        assert not stubs.inference.ModelReady(model).ready


def stream_refused(stubs: wire.Stubs) -> str:
    """Try a stream of one request; gives why it was refused, or nothing."""
    try:
        (answer,) = stubs.inference.ModelStreamInfer(iter([asked(SECOND)]))
    except grpc.RpcError as error:
        return wire.refusal(error).reason
    return str(answer.error_message)


def test_a_stream_whose_answers_are_not_read_is_ended_and_gives_its_place_back(
    tmp_path: Path,
) -> None:
    flags = ("--calls-write-timeout-s=0.5", "--calls-maximum-streams=1")
    large = asked(*[SECOND[:720]] * 64)
    with over_fake_engine(tmp_path, *flags) as fake, wire.connected(fake.address) as stubs:
        stuck = stubs.inference.ModelStreamInfer(iter([large] * 200), timeout=wire.DEADLINE_S)
        assert not next(stuck).error_message
        assert stream_refused(stubs) == "TOO_MANY_STREAMS"
        end_s = time.monotonic() + 20
        while stream_refused(stubs):
            assert time.monotonic() < end_s
            time.sleep(0.05)
        with pytest.raises(grpc.RpcError) as failed:
            list(stuck)
        assert wire.refusal(failed.value).reason == "CLIENT_NOT_READING"


def test_a_stream_that_is_not_read_does_not_hold_up_others(tmp_path: Path) -> None:
    with over_fake_engine(tmp_path) as fake, wire.connected(fake.address) as stubs:
        many = (asked(SECOND, id=str(n)) for n in range(200))
        stream = stubs.inference.ModelStreamInfer(many, timeout=wire.DEADLINE_S)
        assert infer(stubs, asked(SECOND)).shape == (1, 192)
        assert [one.infer_response.id for one in stream] == [str(n) for n in range(200)]


def test_several_front_ends_answer_as_one_does(tmp_path: Path, stubs: wire.Stubs) -> None:
    expected = infer(stubs, asked(SECOND))
    with (
        Daemon(tmp_path, "--server-workers=2") as several,
        wire.connected(several.address) as theirs,
    ):
        # Two loads: which session a lone window gets is measured at each.
        assert cosine(infer(theirs, asked(SECOND)), expected) >= 1 - 1e-6
        found = statistics(theirs)
        told = found.inference_stats
        assert (found.inference_count, found.execution_count) == (1, 1)
        assert told.success.ns >= told.compute_infer.ns > 1_000_000
        config = theirs.inference.ModelConfig(pb.ModelConfigRequest(name="speaker")).config
        assert config.dynamic_batching.preferred_batch_size
        assert [one.kind for one in config.instance_group] == [pb.ModelInstanceGroup.KIND_CPU]
        ready = theirs.inference.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
        assert "speaker" in [one.name for one in ready.models]
        features = infer(theirs, features_asked(SECOND))
        assert cosine(features, expected) >= 1 - 1e-6
        listed = theirs.admin.ListModels(admin_pb2.ListModelsRequest()).models
        assert [one.identity.name for one in listed] == ["campplus", "campplus.network"]
        theirs.inference.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(model_name="speaker_model")
        )
        assert len(theirs.admin.ListModels(admin_pb2.ListModelsRequest()).models) == 1
        assert cosine(infer(theirs, features_asked(SECOND)), features) >= 1 - 1e-6
