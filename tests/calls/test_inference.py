from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.inference import Inference
from speakerd_server.calls.inference_values import InferenceRequest
from speakerd_server.cards import Bundle
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import (
    AudioNotFinite,
    BatchSizeInvalid,
    Draining,
    EmbeddingInvalid,
    InvalidInput,
    ModelUnknown,
    TensorInvalid,
    TooManyCalls,
)
from speakerd_server.models.front_end import front_end
from speakerd_server.values import AudioFormat, Encoding, Float32
from support.administered import SMALL_DIM, Administered, until
from support.batching import Gated, window
from support.inferring import embeddings, inferring, tensor, utterances, windows
from support.signals import noise

pytestmark = pytest.mark.timeout(60)
FLOATS = AudioFormat(Encoding.FLOAT32LE, 16_000)


class GatedSmall(Gated):
    """A gated backend with embeddings of the small model's length."""

    def __init__(self) -> None:
        super().__init__()
        self._dim = SMALL_DIM
        self._basis = np.ones((4, SMALL_DIM), np.float32)


def alike(some: ArrayLike, others: ArrayLike) -> bool:
    """Tell whether embeddings are the same but for the order of sums in a batch."""
    a, b = np.asarray(some, np.float64), np.asarray(others, np.float64)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return a.shape == b.shape and bool(cosines.min() >= 1 - 1e-6)


async def heard_whole(one: Administered, samples: Float32) -> Float32:
    """Give the embedding that `Embed` gives of the whole signal."""
    hearing = Hearing(one.serving.models.default, FLOATS, -1)
    heard = await hearing.whole(one.serving, samples.tobytes())
    return heard.utterance.mean.astype(np.float32)


async def test_an_utterance_gets_the_embedding_that_embed_gives_of_the_whole(
    tmp_path: Path,
) -> None:
    async with inferring(tmp_path) as (inference, one):
        for samples in (720, 879, 32_000, 50_001):
            signal = noise(samples, samples)
            reply = await inference.infer(utterances(signal))
            assert np.array_equal(embeddings(reply), [await heard_whole(one, signal)])


