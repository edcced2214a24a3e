from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from speakerd_server.cards import Bundle
from speakerd_server.engine.engine_file import engine_bytes, write_engine
from speakerd_server.engine.opening import lane_sizes
from speakerd_server.engine.tensorrt_cache import (
    EngineRequest,
    Networks,
    build_engine,
    obtain_engine,
)
from speakerd_server.engine.tensorrt_library import RTX, installed_libraries, target_of
from speakerd_server.errors import EngineFileMissing, EngineFileRefused
from speakerd_server.models.bundle import load_bundle
from speakerd_server.offline.gpu_networks import networks_of
from support.networks import saved, small_network, taken

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = saved(small_network(), tmp_path_factory.mktemp("small") / "net.onnx")
    return load_bundle(taken(path).folder)


def request_of(bundle: Bundle, samples_per_chunk: int = 32000) -> EngineRequest:
    (library,) = installed_libraries([RTX])
    sizes = lane_sizes(bundle, samples_per_chunk, 4, 5.0)
    target = target_of("8.9")
    return EngineRequest(bundle, sizes, samples_per_chunk, "float16", library, target, "gpu:0")


def test_the_key_says_all_that_the_engine_depends_on(bundle: Bundle) -> None:
    request = request_of(bundle)
    key = request.key(networks_of(bundle))
    assert key.model == "mine/1"
    assert key.model_sha256 == bundle.card.sha256
    assert key.front_end == bundle.card.identity.front_end
    assert (key.precision, key.library) == ("float16", RTX)
    assert key.library_version == request.library.version
    assert key.profiles[0].frames == (198, 198, 198)
    assert key.profiles[1].frames[2] == 500


def test_nothing_is_built_where_it_may_not_be(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineFileMissing) as missing:
        obtain_engine(request_of(bundle), networks_of(bundle), tmp_path, may_build=False)
    assert f"build-engine {bundle.onnx_path.parent} --device gpu:0" in missing.value.command
    assert list(tmp_path.iterdir()) == []


def test_an_engine_is_built_once_and_then_found(bundle: Bundle, tmp_path: Path) -> None:
    request, networks = request_of(bundle), networks_of(bundle)
    engine = obtain_engine(request, networks, tmp_path, may_build=True)
    assert engine.key == request.key(networks)
    assert [one.name for one in tmp_path.iterdir()] == [engine.key.file_name]
    unused = Networks(lambda precision, sizes: pytest.fail("it was built again"), networks.recipe)
    assert obtain_engine(request, unused, tmp_path, may_build=False) == engine
    assert obtain_engine(request, unused, tmp_path, may_build=True) == engine


def test_a_profile_that_cannot_hold_the_window_is_refused_by_name(
    bundle: Bundle, tmp_path: Path
) -> None:
    networks = networks_of(bundle)
    write_engine(tmp_path, build_engine(request_of(bundle), networks))
    with pytest.raises(EngineFileRefused) as refused:
        obtain_engine(request_of(bundle, 48000), networks, tmp_path, may_build=False)
    assert "windows of 198 frames" in refused.value.problem
    assert "windows of 298 frames" in refused.value.problem
    assert "--samples-per-chunk 48000" in refused.value.command


def test_a_damaged_engine_is_refused_or_built_anew(bundle: Bundle, tmp_path: Path) -> None:
    request, networks = request_of(bundle), networks_of(bundle)
    engine = build_engine(request, networks)
    path = tmp_path / engine.key.file_name
    path.write_bytes(engine_bytes(engine)[:-1])
    with pytest.raises(EngineFileRefused, match="damaged or cut off"):
        obtain_engine(request, networks, tmp_path, may_build=False)
    assert obtain_engine(request, networks, tmp_path, may_build=True).key == engine.key
    assert obtain_engine(request, networks, tmp_path, may_build=False).key == engine.key


def test_an_engine_of_another_recipe_is_stale(bundle: Bundle, tmp_path: Path) -> None:
    request, networks = request_of(bundle), networks_of(bundle)
    write_engine(tmp_path, build_engine(request, networks))
    later = dataclasses.replace(networks, recipe=networks.recipe + 1)
    with pytest.raises(EngineFileRefused, match="recipe"):
        obtain_engine(request, later, tmp_path, may_build=False)
