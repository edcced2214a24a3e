from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.front_end import FAMILIES
from speakerd_server.models.network_trial import cosine, relative
from support.checkpoint import real_checkpoint
from support.networks import saved, shipped_network, taken
from support.speech import eval_ids, eval_utterance


@pytest.mark.timeout(120)
def test_the_shipped_network_from_features_gives_the_shipped_model_s_embeddings(
    tmp_path: Path,
) -> None:
    path = saved(shipped_network(), tmp_path / "net.onnx")
    imported = taken(path, FAMILIES["3dspeaker"])
    shipped = load_bundle(shipped_bundle())
    assert imported.card.min_frames == shipped.card.min_frames
    assert imported.card.precision == "float16"
    assert imported.card.identity.front_end == shipped.card.identity.front_end
    backends = [OnnxRuntimeCpu(bundle) for bundle in (load_bundle(imported.folder), shipped)]
    for utterance in eval_ids()[::6]:
        pcm = eval_utterance(utterance)[None]
        rows = np.arange(1 + (pcm.shape[1] - 400) // 160)[None]
        found, wanted = (backend.embed(pcm, rows) for backend in backends)
        assert relative(found[0], wanted[0]) <= 1e-3


@pytest.mark.export
@pytest.mark.timeout(300)
def test_what_torch_exports_of_the_real_weights_gives_the_shipped_model_s_embeddings(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "export" not in request.config.getoption("-m"):
        pytest.skip("needs the export extra; run `make test-export`")
    plain_export = importlib.import_module("support.plain_campplus").plain_export
    path = tmp_path / "net.onnx"
    path.write_bytes(plain_export(real_checkpoint()))
    bundle = load_bundle(taken(path, FAMILIES["3dspeaker"]).folder)
    backends = [OnnxRuntimeCpu(one) for one in (bundle, load_bundle(shipped_bundle()))]
    for utterance in eval_ids()[::6]:
        pcm = eval_utterance(utterance)[None]
        rows = np.arange(1 + (pcm.shape[1] - 400) // 160)[None]
        found, wanted = (backend.embed(pcm, rows)[0] for backend in backends)
        assert cosine(found, wanted) >= 0.999997
