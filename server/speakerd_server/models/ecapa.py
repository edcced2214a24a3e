"""WeSpeaker's ECAPA-TDNNs as ONNX graphs, from their paper and the names of their parameters.

Desplanques et al., "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in TDNN
Based Speaker Verification", Interspeech 2020. Batch norms come after the ReLU here: they are folded
into the next layer where that has a kernel of 1, and stay where it has zero padding, which knows no
offset. The split before the Res2 convolutions is one convolution for each part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speakerd_server.models.layers import Layers, after_norm
from speakerd_server.models.parameters import Float64
from speakerd_server.models.pooling import Pooling, statistics_of

WIDTHS = {
    "ECAPA_TDNN_c512": (512, False),
    "ECAPA_TDNN_c1024": (1024, False),
    "ECAPA_TDNN_GLOB_c512": (512, True),
    "ECAPA_TDNN_GLOB_c1024": (1024, True),
}
"""Channels, and whether the attention sees the global context."""

_PARTS = 8
_SQUEEZED = 128
_BLOCKS = ((2, 2), (3, 3), (4, 4))
"""Number of the layer and dilation."""
_POOLED = 1536

Norm = tuple[Float64, ...]


@dataclass(frozen=True, slots=True)
class Ecapa:
    """One ECAPA-TDNN."""

    name: str
    """A key of WIDTHS."""
    mel_bins: int
    """Features of a frame."""
    dim: int
    """Length of an embedding."""
    pooling: str
    """One of POOLINGS."""
    embedding_norm: bool
    """Whether a batch norm follows the last linear layer."""

    def add(self, layers: Layers, features: str) -> str:
        """Add the network from features [B, 1, mel_bins, T] to embeddings [B, dim].

        Raises:
            CheckpointRefused: A parameter is missing, misshapen or unknown.
        """
        channels, global_context = WIDTHS[self.name]
        value = self._first(layers, features, channels)
        outputs = []
        for number, dilation in _BLOCKS:
            name = f"layer{number}.se_res2block"
            value = layers.op("Add", value, _se_res2(layers, value, name, channels, dilation))
            outputs.append(value)
        value = layers.op("Concat", *outputs, axis=1)
        weights = layers.take_conv("conv", _POOLED, len(outputs) * channels)
        value = layers.relu(layers.conv(value, *weights))
        pooling = Pooling(layers, self.pooling, global_context=global_context)
        embeddings = self._embed(layers, pooling.add(value, _POOLED))
        layers.parameters.finish()
        return embeddings

    def _first(self, layers: Layers, features: str, channels: int) -> str:
        """Kernel 5 over time, features as channels: [B, channels, 1, T]."""
        turned = layers.op("Reshape", features, layers.graph.integers(0, self.mel_bins, 1, -1))
        weights = layers.take_conv("layer1.conv", channels, self.mel_bins, 5)
        value = layers.relu(layers.conv(turned, *weights, pads=[0, 2, 0, 2]))
        return layers.affine(value, *layers.parameters.batch_norm("layer1.bn", channels))

    def _embed(self, layers: Layers, pooled: str) -> str:
        inputs = _POOLED * statistics_of(self.pooling)
        norm = layers.parameters.batch_norm("bn", inputs)
        weight, bias = after_norm(*layers.take_dense("linear", self.dim, inputs), norm)
        if self.embedding_norm:
            scale, offset = layers.parameters.batch_norm("bn2", self.dim)
            weight, bias = weight * scale[:, None], bias * scale + offset
        return layers.dense(pooled, weight, bias)


def _se_res2(layers: Layers, value: str, name: str, channels: int, dilation: int) -> str:
    """The branch of an SE-Res2Block, without the sum with its input."""
    value, norm = _res2(layers, value, name, channels, dilation)
    weight, bias = layers.take_conv(f"{name}.2.conv", channels, channels)
    value = layers.relu(layers.conv(value, *after_norm(weight, bias, norm)))
    value = layers.affine(value, *layers.parameters.batch_norm(f"{name}.2.bn", channels))
    squeezed = layers.op("GlobalAveragePool", value)
    for number, (outputs, inputs), activation in (
        (1, (_SQUEEZED, channels), "Relu"),
        (2, (channels, _SQUEEZED), "Sigmoid"),
    ):
        weight, bias = layers.take_dense(f"{name}.3.linear{number}", outputs, inputs)
        squeezed = layers.op(activation, layers.conv(squeezed, weight[:, :, None, None], bias))
    return layers.op("Mul", value, squeezed)


def _res2(layers: Layers, value: str, name: str, channels: int, dilation: int) -> tuple[str, Norm]:
    """Part k is convolved after the result of part k-1 is added to it; the last one is not.

    Gives the ReLUs of the results [B, channels, 1, T] and the batch norm still to be applied.
    """
    weight, bias = layers.take_conv(f"{name}.0.conv", channels, channels)
    scale, offset = layers.parameters.batch_norm(f"{name}.0.bn", channels)
    width, pads = channels // _PARTS, [0, dilation, 0, dilation]
    results: list[str] = []
    norms: list[Norm] = []
    for number, rows in enumerate(np.split(np.arange(channels), _PARTS)):
        part = layers.relu(layers.conv(value, weight[rows], bias[rows]))
        if number == _PARTS - 1:
            results.append(part)
            norms.append((scale[rows], offset[rows]))
            break
        part = layers.affine(part, scale[rows], offset[rows])
        if results:
            part = layers.op("Add", layers.affine(results[-1], *norms[-1]), part)
        kernel = layers.take_conv(f"{name}.1.convs.{number}", width, width, 3)
        convolved = layers.conv(part, *kernel, pads=pads, dilations=[1, dilation])
        results.append(layers.relu(convolved))
        norms.append(layers.parameters.batch_norm(f"{name}.1.bns.{number}", width))
    joined = layers.op("Concat", *results, axis=1)
    return joined, tuple(np.concatenate(parts) for parts in zip(*norms, strict=True))
