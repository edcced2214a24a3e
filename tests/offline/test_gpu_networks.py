from __future__ import annotations

import sys

import pytest
from speakerd_server.errors import ExtraMissing, ModelUnusable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import RECIPE, gpu_graph
from speakerd_server.offline.gpu_networks import networks_of


def test_what_the_engine_is_given_is_the_graph_for_a_gpu() -> None:
    bundle = load_bundle(shipped_bundle())
    networks = networks_of(bundle)
    assert networks.recipe == RECIPE
    assert networks.make("float16", None) == gpu_graph(bundle, "float16")
    assert networks.make("float32", (32240, 198)) == gpu_graph(bundle, "float32", (32240, 198))


def test_a_model_without_a_graph_for_gpus_cannot_be_used_there() -> None:
    bundle = load_bundle(shipped_bundle("campplus-int8"))
    with pytest.raises(ModelUnusable, match="use the float model on a GPU") as refused:
        networks_of(bundle).make("float16", None)
    assert refused.value.path == bundle.onnx_path.parent


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "speakerd_server.models.gpu_graph")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExtraMissing, match=r"speakerd-server\[gpu\]"):
        networks_of(load_bundle(shipped_bundle()))
