from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from speakerd_server.calls.loading import (
    LocalLoader,
    bundles_at_start,
    found_for_loading,
    give_memory_back,
    placement_of,
    refused_by_name,
)
from speakerd_server.cards import Bundle
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.cpu import cpu_lanes
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import (
    DeviceUnavailable,
    Draining,
    EngineDead,
    ModelRefused,
    ModelUnknown,
    ModelUnusable,
    SettingInvalid,
)
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.choice import ModelSettings
from speakerd_server.models.profile import write_profile
from support.batching import Dying, window
from support.bundles import bundle_of_nan, copied, damage, misnamed, named, small_bundle

pytestmark = pytest.mark.timeout(60)


def opened(bundle: Bundle) -> Lanes:
    return cpu_lanes(bundle, 1, 1, 1)


@asynccontextmanager
async def loading(
    settings: ModelSettings | None = None,
) -> AsyncIterator[tuple[LocalLoader, Batcher]]:
    batcher = Batcher(1, EngineSettings())
    try:
        yield LocalLoader(batcher, "cpu", opened, settings or ModelSettings()), batcher
    finally:
        await batcher.stop()


def test_profiles_are_those_of_the_settings_and_of_models_that_are_there(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    (first, *_) = bundle.card.calibration.llr
    ours, theirs = tmp_path / "ours.toml", tmp_path / "theirs.toml"
    write_profile(ours, bundle.card.identity, replace(first, profile="wide-narrow"))
    (found,) = bundles_at_start(ModelSettings(profiles=(str(ours),)))
    assert found.card.calibration.llr_for("wide-narrow") == replace(first, profile="wide-narrow")
    assert found.cohort is not None
    write_profile(theirs, replace(bundle.card.identity, version="2"), first)
    with pytest.raises(SettingInvalid, match="it is one of another model: campplus/2") as caught:
        bundles_at_start(ModelSettings(profiles=(str(ours), str(theirs))))
    assert (caught.value.name, caught.value.source) == ("model.profiles", str(theirs))


def test_a_model_of_the_folder_comes_before_the_shipped_one_of_that_name(tmp_path: Path) -> None:
    assert found_for_loading("campplus", "").onnx_path.parent == shipped_bundle()
    small_bundle(tmp_path, "campplus", "9")
    newest = small_bundle(tmp_path, "campplus", "10")
    assert found_for_loading("campplus", str(tmp_path)).onnx_path.parent == newest
    assert found_for_loading("campplus/1", str(tmp_path)).onnx_path.parent == shipped_bundle()


@pytest.mark.parametrize(
    "reference", ["nosuch", "small/2", "../models/small", "/small/1", ".", "small/1/", ""]
)
def test_what_is_not_in_the_folder_by_its_name_is_unknown(tmp_path: Path, reference: str) -> None:
    small_bundle(tmp_path / "models")
    there = "can be loaded; there is small/1, campplus/1"
    with pytest.raises(ModelUnknown, match=there) as unknown:
        found_for_loading(reference, str(tmp_path / "models"))
    assert unknown.value.name == reference


def test_a_damaged_network_is_refused_with_both_digests(tmp_path: Path) -> None:
    damage(small_bundle(tmp_path))
    with pytest.raises(ModelRefused, match="SHA-256"):
        found_for_loading("small", str(tmp_path))


@pytest.mark.parametrize("content", ["", "name = 3", "not toml at all", "\udc80"])
def test_a_card_that_is_none_refuses_the_model(tmp_path: Path, content: str) -> None:
    card = small_bundle(tmp_path) / "card.toml"
    card.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelRefused, match=r"card\.toml"):
        found_for_loading("small", str(tmp_path))


def test_a_network_that_is_missing_refuses_the_model(tmp_path: Path) -> None:
    (small_bundle(tmp_path) / "model.onnx").unlink()
    with pytest.raises(ModelRefused, match=r"model\.onnx cannot be read"):
        found_for_loading("small", str(tmp_path))


def test_a_folder_that_is_gone_refuses_every_model(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="cannot be read"):
        found_for_loading("campplus", str(tmp_path / "nosuch"))


def test_a_card_that_names_another_version_than_its_folder_is_refused(tmp_path: Path) -> None:
    misnamed(tmp_path, "2", small_bundle(tmp_path, "small", "1"))
    assert found_for_loading("small/1", str(tmp_path)).card.identity.version == "1"
    for reference in ("small/2", "small"):
        with pytest.raises(ModelRefused, match="its card says that it is small/1") as refused:
            found_for_loading(reference, str(tmp_path))
        assert refused.value.name == "small/2"
    shutil.move(tmp_path / "small", tmp_path / "other")
    with pytest.raises(ModelRefused, match="its card says that it is small/1"):
        found_for_loading("other/1", str(tmp_path))


def test_the_models_of_the_settings_come_default_first_and_once(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path)
    settings = ModelSettings(default=str(folder), load=("campplus", str(folder), "campplus"))
    names = [bundle.card.identity.name for bundle in bundles_at_start(settings)]
    assert names == ["small", "campplus"]
    with pytest.raises(ModelUnusable):
        bundles_at_start(replace(settings, load=("nosuch",)))


