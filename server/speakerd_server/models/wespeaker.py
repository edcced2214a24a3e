"""From a WeSpeaker experiment and its checkpoint to a network that can be put into a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import CheckpointRefused
from speakerd_server.models.campplus import CamPlusPlus
from speakerd_server.models.ecapa import WIDTHS, Ecapa
from speakerd_server.models.embedder import Network
from speakerd_server.models.experiment import CAMPPLUS, Experiment
from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.layers import Layers
from speakerd_server.models.parameters import Parameters
from speakerd_server.models.pooling import Pooling, pooled_frames, statistics_of
from speakerd_server.models.resnet import ResNet
from speakerd_server.values import Float32

Arrays = Mapping[str, NDArray[Any]]

_OF_TRAINING = "projection."
"""How the names of the loss function's parameters begin: no embedding depends on them."""
_POOLING, _SAME_POOLING = "pool.", "xvector.stats."
"""CAM++'s pooling stands in a checkpoint under both names."""


def wespeaker_network(
    experiment: Experiment, arrays: Arrays, mean: Float32 | None = None
) -> Network:
    """Describe the network of an experiment.

    Args:
        experiment: Says which one.
        arrays: The checkpoint's; those of the training's loss are left out, any other extra one
            is refused when the network is added to a graph.
        mean: float32[dim] that is subtracted from every embedding.

    Returns:
        A network whose `add` raises CheckpointRefused when a parameter is missing, misshapen or
        unknown.

    Raises:
        CheckpointRefused: A number cannot be, or two names of one parameter differ.
    """
    used = {name: array for name, array in arrays.items() if not name.startswith(_OF_TRAINING)}
    for name, array in used.items():
        if not np.isfinite(array).all():
            raise CheckpointRefused(f"the parameter {name} has numbers that are not finite")
        if name.endswith(".running_var") and array.min(initial=0) < 0:
            raise CheckpointRefused(f"the parameter {name} has a variance below zero")
    add = _campplus(experiment, used) if experiment.architecture == CAMPPLUS else None
    return Network(
        dim=experiment.dim,
        mel_bins=experiment.mel_bins,
        min_frames=_min_frames(experiment),
        add=_without_mean(add or _layered(experiment, used), mean),
    )


def _min_frames(experiment: Experiment) -> int:
    """Give the fewest frames that leave the pooling enough: each stride of 2 halves them, up."""
    in_attention = WIDTHS.get(experiment.architecture, (0, False))[1]
    frames = pooled_frames(experiment.pooling, global_context=in_attention)
    if experiment.architecture in WIDTHS:
        return frames
    strides = 1 if experiment.architecture == CAMPPLUS else 3
    return ((frames - 1) << strides) + 1


def _layered(experiment: Experiment, arrays: Arrays) -> Callable[[GraphBuilder, str], str]:
    network: Ecapa | ResNet
    sizes = experiment.mel_bins, experiment.dim, experiment.pooling
    if experiment.architecture in WIDTHS:
        network = Ecapa(experiment.architecture, *sizes, experiment.embedding_norm)
    else:
        network = ResNet(experiment.architecture, *sizes, experiment.two_layers)
    return lambda graph, features: network.add(Layers(graph, Parameters(arrays)), features)


def _campplus(experiment: Experiment, arrays: Arrays) -> Callable[[GraphBuilder, str], str]:
    """3D-Speaker's network with WeSpeaker's pooling, which has a floor under its variance."""
    own = dict(arrays)
    for name in [name for name in own if name.startswith(_SAME_POOLING)]:
        kept = _POOLING + name.removeprefix(_SAME_POOLING)
        if kept in own and not np.array_equal(own[kept], own.pop(name)):
            raise CheckpointRefused(f"the parameters {kept} and {name} are one and yet differ")

    def add(graph: GraphBuilder, features: str) -> str:
        parameters = Parameters(own)
        pooling = Pooling(Layers(graph, parameters), experiment.pooling)
        return CamPlusPlus(
            graph,
            parameters,
            dim=experiment.dim,
            mel_bins=experiment.mel_bins,
            pooling=(pooling.add, statistics_of(experiment.pooling)),
        ).add(features)

    return add


def _without_mean(
    add: Callable[[GraphBuilder, str], str], mean: Float32 | None
) -> Callable[[GraphBuilder, str], str]:
    if mean is None:
        return add
    return lambda graph, features: graph.op("Sub", add(graph, features), graph.constant(mean))
