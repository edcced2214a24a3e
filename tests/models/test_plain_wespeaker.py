"""Every kind of network against the same written plainly in torch: `make test-export`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from speakerd_server.models.checkpoint import read_checkpoint
from support.shared import shared_path
from support.wespeaker import (
    KINDS,
    Arrays,
    config_of,
    features_session,
    network_of,
    random_features,
)

pytestmark = [pytest.mark.export, pytest.mark.timeout(300)]

FRAMES = {"ResNet293_TSTP": (41,), "ResNet221_TSTP": (41,)}


@pytest.fixture(scope="session")
def torch(request: pytest.FixtureRequest) -> Any:
    """Torch, whose absence is a failure where the export tests were asked for."""
    if "export" not in request.config.getoption("-m"):
        pytest.skip("needs the export extra; run `make test-export`")
    return importlib.import_module("torch")


def reference(kind: str, arrays: Arrays, feats: NDArray[np.float32]) -> NDArray[Any]:
    config = config_of(kind)
    pooling = config["model_args"]["pooling_func"]
    module = importlib.import_module("support.plain_wespeaker")
    if kind.startswith("CAMPPlus"):
        return np.asarray(module.campplus(arrays, feats))
    plain = module.Plain(arrays)
    if kind.startswith("ResNet"):
        return np.asarray(plain.resnet(feats, pooling))
    return np.asarray(plain.ecapa(feats, pooling, context="GLOB" in kind))


def agree(found: NDArray[Any], wanted: NDArray[Any], bound: float = 1e-4) -> None:
    difference = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert difference.max() <= bound
    cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1)
    assert (cosines / np.linalg.norm(wanted, axis=1)).min() >= 0.999999


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_agrees_with_torch(torch: Any, tmp_path: Path, kind: str) -> None:
    network, arrays = network_of(tmp_path, kind)
    session = features_session(network)
    for frames in FRAMES.get(kind, (41, 203)):
        feats = random_features(2, frames)
        agree(session.run(None, {"feats": feats})[0], reference(kind, arrays, feats))


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("resnet34", "ResNet34_TSTP"), ("ecapa512", "ECAPA_TDNN_GLOB_c512_ASTP")],
)
def test_the_plain_networks_are_wespeaker_s(torch: Any, folder: str, kind: str) -> None:
    shared = shared_path("reference/wespeaker_checkpoints") / folder
    arrays = read_checkpoint((shared / "avg_model.pt").read_bytes())
    features = np.load(shared_path("reference/fbank_wespeaker.npz"))
    for utterance, wanted in np.load(shared / "expected.npz").items():
        name, _, first = utterance.partition(".")
        if not first:
            continue
        feats = features[name][:198]
        feats = (feats - feats.mean(axis=0, keepdims=True)).astype(np.float32)[None]
        agree(reference(kind, arrays, feats), wanted[None], bound=1e-5)
