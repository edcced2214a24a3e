"""WeSpeaker's ResNets as ONNX graphs, from their paper and the names of their parameters.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with a first kernel of 3, 32
first channels, no pooling between the stages, and the statistics of WeSpeaker's pooling layers.
Every batch norm is folded into the convolution before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_server.models.layers import Layers, after_norm
from speakerd_server.models.pooling import Pooling, statistics_of

BASIC = {"ResNet18": (2, 2, 2, 2), "ResNet34": (3, 4, 6, 3)}
"""Units of two kernels of 3, in each of four stages."""
BOTTLENECK = {
    "ResNet50": (3, 4, 6, 3),
    "ResNet101": (3, 4, 23, 3),
    "ResNet152": (3, 8, 36, 3),
    "ResNet221": (6, 16, 48, 3),
    "ResNet293": (10, 20, 64, 3),
}
"""Units of kernels of 1, 3 and 1, whose output has four times the channels."""

_FIRST = 32
_WIDEN = 4
_PADS = [1, 1, 1, 1]


@dataclass(frozen=True, slots=True)
class ResNet:
    """One ResNet.

    Frequencies and frames are halved three times: `mel_bins` is a multiple of 8.
    """

    name: str
    """A key of BASIC or BOTTLENECK."""
    mel_bins: int
    """Features of a frame."""
    dim: int
    """Length of an embedding."""
    pooling: str
    """One of POOLINGS."""
    two_layers: bool
    """Whether the embedding is that of a second linear layer."""

    def add(self, layers: Layers, features: str) -> str:
        """Add the network from features [B, 1, mel_bins, T] to embeddings [B, dim].

        Raises:
            CheckpointRefused: A parameter is missing, misshapen or unknown.
        """
        value = layers.relu(layers.conv_bn(features, "conv1", "bn1", (_FIRST, 1, 3, 3), pads=_PADS))
        inputs = _FIRST
        for stage, units in enumerate(self._units()):
            for unit in range(units):
                stride = 2 if stage and not unit else 1
                name = f"layer{stage + 1}.{unit}"
                value, inputs = self._unit(layers, value, name, inputs, _FIRST << stage, stride)
        channels = inputs * (self.mel_bins // 8)
        pooled = Pooling(layers, self.pooling).add(value, channels)
        embeddings = self._embed(layers, pooled, channels * statistics_of(self.pooling))
        layers.parameters.finish()
        return embeddings

    def _units(self) -> tuple[int, ...]:
        return BASIC.get(self.name) or BOTTLENECK[self.name]

    def _unit(
        self, layers: Layers, value: str, name: str, inputs: int, planes: int, stride: int
    ) -> tuple[str, int]:
        """One residual unit; gives its output and how many channels that has."""
        strides = [stride, stride]
        outputs = planes if self.name in BASIC else _WIDEN * planes
        if self.name in BASIC:
            inner = layers.conv_bn(
                value,
                f"{name}.conv1",
                f"{name}.bn1",
                (planes, inputs, 3, 3),
                pads=_PADS,
                strides=strides,
            )
            last, kernel, pads = "2", (planes, planes, 3, 3), _PADS
        else:
            inner = self._bottleneck(layers, value, name, (inputs, planes), strides)
            last, kernel, pads = "3", (outputs, planes, 1, 1), [0] * 4
        inner = layers.relu(inner)
        inner = layers.conv_bn(inner, f"{name}.conv{last}", f"{name}.bn{last}", kernel, pads=pads)
        if stride != 1 or inputs != outputs:
            cut = f"{name}.shortcut"
            shape = (outputs, inputs, 1, 1)
            value = layers.conv_bn(value, f"{cut}.0", f"{cut}.1", shape, strides=strides)
        return layers.relu(layers.op("Add", inner, value)), outputs

    def _bottleneck(
        self, layers: Layers, value: str, name: str, widths: tuple[int, int], strides: list[int]
    ) -> str:
        inputs, planes = widths
        inner = layers.conv_bn(value, f"{name}.conv1", f"{name}.bn1", (planes, inputs, 1, 1))
        square = (planes, planes, 3, 3)
        return layers.conv_bn(
            layers.relu(inner),
            f"{name}.conv2",
            f"{name}.bn2",
            square,
            pads=_PADS,
            strides=strides,
        )

    def _embed(self, layers: Layers, value: str, inputs: int) -> str:
        value = layers.dense(value, *layers.take_dense("seg_1", self.dim, inputs))
        if not self.two_layers:
            return value
        norm = layers.parameters.batch_norm("seg_bn_1", self.dim, affine=False)
        second = layers.take_dense("seg_2", self.dim, self.dim)
        return layers.dense(layers.relu(value), *after_norm(*second, norm))
