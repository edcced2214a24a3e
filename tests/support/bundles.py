"""Bundles of a small network under names and versions of a test's own, sound or not."""

from __future__ import annotations

import dataclasses
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper
from speakerd_server.calls.models import LoadedModel
from speakerd_server.cards import Card
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine import ModelEngine
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.models.bundle import load_bundle, shipped_bundle, write_bundle
from speakerd_server.values import ModelIdentity
from support.networks import saved, small_network, taken
from support.signals import card as some_card


def named(card: Card, name: str, version: str, **changes: Any) -> Card:
    """Give a card another name and version."""
    identity = ModelIdentity(name, version, card.identity.front_end)
    return dataclasses.replace(card, identity=identity, **changes)


def loaded(name: str = "small", version: str = "1", **changes: Any) -> LoadedModel:
    """Make a model of an engine that never had it, for who only looks at names."""
    card = named(some_card(), name, version, **changes)
    return LoadedModel(card, ModelEngine(Batcher(1, EngineSettings()), ""), f"{name}/{version}")


def small_bundle(folder: Path, name: str = "small", version: str = "1", **changes: Any) -> Path:
    """Write a bundle to folder/name/version; its card says so, but for what is changed."""
    card, onnx_bytes = _small()
    return write_bundle(folder / name / version, named(card, name, version, **changes), onnx_bytes)


def bundle_of_nan(folder: Path, name: str = "nan", version: str = "1") -> Path:
    """Write a bundle that loads and gives NaN."""
    card, onnx_bytes = _small()
    model: ModelProto = onnx.load_model_from_string(onnx_bytes)
    (last,) = [one for one in model.graph.initializer if one.name.endswith("last")]
    array = numpy_helper.to_array(last).copy()
    array[0, 0] = np.nan
    last.CopyFrom(numpy_helper.from_array(array, last.name))
    return write_bundle(
        folder / name / version, named(card, name, version), model.SerializeToString()
    )


def bundle_of_nothing(folder: Path, name: str = "nothing", version: str = "1") -> Path:
    """Write a whole bundle whose network is none."""
    card, _ = _small()
    return write_bundle(folder / name / version, named(card, name, version), b"no network")


def damage(bundle: Path) -> None:
    """Change one byte in the middle of a bundle's network."""
    path = bundle / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def copied(folder: Path, version: str, shipped: str = "campplus") -> Path:
    """Copy a shipped model to another version of itself."""
    source = shipped_bundle(shipped)
    card = load_bundle(source).card
    network = (source / "model.onnx").read_bytes()
    return write_bundle(folder / shipped / version, named(card, shipped, version), network)


def misnamed(folder: Path, version: str, source: Path) -> Path:
    """Copy a bundle to another version's folder without a word in its card."""
    return Path(shutil.copytree(source, folder / source.parent.name / version))


@cache
def _small() -> tuple[Card, bytes]:
    with TemporaryDirectory() as folder:
        imported = taken(saved(small_network(), Path(folder) / "net.onnx"))
        return imported.card, (imported.folder / "model.onnx").read_bytes()
