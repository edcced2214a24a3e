"""What there is to know of bundles without embedding anything: `model list`, `model show`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from speakerd_server.cards import Card
from speakerd_server.errors import ModelDamaged, ModelUnusable, StartFailed
from speakerd_server.models.bundle import ONNX_NAME, load_bundle
from speakerd_server.models.card import read_card

_FRONT_END_PREFIX = "front_end_"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list of bundles."""

    folder: Path
    """The bundle's."""
    card: Card | None
    """None where it cannot be read."""
    size_bytes: int | None
    """Of the ONNX file; None where it is not there."""
    problem: str
    """Why the bundle cannot be used; empty where it can."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph."""

    name: str
    """In the graph."""
    kind: str
    """float32, int64, ..."""
    shape: tuple[int | str, ...]
    """Names for sizes that are free."""


@dataclass(frozen=True, slots=True)
class Shown:
    """All of one bundle."""

    listed: Listed
    """What a list says of it."""
    card: Card
    """Read strictly."""
    inputs: tuple[Port, ...]
    """Of the graph; empty where the file is not the card's."""
    outputs: tuple[Port, ...]
    """Of the graph; empty where the file is not the card's."""
    opset: int | None
    """Of ONNX's own operators; None where the package onnx is not installed."""
    parameters: int | None
    """Numbers in the network's arrays, without the front end's; None as for opset."""


def look_at(folder: Path) -> Listed:
    """Read one bundle and check its file; a damaged one is told in `problem`, never raised."""
    onnx_path = folder / ONNX_NAME
    size_bytes = onnx_path.stat().st_size if onnx_path.is_file() else None
    try:
        return Listed(folder, load_bundle(folder).card, size_bytes, "")
    except StartFailed as error:
        problem = _reason(error)
    try:
        return Listed(folder, read_card(folder), size_bytes, problem)
    except ModelUnusable:
        return Listed(folder, None, size_bytes, problem)


def show(folder: Path) -> Shown:
    """Read one bundle with the inputs and outputs of its graph.

    Raises:
        ModelUnusable: Its card cannot be read, or ONNX Runtime cannot load its graph.
    """
    listed = look_at(folder)
    if listed.card is None:
        raise ModelUnusable(folder, listed.problem)
    if listed.problem:
        return Shown(listed, listed.card, (), (), None, None)
    path = folder / ONNX_NAME
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        raise ModelUnusable(folder, f"ONNX Runtime cannot load {ONNX_NAME} ({error})") from error
    inputs, outputs = _ports(session.get_inputs()), _ports(session.get_outputs())
    return Shown(listed, listed.card, inputs, outputs, *_graph_facts(path))


def _reason(error: StartFailed) -> str:
    if isinstance(error, ModelDamaged):
        return f"{ONNX_NAME} is damaged: its SHA-256 is {error.found_sha256}"
    return error.problem if isinstance(error, ModelUnusable) else str(error)


def _ports(nodes: Iterable[Any]) -> tuple[Port, ...]:
    kinds = {"float": "float32", "double": "float64"}
    ports = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple("?" if size is None else size for size in node.shape)
        ports.append(Port(node.name, kinds.get(kind, kind), shape))
    return tuple(ports)


def _graph_facts(path: Path) -> tuple[int | None, int | None]:
    """Give opset and number of parameters, if the package onnx is there."""
    try:
        onnx = importlib.import_module("onnx")
    except ModuleNotFoundError:
        return None, None
    model = onnx.load(path)
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    whole_numbers = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    parameters = 0
    for tensor in model.graph.initializer:
        if not tensor.name.startswith(_FRONT_END_PREFIX) and tensor.data_type not in whole_numbers:
            numbers = 1
            for size in tensor.dims:
                numbers *= size
            parameters += numbers
    return opset, parameters