async def test_neither_batch_nor_neighbours_change_an_embedding(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, _):
        signals = [noise(4_000 + 160 * (n // 4), n) for n in range(8)]
        alone = [embeddings(await inference.infer(utterances(one)))[0] for one in signals]
        together = await asyncio.gather(*(inference.infer(utterances(one)) for one in signals))
        assert alike([embeddings(one)[0] for one in together], alone)
        batch = embeddings(await inference.infer(utterances(*signals[:4])))
        assert alike(batch, alone[:4])


async def test_windows_get_what_the_engine_gives(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        given_ = [window(seed, 20) for seed in range(3)]
        expected = [await one.serving.models.default.engine.submit(each) for each in given_]
        found = embeddings(await inference.infer(windows(*given_)))
        assert alike(found, expected)


async def test_features_get_the_embedding_of_the_audio_they_were_made_of(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        signals = [noise(8_000, seed) for seed in range(3)]
        expected = embeddings(await inference.infer(utterances(*signals)))
        made = [front_end(one.serving.models.default.card.front_end).log_mel(x) for x in signals]
        features = np.stack([each - each.mean(0) for each in made])
        asked = [InferenceRequest("speaker_model", "", (tensor("feats", features),))]
        asked.append(InferenceRequest("small.network", "1", asked[0].inputs))
        for request in asked:
            reply = await inference.infer(request)
            (output,) = reply.outputs
            assert (reply.model, reply.version, output.name) == (request.model, "1", "embs")
            assert alike(embeddings(reply), expected)
        (counts,) = inference.statistics("speaker_model", "")
        assert (counts.inference_count, counts.success.count) == (3, 1)
        with pytest.raises(TensorInvalid, match="unexpected inference input 'WAV'"):
            await inference.infer(utterances(noise(800), model="small.network"))


async def test_name_version_and_id_come_back(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, _):
        for model, version, told in (
            ("speaker", "", "1"),
            ("speaker", "1", "1"),
            ("small", "", "1"),
            ("small", "1", "1"),
        ):
            request = utterances(noise(800), model=model, version=version, id="a/ b\n")
            reply = await inference.infer(request)
            assert (reply.model, reply.version, reply.id) == (model, told, "a/ b\n")
            (output,) = reply.outputs
            assert (output.name, output.shape) == ("EMBEDDINGS", (1, SMALL_DIM))


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("", ""),
        ("none", ""),
        ("speaker", "2"),
        ("speaker_windows", "x"),
        ("small", "2"),
        ("small", "1/1"),
        ("small/2", ""),
    ],
)
async def test_a_model_that_is_not_there_is_named_as_triton_names_it(
    model: str, version: str, tmp_path: Path
) -> None:
    async with inferring(tmp_path) as (inference, _):
        with pytest.raises(ModelUnknown, match=r"Request for unknown model: '.*is not found"):
            await inference.infer(utterances(noise(800), model=model, version=version))


async def test_one_bad_utterance_refuses_its_request_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    async with inferring(tmp_path) as (inference, one):
        bad = noise(800)
        bad[77] = np.nan
        with pytest.raises(AudioNotFinite) as refused:
            await inference.infer(utterances(noise(800), bad))
        assert (refused.value.sample_index, refused.value.field) == (77, "WAV[1]")
        assert one.serving.places.open_calls == one.serving.models.default.users == 0
        (done,) = one.serving.models.default.engine.statistics()
        assert (done.windows_embedded, done.queued_windows) == (0, 0)
        (counts,) = inference.statistics("speaker", "")
        assert (counts.fail.count, counts.success.count) == (1, 0)


async def test_the_limits_of_all_calls_hold(tmp_path: Path) -> None:
    async with inferring(tmp_path, maximum_batch=2) as (inference, one):
        with pytest.raises(BatchSizeInvalid):
            await inference.infer(utterances(*[noise(720)] * 3))
        places = one.serving.places
        with places.unary(512 << 20), pytest.raises(TooManyCalls):
            await inference.infer(utterances(noise(720)))
        places.draining = True
        with pytest.raises(Draining):
            await inference.infer(utterances(noise(720)))
        assert not inference.ready()
        assert not inference.model_ready("speaker", "")


async def test_a_cancelled_request_leaves_the_queue(tmp_path: Path) -> None:
    gated: list[GatedSmall] = []

    def open_lanes(bundle: Bundle) -> Lanes:
        gated.append(GatedSmall())
        return Lanes(bundle.card.dim, gated[-1:])

    async with inferring(tmp_path, open_lanes=open_lanes) as (inference, one):
        (backend,) = gated
        backend.is_warm = True
        engine = one.serving.models.default.engine
        first = asyncio.create_task(inference.infer(utterances(noise(720))))
        await backend.wait_until_busy()
        second = asyncio.create_task(inference.infer(utterances(*[noise(720)] * 3)))
        await until(lambda: engine.statistics()[0].queued_windows == 3)
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        assert one.serving.places.open_calls == 1
        backend.gate.release(10)
        assert embeddings(await first).shape == (1, SMALL_DIM)
        third = await inference.infer(utterances(noise(720)))
        assert embeddings(third).shape == (1, SMALL_DIM)
        assert engine.statistics()[0].windows_embedded == 2
        (counts,) = inference.statistics("speaker", "1")
        assert (counts.success.count, counts.fail.count, counts.inference_count) == (2, 1, 2)


async def test_a_request_longer_than_the_engines_room_is_answered_whole(tmp_path: Path) -> None:
    async with inferring(tmp_path, maximum_batch=40) as (inference, _):
        signals = [noise(720, seed) for seed in range(40)]
        found = embeddings(await inference.infer(utterances(*signals)))
        alone = [embeddings(await inference.infer(utterances(one)))[0] for one in signals]
        assert alike(found, alone)


async def test_statistics_are_kept_apart_for_every_model(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, _):
        await inference.infer(utterances(noise(720), noise(720, 1)))
        await inference.infer(utterances(noise(720), model="small"))
        await inference.infer(windows(window(1)))
        every = inference.statistics("", "")
        counts = [(one.name, one.version, one.inference_count) for one in every]
        assert counts == [
            ("small", "1", 1),
            ("speaker", "1", 2),
            ("speaker_model", "1", 0),
            ("speaker_windows", "1", 1),
        ]
        asked = [one for one in every if one.inference_count]
        assert all(1 <= one.execution_count <= one.inference_count for one in asked)
        assert all(one.compute_infer.ns > 0 for one in asked)
        (same,) = inference.statistics("small", "1")
        assert same == every[0]
        with pytest.raises(ModelUnknown):
            inference.statistics("none", "")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_a_request_holds_is_embedded_or_refused_by_name_and_never_more(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.floats(-1, 1, width=32)
    drawn = data.draw(st.lists(values, min_size=1, max_size=30))
    length = data.draw(st.integers(0, 1_500))
    samples = np.resize(np.array(drawn, np.float32), length)

    async def run(inference: Inference, one: Administered) -> None:
        try:
            assert np.isfinite(embeddings(await inference.infer(utterances(samples)))).all()
        except (InvalidInput, EmbeddingInvalid):
            assert inference.statistics("speaker", "")[0].fail.count == 1
        assert one.serving.places.open_calls == one.serving.models.default.users == 0

    async def main() -> None:
        async with inferring(tmp_path_factory.mktemp("one")) as (inference, one):
            await run(inference, one)

    asyncio.run(main())
