from __future__ import annotations

from pathlib import Path

import pytest
from speakerd_server import __version__
from speakerd_server.calls.inference_catalog import OVER_DEFAULT, served
from speakerd_server.calls.inference_values import ModelListing, TensorDescription
from speakerd_server.cards import Bundle
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import (
    FieldInvalid,
    InferenceUnsupported,
    ModelIsDefault,
    ModelRefused,
    ModelUnknown,
    SpeakerdError,
)
from support.administered import SMALL_DIM, opened
from support.bundles import damage, small_bundle
from support.inferring import embeddings, inferring, utterances
from support.signals import noise

pytestmark = pytest.mark.timeout(60)
READY = "READY"


async def test_the_server_says_what_it_is_and_how_it_is(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        assert inference.live()
        assert inference.ready()
        described = inference.server_metadata()
        assert (described.name, described.version) == ("speakerd", __version__)
        assert "statistics" in described.extensions
        inference.well = False
        assert inference.live()
        assert not inference.ready()
        inference.well = True
        one.serving.places.draining = True
        assert not inference.ready()


async def test_metadata_have_the_batch_first_and_every_version(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        small_bundle(one.folder, "small", "10")
        small_bundle(one.folder, "small", "2")
        await inference.load("small/10")
        await inference.load("small/2")
        for name, versions in (("speaker", ("1",)), ("small", ("1", "2", "10"))):
            found = inference.metadata(name, "1")
            assert (found.name, found.versions) == (name, versions)
            assert found.inputs == (TensorDescription("WAV", "FP32", (-1, -1)),)
            assert found.outputs == (TensorDescription("EMBEDDINGS", "FP32", (-1, SMALL_DIM)),)
        windows = inference.metadata("speaker_windows", "")
        assert [one.name for one in windows.inputs] == ["pcm", "rows"]
        assert windows.outputs == (TensorDescription("embeddings", "FP32", (-1, SMALL_DIM)),)
        for name, version in (("none", ""), ("small", "3"), ("speaker", "2")):
            assert not inference.model_ready(name, version)
            with pytest.raises(ModelUnknown):
                inference.metadata(name, version)
            with pytest.raises(ModelUnknown):
                await inference.config(name, version)


async def test_a_configuration_says_what_the_engine_measured(tmp_path: Path) -> None:
    async with inferring(tmp_path, maximum_batch=5) as (inference, one):
        (done,) = one.serving.models.default.engine.statistics()
        assert done.cost is not None
        for name in ("speaker", "small", "speaker_windows"):
            found = await inference.config(name, "")
            assert found.description == inference.metadata(name, "")
            assert (found.maximum_batch, found.devices) == (5, ("cpu",))
            assert found.preferred_batches == (done.cost.best_windows,)


async def test_the_index_has_what_is_loaded_and_what_could_be(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        small_bundle(one.folder, "small", "2")
        before = await inference.index()
        assert before == [
            ModelListing("campplus", "1", "UNAVAILABLE", "not loaded"),
            ModelListing("campplus-int8", "1", "UNAVAILABLE", "not loaded"),
            ModelListing("small", "1", READY),
            ModelListing("small", "2", "UNAVAILABLE", "not loaded"),
            ModelListing("speaker", "1", READY),
            ModelListing("speaker_model", "1", READY),
            ModelListing("speaker_windows", "1", READY),
        ]
        assert await inference.index(ready=True) == [x for x in before if x.state == READY]
        await inference.load("small")
        assert ModelListing("small", "2", READY) in await inference.index(ready=True)
        with one.serving.models.held("small/2"):
            await inference.unload("small/2")
            leaving = ModelListing("small", "2", "UNLOADING", "calls still hold it")
            assert leaving in await inference.index()
            assert not inference.model_ready("small", "2")
        await inference.load("small/2")
        assert inference.model_ready("small", "2")


async def test_a_folder_of_models_that_is_gone_leaves_the_shipped_ones(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        one.folder.rename(tmp_path / "elsewhere")
        names = [each.name for each in await inference.index()]
        assert names == ["campplus", "campplus-int8", "small", *OVER_DEFAULT]


async def test_a_bundle_can_be_loaded_asked_and_unloaded_by_its_name(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        small_bundle(one.folder, "other", "3")
        await inference.load("other")
        reply = await inference.infer(utterances(noise(800), model="other"))
        assert (reply.model, reply.version) == ("other", "3")
        assert embeddings(reply).shape == (1, SMALL_DIM)
        await inference.unload("other")
        with pytest.raises(ModelUnknown):
            await inference.infer(utterances(noise(800), model="other"))


async def test_what_cannot_be_loaded_or_unloaded_is_refused_by_name(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, one):
        damage(small_bundle(one.folder, "broken", "1"))
        loads: list[tuple[str, type[SpeakerdError]]] = [
            ("", FieldInvalid),
            ("n" * 129, FieldInvalid),
            ("../small", ModelUnknown),
            ("none", ModelUnknown),
            ("broken", ModelRefused),
        ]
        for name, kind in loads:
            with pytest.raises(kind):
                await inference.load(name)
        with pytest.raises(InferenceUnsupported):
            await inference.load("small", with_parameters=True)
        await inference.load("speaker")
        unloads: list[tuple[str, type[SpeakerdError]]] = [
            ("", FieldInvalid),
            ("none", ModelUnknown),
            ("small", ModelIsDefault),
            ("speaker", InferenceUnsupported),
        ]
        for name, kind in unloads:
            with pytest.raises(kind):
                await inference.unload(name)


async def test_the_network_is_loaded_when_it_is_asked_for_and_by_its_models_name(
    tmp_path: Path,
) -> None:
    async with inferring(tmp_path) as (inference, one):
        models, small = one.serving.models, one.serving.models.default
        assert models.find("small.network/1") is None
        assert inference.model_ready("speaker_model", "")
        described = inference.metadata("speaker_model", "1")
        assert described.inputs == (TensorDescription("feats", "FP32", (-1, -1, 80)),)
        assert described.outputs == (TensorDescription("embs", "FP32", (-1, SMALL_DIM)),)
        await inference.load("speaker_model")
        assert models.find("small.network/1") is not None
        assert await inference.network(small) == "small.network/1"
        assert ModelListing("small.network", "1", READY) in await inference.index()
        assert inference.metadata("small.network", "").inputs == described.inputs
        await inference.unload("speaker_model")
        assert models.find("small.network/1") is None
        assert inference.model_ready("speaker_model", "")


async def test_a_network_that_cannot_be_had_is_listed_with_the_reason_and_not_tried_again(
    tmp_path: Path,
) -> None:
    opens = 0

    def open_lanes(bundle: Bundle) -> Lanes:
        nonlocal opens
        opens += 1
        if bundle.card.identity.name.endswith(".network"):
            raise ModelRefused("small.network/1", "no room for it")
        return opened(bundle)

    async with inferring(tmp_path, open_lanes=open_lanes) as (inference, one):
        small = one.serving.models.default
        for _ in range(3):
            with pytest.raises(ModelRefused, match="no room for it"):
                await inference.network(small)
        assert opens == 2
        listed = ModelListing("speaker_model", "1", "UNAVAILABLE", "no room for it")
        assert listed in await inference.index()
        assert not inference.model_ready("speaker_model", "")
        with pytest.raises(ModelRefused):
            await inference.load("speaker_model")
        assert opens == 3


def test_models_over_the_default_have_one_version_and_bundles_their_own() -> None:
    assert served("speaker", "").reference == served("speaker_windows", "1").reference == ""
    assert served("campplus", "").reference == "campplus"
    assert served("campplus", "7").reference == "campplus/7"
