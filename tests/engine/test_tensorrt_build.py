"""Engines really parsed and built for compute capability 8.9, on a machine without a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from onnx import TensorProto, helper
from speakerd_server.engine.engine_file import EngineFile, engine_bytes, parse_engine
from speakerd_server.engine.engine_key import EngineKey, profiles_of
from speakerd_server.engine.lane import LaneSizes
from speakerd_server.engine.tensorrt_build import build_plan, check_target
from speakerd_server.engine.tensorrt_library import (
    FULL,
    RTX,
    Library,
    installed_libraries,
    target_of,
)
from speakerd_server.errors import EngineBuildFailed
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from support.engines import KEY
from support.networks import saved, small_network, taken

pytestmark = pytest.mark.timeout(120)

SMALL = profiles_of(LaneSizes(8, 98, 4, 300), 1)


@pytest.fixture(scope="module")
def library() -> Library:
    (found,) = installed_libraries([RTX])
    return found


def key_of(library: Library, **changed: object) -> EngineKey:
    values = {"library": library.name, "library_version": library.version, "profiles": SMALL}
    return dataclasses.replace(KEY, **(values | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_engine_of_the_shipped_model_is_built_for_a_gpu_that_is_not_here(
    library: Library, precision: str
) -> None:
    key = key_of(library, precision=precision, profiles=KEY.profiles)
    network = gpu_graph(load_bundle(shipped_bundle()), precision)
    phases: list[str] = []
    plan = build_plan(library, network, key, phases.append)
    assert len(plan) > len(network)
    assert "Building engine" in phases
    assert parse_engine(engine_bytes(EngineFile(key, plan))) == EngineFile(key, plan)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = saved(small_network(), tmp_path_factory.mktemp("small") / "net.onnx")
    return gpu_graph(load_bundle(taken(path).folder), "float16")


@pytest.mark.parametrize("capability", ["8.0", "8.6", "12.0", "12.1"])
def test_every_other_target_of_the_library_can_be_built_for(
    library: Library, small: bytes, capability: str
) -> None:
    assert build_plan(library, small, key_of(library, target=target_of(capability)))


def test_float32_matrix_products_are_refused_for_7_5_with_the_librarys_words(
    library: Library, small: bytes
) -> None:
    with pytest.raises(EngineBuildFailed, match="FP32 GEMM is not supported"):
        build_plan(library, small, key_of(library, target=target_of("7.5")))


def test_the_shipped_model_in_float16_is_built_for_7_5_too(library: Library) -> None:
    network = gpu_graph(load_bundle(shipped_bundle()), "float16")
    key = key_of(library, target=target_of("7.5"), profiles=KEY.profiles)
    assert build_plan(library, network, key)


def test_a_target_that_the_library_does_not_have_is_refused_by_name(
    library: Library, small: bytes
) -> None:
    with pytest.raises(
        EngineBuildFailed, match=r"no target for compute capability 9\.0, only 7\.5"
    ):
        check_target(library, "9.0", "campplus/1")
    with pytest.raises(EngineBuildFailed, match="no target for NVIDIA H100"):
        build_plan(library, small, key_of(library, target="NVIDIA H100"))
    check_target(library, "8.9", "campplus/1")


def test_what_is_no_graph_is_refused_with_what_the_library_says(library: Library) -> None:
    with pytest.raises(EngineBuildFailed, match="cannot read the graph") as refused:
        build_plan(library, b"no graph", key_of(library))
    assert refused.value.model == "campplus/1"


def test_an_operator_that_the_library_does_not_know_is_named(library: Library) -> None:
    inputs = [
        helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["B", "N"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["B", "T"]),
    ]
    output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", "N"])
    node = helper.make_node("Nonesuch", ["pcm"], ["embeddings"], domain="somebody")
    graph = helper.make_graph([node], "g", inputs, [output])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("somebody", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    with pytest.raises(EngineBuildFailed, match="Nonesuch"):
        build_plan(library, content, key_of(library))


def failing(library: Library, small: bytes) -> Callable[[], bytes]:
    # No window has fewer than one frame.
    wrong = dataclasses.replace(SMALL[0], windows=(4, 2, 1))
    return lambda: build_plan(library, small, key_of(library, profiles=(wrong,)))


def test_profiles_that_contradict_themselves_build_nothing(library: Library, small: bytes) -> None:
    with pytest.raises((EngineBuildFailed, ValueError)):
        failing(library, small)()


def test_a_library_that_cannot_begin_is_told_with_its_own_words(library: Library) -> None:
    class Unusable(SimpleNamespace):
        ILogger = library.module.ILogger

        def Builder(self, logger: Any) -> None:  # noqa: N802
            logger.log(self.ILogger.ERROR, "CUDA initialization failure with error 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    unusable = Library(FULL, "10.13", Unusable())
    with pytest.raises(EngineBuildFailed, match="initialization failure with error 35"):
        build_plan(unusable, b"", KEY)
