"""A bundle's graph as a GPU is given it: float32 or float16, for windows of any length or of one.

Layers that only a processor profits from are left out, and everything constant is computed.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, helper

from speakerd_server.cards import Bundle
from speakerd_server.errors import GraphRefused
from speakerd_server.models.dense import dense_as_convolutions
from speakerd_server.models.fixed_frames import fix_frames
from speakerd_server.models.half import to_half
from speakerd_server.models.quantizable import (
    INTEGER_NODES,
    drop_unused,
    leave_out_ones,
    simplified,
)

RECIPE = 1
"""Counts changes of what `gpu_graph` makes of a bundle: an engine built of another is stale."""


def gpu_graph(bundle: Bundle, precision: str, sizes: tuple[int, int] | None = None) -> bytes:
    """Give the ONNX file of a bundle for a GPU.

    Args:
        bundle: Of a float network.
        precision: float32, or float16 for the network behind the front end.
        sizes: N and T of all windows that it will be given; None: any.

    Returns:
        The serialised model: pcm float32[B, N] and rows int64[B, T] to embeddings
        float32[B, dim]; the same bytes for the same arguments and version of ONNX Runtime.

    Raises:
        GraphRefused: It is an 8-bit network, has control flow (float16 only), or cannot be loaded.
    """
    path = bundle.onnx_path
    model = _read(path)
    if sizes is not None:
        fix_frames(model, *sizes)
    model = simplified(path, model.SerializeToString())
    leave_out_ones(model)
    if precision == "float16":
        to_half(path, model)
        dense_as_convolutions(model)
    return _finished(model, bundle, precision)


def _read(path: Path) -> ModelProto:
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as error:
        raise GraphRefused(path, f"it cannot be read ({error})") from error
    if any(node.op_type in INTEGER_NODES for node in model.graph.node):
        problem = "its layers are 8-bit, made for processors; use the float model on a GPU"
        raise GraphRefused(path, problem)
    return model


def _finished(model: ModelProto, bundle: Bundle, precision: str) -> bytes:
    _drop_unread_nodes(model)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    drop_unused(model)
    used = {node.domain for node in model.graph.node} | {"", "ai.onnx"}
    kept = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    identity = bundle.card.identity
    properties = {"name": f"{identity.name}/{identity.version}", "precision": precision}
    helper.set_model_props(model, properties)
    model.producer_name, model.producer_version = "speakerd", ""
    model.graph.name = "speakerd"
    return model.SerializeToString(deterministic=True)


def _drop_unread_nodes(model: ModelProto) -> None:
    """Leave out nodes whose outputs nobody reads, such as a shape that became constant."""
    read = {port.name for port in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if read & set(node.output):
            read.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