def test_a_placement_by_version_comes_before_one_by_name() -> None:
    settings = ModelSettings(placement=("campplus=cpu", "campplus/2=gpu:1", "a=b/1=gpu:0"))
    card = load_bundle(shipped_bundle()).card
    assert placement_of(card, settings) == "cpu"
    assert placement_of(named(card, "campplus", "2"), settings) == "gpu:1"
    assert placement_of(named(card, "a=b", "1"), settings) == "gpu:0"
    assert placement_of(named(card, "other", "1"), settings) == ""


async def test_a_loaded_model_embeds_and_has_measured_its_batches(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle(tmp_path))
    async with loading() as (loader, _):
        model = await loader.load(bundle, "")
        assert (model.reference, model.card, model.users) == ("small/1", bundle.card, 0)
        assert (await model.engine.submit(window(0, frames=198))).shape == (8,)
        (done,) = model.engine.statistics()
        assert done.cost is not None
        assert done.cost.measured
        assert (done.device, done.windows_embedded) == ("cpu", 1)


async def test_a_model_may_be_loaded_again_while_its_old_self_is_leaving(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle(tmp_path))
    async with loading() as (loader, _):
        old, new = await loader.load(bundle, ""), await loader.load(bundle, "cpu")
        assert old.key != new.key
        await loader.unload(old)
        assert list(old.engine.statistics()) == []
        with pytest.raises(Draining):
            old.engine.submit(window(0))
        assert (await new.engine.submit(window(0))).shape == (8,)


@pytest.mark.parametrize("placed", [("small=gpu:0",), ()])
async def test_a_device_that_the_daemon_has_not_refuses_the_model(
    tmp_path: Path, placed: tuple[str, ...]
) -> None:
    bundle = load_bundle(small_bundle(tmp_path))
    async with loading(ModelSettings(placement=placed)) as (loader, _):
        with pytest.raises(ModelRefused, match="no device gpu:0; the daemon has cpu"):
            await loader.load(bundle, "" if placed else "gpu:0")
        assert (await loader.load(bundle, "cpu")).reference == "small/1"


async def test_a_model_that_gives_nan_or_other_lengths_is_refused_and_forgotten(
    tmp_path: Path,
) -> None:
    nan, wide = bundle_of_nan(tmp_path), small_bundle(tmp_path, "wide", dim=9)
    async with loading() as (loader, batcher):
        for folder, problem in ((nan, "is not finite"), (wide, r"shape \(1, 8\), not \(1, 9\)")):
            with pytest.raises(ModelRefused, match=problem):
                await loader.load(load_bundle(folder), "")
        assert not batcher.has("nan/1")
        assert not batcher.has("wide/1")
        good = await loader.load(load_bundle(small_bundle(tmp_path)), "")
        assert (await good.engine.submit(window(0))).shape == (8,)


async def test_a_network_that_onnx_runtime_cannot_load_is_none(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle(tmp_path))
    bundle.onnx_path.write_bytes(b"no network")
    async with loading() as (loader, _):
        with pytest.raises(ModelUnusable, match=r"ONNX Runtime cannot load model\.onnx"):
            await loader.load(bundle, "")


def test_what_would_stop_a_start_refuses_the_model_to_a_client(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle(tmp_path))
    with pytest.raises(ModelRefused, match=r"small/1.*gpu:0") as refused, refused_by_name(bundle):
        raise DeviceUnavailable("gpu:0", "nothing")
    assert refused.value.name == "small/1"
    with pytest.raises(EngineDead), refused_by_name(bundle):
        raise EngineDead("gone")


def test_a_model_that_the_settings_name_twice_is_loaded_once(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path)
    twice = (str(folder), f"{folder}/", str(folder.parent), "campplus", "campplus/1")
    found = bundles_at_start(ModelSettings(default="campplus/1", load=twice))
    assert [one.card.identity.name for one in found] == ["campplus", "small"]


def test_two_models_of_one_name_and_version_stop_the_start(tmp_path: Path) -> None:
    one = small_bundle(tmp_path / "one")
    other = bundle_of_nan(tmp_path / "other", "small")
    with pytest.raises(ModelUnusable, match="it is small/1, and so is another one"):
        bundles_at_start(ModelSettings(default=str(one), load=(str(other),)))


async def test_a_dead_engine_takes_no_model(tmp_path: Path) -> None:
    bundle = load_bundle(small_bundle(tmp_path))
    batcher = Batcher(1, EngineSettings())
    backend = Dying(8)
    loader = LocalLoader(batcher, "cpu", lambda _: Lanes(8, [backend]), ModelSettings())
    model = await loader.load(bundle, "")
    with pytest.raises(EngineDead):
        await model.engine.submit(window(0, level=1000.0))
    with pytest.raises(EngineDead, match="out of luck"):
        await loader.load(bundle, "")
    await batcher.stop()
    with pytest.raises(EngineDead):
        await loader.load(bundle, "")


async def test_an_engine_that_was_stopped_takes_no_model(tmp_path: Path) -> None:
    bundle = load_bundle(copied(tmp_path, "2"))
    async with loading() as (loader, batcher):
        await batcher.stop()
        with pytest.raises(Draining):
            await loader.load(bundle, "")


def test_memory_can_be_given_back_at_any_time() -> None:
    give_memory_back()
