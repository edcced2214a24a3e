"""A bundle's network alone, cut out of its graph: from features to embeddings.

The cut graph has the inputs and the output of any bundle, so that every engine takes it: `pcm` has
the features of the window, row by row, and `rows` says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, NodeProto, helper, numpy_helper

from speakerd_server.cards import Bundle
from speakerd_server.errors import GraphRefused
from speakerd_server.models.quantizable import drop_unused

MOST_FEATURES = 160
"""Of a frame: the samples of a frame's shift, so that features take no more room than audio."""


def network_of(bundle: Bundle) -> bytes:
    """Give the ONNX file of the network behind a bundle's front end.

    Args:
        bundle: As `speakerd model` commands write it.

    Returns:
        The serialised model: pcm float32[B, N], of which the first T M values of each row are
        features [T, M], their mean over time removed where the front end does so, and rows
        int64[B, T], to embeddings float32[B, dim]; the same bytes for the same bundle.

    Raises:
        GraphRefused: The file cannot be read, or frames are not chosen in it as in our graphs.
    """
    path, mel_bins = bundle.onnx_path, bundle.card.front_end.mel_bins
    if mel_bins > MOST_FEATURES:
        problem = f"it has {mel_bins} features of a frame, more than {MOST_FEATURES}"
        raise GraphRefused(path, problem)
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as error:
        raise GraphRefused(path, f"it cannot be read ({error})") from error
    features = _features(model.graph, mean_removed=bundle.card.front_end.mean_removed)
    if features is None:
        raise GraphRefused(path, "there is no place in it where frames are chosen by `rows`")
    _give(model.graph, features, mel_bins)
    _drop_unread(model.graph)
    drop_unused(model)
    del model.graph.value_info[:]
    return model.SerializeToString(deterministic=True)


def _features(graph: GraphProto, *, mean_removed: bool) -> str | None:
    """Name the value [B, T, M] that the network reads."""
    for chosen in _readers(graph, ["rows"], "Unsqueeze"):
        for frames in _readers(graph, chosen.output, "GatherND"):
            if not mean_removed:
                return frames.output[0]
            # However the mean is computed, here alone is something taken off the chosen frames.
            for centred in _readers(graph, frames.output, "Sub"):
                return centred.output[0]
    return None


def _readers(graph: GraphProto, names: Iterable[str], kind: str) -> list[NodeProto]:
    return [one for one in graph.node if one.op_type == kind and set(one.input) & set(names)]


def _give(graph: GraphProto, features: str, mel_bins: int) -> None:
    """Let the features come from `pcm`: its first T M values, in rows of M."""
    constants = {
        "cut_one": np.array([1], np.int64),
        "cut_zero": np.array([0], np.int64),
        "cut_bins": np.array([mel_bins], np.int64),
        "cut_sizes": np.array([0, -1, mel_bins], np.int64),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    kept = [one for one in graph.node if features not in one.output]
    made = [
        helper.make_node("Shape", ["rows"], ["cut_shape"]),
        helper.make_node("Gather", ["cut_shape", "cut_one"], ["cut_frames"]),
        helper.make_node("Mul", ["cut_frames", "cut_bins"], ["cut_values"]),
        helper.make_node("Slice", ["pcm", "cut_zero", "cut_values", "cut_one"], ["cut_used"]),
        helper.make_node("Reshape", ["cut_used", "cut_sizes"], [features]),
    ]
    del graph.node[:]
    graph.node.extend([*made, *kept])


def _drop_unread(graph: GraphProto) -> None:
    """Leave out the front end, whose values nobody reads any more."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [port.name for port in graph.output]
    read: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in read:
            read.add(name)
            waiting.extend(makers[name].input if name in makers else ())
    kept = [node for node in graph.node if read & set(node.output)]
    del graph.node[:]
    graph.node.extend(kept)
